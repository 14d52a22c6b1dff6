//! Requests to stop: Ctrl-C, and on Unix the signals TERM and HUP. The first is asked of the program, which ends in
//! order; a second one ends it at once, whatever it waits for.
//!
//! A thread of its own takes the signals, so that a second one works even while the program's own thread is held up: by
//! a disk, or by a reader of its output that has stopped reading.

use crate::exit::Status;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// After the second request the program has this long to end by itself, with its last line.
const GRACE: Duration = Duration::from_millis(250);

/// Listens from the moment it was made; until then the signals end the program at once, as usual.
pub(crate) struct Signals {
    asked: watch::Receiver<u32>,
    end: Arc<End>,
}

/// How a request that comes next is taken.
struct End {
    /// Whether the first one ends the program at once too.
    at_once: AtomicBool,
    code: AtomicU8,
}

impl Signals {
    pub(crate) fn listen() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut requests = {
            let _inside = runtime.enter();
            Requests::listen()?
        };
        let (tell, asked) = watch::channel(0);
        let code = AtomicU8::new(Status::Interrupted.code());
        let end = Arc::new(End { at_once: AtomicBool::new(false), code });
        let of_thread = Arc::clone(&end);
        let serve = async move {
            loop {
                requests.next().await;
                tell.send_modify(|count| *count += 1);
                if *tell.borrow() > 1 || of_thread.at_once.load(Ordering::Relaxed) {
                    tokio::time::sleep(GRACE).await;
                    std::process::exit(of_thread.code.load(Ordering::Relaxed).into());
                }
            }
        };
        std::thread::Builder::new()
            .name("quelea-signals".to_owned())
            .spawn(move || runtime.block_on(serve))?;
        Ok(Self { asked, end })
    }

    /// Waits for the next request to stop.
    pub(crate) async fn stop(&mut self) {
        if self.asked.changed().await.is_err() {
            // The thread that would tell is gone with the program.
            std::future::pending::<()>().await;
        }
    }

    /// The program is ending: any request from here on ends it at once, with this status.
    pub(crate) fn end_at_once(&self, status: Status) {
        self.end.code.store(status.code(), Ordering::Relaxed);
        self.end.at_once.store(true, Ordering::Relaxed);
    }
}

#[cfg(unix)]
struct Requests {
    streams: [tokio::signal::unix::Signal; 3],
}

#[cfg(unix)]
impl Requests {
    /// Must be called inside a runtime.
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            streams: [
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            ],
        })
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.streams;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Requests;

#[cfg(not(unix))]
impl Requests {
    /// Must be called inside a runtime.
    #[allow(clippy::unnecessary_wraps, reason = "as on Unix")]
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Has a write beyond the limit of `ulimit -f` fail, as one to a full disk does, instead of ending the program without a
/// word. The limit's signal is caught for as long as the process lives; by default it kills.
///
/// Where that can't be done, the limit kills as before.
pub(crate) fn outlive_file_limit() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        let _inside = runtime.enter();
        let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    }
}
