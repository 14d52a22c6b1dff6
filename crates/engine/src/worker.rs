//! The session's threads that talk to the network.
//!
//! Each worker is a thread with a runtime and an event queue of its own. A torrent lives on one of them with all
//! its connections, so that what passes between them is a wake-up on the same thread; hashing and the disk have
//! threads of their own. Placement is [`Workers::place`] alone.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Workers at most: deciding and moving bytes for tens of gigabits a second.
const MAX_WORKERS: usize = 8;

struct Worker {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The session's threads that talk to the network. Dropping them ends every task that runs on them.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    next: AtomicUsize,
}

impl Workers {
    /// Starts one thread a core, at most eight.
    pub(crate) fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
        let workers = (0..count).map(start_worker).collect::<io::Result<_>>()?;
        Ok(Self { workers, next: AtomicUsize::new(0) })
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

fn start_worker(number: usize) -> io::Result<Worker> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_keep_alive(Duration::from_secs(5))
        .build()?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new().name(format!("quelea-net-{number}")).spawn(move || {
        // An error means that the sender is gone, which is as good as a word from it.
        let _ = runtime.block_on(stopped);
        // A name look-up that hangs must not hold the end up.
        runtime.shutdown_background();
    })?;
    Ok(Worker { handle, stop: Some(stop), thread: Some(thread) })
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            worker.stop.take();
        }
        let here = std::thread::current().id();
        for worker in &mut self.workers {
            let thread = worker.thread.take();
            // The last handle may be dropped by a task on a worker, which cannot wait for itself.
            if let Some(thread) = thread.filter(|thread| thread.thread().id() != here) {
                let _ = thread.join();
            }
        }
    }
}
