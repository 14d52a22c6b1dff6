//! The session's threads that talk to the network.
//!
//! Each worker is a thread with a runtime and an event queue of its own. A torrent lives on one of them with all
//! its connections, so that what passes between them is a wake-up on the same thread; hashing and the disk have
//! threads of their own. Placement is [`Workers::place`] alone.

use quelea_storage::threads::Threads;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Workers at most: deciding and moving bytes for tens of gigabits a second.
const MAX_WORKERS: usize = 8;
/// The longest that the end of the threads is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

struct Worker {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
}

/// The session's threads that talk to the network. Dropping them ends every task that runs on them.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    threads: Threads,
    next: AtomicUsize,
}

impl Workers {
    /// Starts one thread a core, at most eight.
    pub(crate) fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
        let mut threads = Threads::default();
        let workers =
            (0..count).map(|number| start_worker(number, &mut threads)).collect::<io::Result<_>>()?;
        Ok(Self { workers, threads, next: AtomicUsize::new(0) })
    }

    /// Where a new torrent lives: the workers take turns.
    pub(crate) fn place(&self) -> Handle {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.workers[turn % self.workers.len()].handle.clone()
    }

    /// The worker of the announces to trackers, which of thousands of torrents are as much work as all that is done at
    /// home: another one, where there are several.
    pub(crate) fn announcing(&self) -> Handle {
        self.workers[self.workers.len() - 1].handle.clone()
    }

    /// The worker of what belongs to no torrent: accepting, UDP.
    pub(crate) fn home(&self) -> Handle {
        self.workers[0].handle.clone()
    }
}

fn start_worker(number: usize, threads: &mut Threads) -> io::Result<Worker> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_keep_alive(Duration::from_secs(5))
        .build()?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel();
    threads.spawn(&format!("quelea-net-{number}"), move || {
        // An error means that the sender is gone, which is as good as a word from it.
        let _ = runtime.block_on(stopped);
        // A name look-up that hangs must not hold the end up.
        runtime.shutdown_background();
    })?;
    Ok(Worker { handle, stop: Some(stop) })
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            worker.stop.take();
        }
        // The last handle may be dropped by a task on a worker, which cannot wait for itself.
        if !self.threads.join(PATIENCE) {
            tracing::warn!("a thread of the network does not end, and is left to itself");
        }
    }
}
