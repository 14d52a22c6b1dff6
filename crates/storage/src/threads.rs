//! Threads whose end is waited for, but not forever: a disk may never answer.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

/// Threads that end together. Dropping it waits for nothing.
#[derive(Debug, Default)]
pub struct Threads {
    running: Arc<Running>,
    ids: Vec<ThreadId>,
}

#[derive(Debug, Default)]
struct Running {
    count: Mutex<usize>,
    one_ended: Condvar,
}

impl Threads {
    /// Starts another thread.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let alive = Alive::new(Arc::clone(&self.running));
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread: JoinHandle<()> = thread.spawn(move || {
            let _alive = alive;
            work();
        })?;
        self.ids.push(thread.thread().id());
        Ok(())
    }

    /// How many there were.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Waits until all have ended, at most for `patience`: false when that has passed. The others go on by
    /// themselves. A thread of these can't wait for itself: for it this returns at once.
    pub fn join(&self, patience: Duration) -> bool {
        if self.ids.contains(&std::thread::current().id()) {
            return true;
        }
        let running = self.running.lock();
        let waited = self.running.one_ended.wait_timeout_while(running, patience, |running| *running > 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0 == 0
    }
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that has not ended, even by a panic.
struct Alive(Arc<Running>);

impl Alive {
    fn new(running: Arc<Running>) -> Self {
        *running.lock() += 1;
        Self(running)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.one_ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn those_that_end_are_waited_for_and_one_that_hangs_is_not() {
        let (go, gone) = mpsc::sync_channel::<()>(0);
        let mut threads = Threads::default();
        threads.spawn("ends", || ()).unwrap();
        threads.spawn("hangs", move || _ = gone.recv()).unwrap();
        assert!(!threads.join(Duration::from_millis(10)));
        drop(go);
        assert!(threads.join(LONG));
    }

    #[test]
    fn a_panic_is_an_end_too() {
        let mut threads = Threads::default();
        threads.spawn("panics", || panic!("on purpose")).unwrap();
        assert!(threads.join(LONG));
    }

    #[test]
    fn a_thread_does_not_wait_for_itself_and_ends() {
        let shared = Arc::new(Mutex::new(Threads::default()));
        let (told, answer) = mpsc::sync_channel(1);
        let inside = Arc::clone(&shared);
        let work = move || _ = told.send(inside.lock().unwrap().join(LONG));
        shared.lock().unwrap().spawn("asks", work).unwrap();
        assert_eq!(answer.recv(), Ok(true));
    }
}
