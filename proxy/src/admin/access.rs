//! The access log: a line of JSON on standard output for every call that has ended. A reader that does not keep up
//! loses lines, counted; nothing else waits for it.

use std::io::{self, Write};
use std::sync::mpsc::{channel, Receiver};
use std::time::Duration;

use super::lines::lines;
use crate::io::watch::Batch;

/// The writer's thread.
pub struct Access {
    done: Receiver<()>,
}

impl Access {
    /// Writes what comes until the worker has ended.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(batches: Receiver<Batch>) -> io::Result<Self> {
        let (to, done) = channel();
        std::thread::Builder::new().name("access".into()).stack_size(128 << 10).spawn(move || {
            for batch in batches {
                // One write for all; if nobody reads the log any more, there is nobody to tell.
                if io::stdout().lock().write_all(lines(&batch, usize::MAX).as_bytes()).is_err() {
                    break;
                }
            }
            let _ = to.send(());
        })?;
        Ok(Self { done })
    }

    /// Waits until the last line is out, but not for a reader that has stopped.
    pub fn finish(self) {
        let _ = self.done.recv_timeout(Duration::from_secs(1));
    }
}
