//! The tap: lines of JSON for calls as they end, to whoever is connected. Off, and free of cost, unless somebody is.
//!
//! Bounded: a few taps at a time, each for ten minutes; one that does not read loses lines and is cut after a while.

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lines::lines;
use crate::io::watch::{Batch, Watcher};

/// Taps at a time.
pub const MAX_TAPS: usize = 4;
/// How long one may last.
const LONGEST: Duration = Duration::from_secs(600);
/// How long a write may wait for the reader.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a tap shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    /// So many lines, then it ends.
    pub n: usize,
    /// Every so many calls.
    pub every: usize,
    /// Only routes that contain this.
    pub route: String,
}

/// The query of a tap.
///
/// # Errors
/// One line: what is wrong with it.
pub fn query(text: &str) -> Result<Asked, String> {
    let mut asked = Asked { n: usize::MAX, every: 1, route: String::new() };
    for (name, value) in text.split('&').filter(|p| !p.is_empty()).map(|p| p.split_once('=').unwrap_or((p, ""))) {
        let number = || value.parse().ok().filter(|n| *n > 0).ok_or(format!("{name}: a number from 1 up"));
        match name {
            "n" => asked.n = number()?,
            "every" => asked.every = number()?,
            "route" => asked.route = value.replace("%2F", "/").replace("%2f", "/"),
            _ => return Err("there are ?n=NUMBER, ?every=NUMBER and ?route=PART-OF-PATH".into()),
        }
    }
    Ok(asked)
}

/// The taps that are open.
#[derive(Clone, Default)]
pub struct Taps(Arc<AtomicUsize>);

impl Taps {
    /// Serves a tap on a thread of its own; its watcher is for the worker. None: too many, or no thread.
    pub fn open(&self, stream: TcpStream, asked: &Asked) -> Option<Watcher> {
        let open = self.0.clone();
        if open.fetch_add(1, Ordering::Relaxed) >= MAX_TAPS {
            open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let (watcher, batches) = Watcher::new(asked.every, &asked.route);
        let n = asked.n;
        let serve = move || {
            // A reader that breaks off has only itself to blame.
            let _ = serve(stream, &batches, n);
            open.fetch_sub(1, Ordering::Relaxed);
        };
        let thread = std::thread::Builder::new().name("tap".into()).stack_size(128 << 10).spawn(serve);
        if thread.is_err() {
            self.0.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(watcher)
    }
}

fn serve(mut stream: TcpStream, batches: &Receiver<Batch>, mut n: usize) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\r\n")?;
    let until = Instant::now() + LONGEST;
    while n > 0 && Instant::now() < until {
        match batches.recv_timeout(Duration::from_millis(500)) {
            Ok(batch) => {
                stream.write_all(lines(&batch, n).as_bytes())?;
                n -= n.min(batch.calls.len());
            }
            Err(RecvTimeoutError::Timeout) if gone(&stream)? => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
    Ok(())
}

/// Has the reader hung up, while there was nothing to write to it?
fn gone(stream: &TcpStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let state = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    Ok(match state {
        Ok(n) => n == 0,
        Err(e) => e.kind() != ErrorKind::WouldBlock,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_how_many_which_and_how_often() {
        let asked = query("n=5&route=%2Fvoting&every=10").unwrap();
        assert_eq!(asked, Asked { n: 5, every: 10, route: "/voting".into() });
        assert_eq!(query("").unwrap().n, usize::MAX);
        for bad in ["n=0", "every=x", "limit=3", "n"] {
            assert!(query(bad).is_err(), "{bad}");
        }
    }
}
