//! The admin listener: a small blocking HTTP/1.1 server on a thread of its own, one request per connection.
//!
//! Bounded: 8 KiB of request, 2 s per client, one client at a time. Knows paths and where their answers come from.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::metrics::{render, Discovery};
use super::tap::{self, Taps, MAX_TAPS};
use super::why;
use crate::io::message::{Message, Snapshot};
use crate::io::worker::Handle;

/// How long a client may take to ask and to read.
const PATIENCE: Duration = Duration::from_secs(2);
const MAX_REQUEST: usize = 8 << 10;

/// What the discovery tells: (synced, seconds since the API server spoke, last error). None without discovery.
pub type Status = Arc<dyn Fn() -> Option<(bool, f64, Option<String>)> + Send + Sync>;

/// What the server answers from.
pub struct Admin {
    /// The worker.
    pub worker: Handle,
    /// The discovery.
    pub status: Status,
    /// The configuration as shown.
    pub config: serde_json::Value,
    /// SIGTERM has come.
    pub draining: Arc<std::sync::atomic::AtomicBool>,
    /// The taps that are open.
    pub taps: Taps,
}

impl Admin {
    /// Binds and serves on a thread until the process ends.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn start(self, addr: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(addr)?;
        let addr = listener.local_addr()?;
        std::thread::Builder::new().name("admin".into()).stack_size(128 << 10).spawn(move || {
            for stream in listener.incoming() {
                match stream {
                    // A client that breaks off has only itself to blame.
                    Ok(stream) => drop(self.serve(stream)),
                    // Out of descriptors: nothing to do but to let others finish.
                    Err(_) => std::thread::sleep(Duration::from_millis(100)),
                }
            }
        })?;
        Ok(addr)
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let Some((method, path)) = read_request(&mut stream)? else {
            return answer(&mut stream, 400, "text/plain", "not an HTTP/1.1 request\n");
        };
        if method != "GET" && method != "HEAD" {
            return answer(&mut stream, 405, "text/plain", "GET only\n");
        }
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        if (method.as_str(), path) == ("GET", "/tap") {
            return self.tap(stream, query);
        }
        let (status, kind, body) = self.page(path, query);
        answer(&mut stream, status, kind, if method == "HEAD" { "" } else { &body })
    }

    fn page(&self, path: &str, query: &str) -> (u16, &'static str, String) {
        match path {
            "/live" => (200, "text/plain", "live\n".into()),
            "/ready" => self.ready(),
            "/metrics" => match self.snapshot() {
                Some(s) => (200, "text/plain; version=0.0.4", render(&s, &self.discovery())),
                None => busy(),
            },
            "/endpoints" => match self.snapshot() {
                Some(s) => (200, "application/json", endpoints(&s)),
                None => busy(),
            },
            "/why" => self.why(query),
            // For HEAD; GET is served before.
            "/tap" => (200, "application/x-ndjson", String::new()),
            "/config" => (200, "application/json", format!("{:#}\n", self.config)),
            _ => (404, "text/plain", "there are /metrics /ready /live /endpoints /why /tap /config\n".into()),
        }
    }

    fn ready(&self) -> (u16, &'static str, String) {
        if self.draining.load(std::sync::atomic::Ordering::Relaxed) {
            return (503, "text/plain", "draining\n".into());
        }
        match (self.status)() {
            Some((false, _, error)) => {
                let why = error.unwrap_or_else(|| "the first list has not come yet".into());
                (503, "text/plain", format!("not ready: {why}\n"))
            }
            _ => (200, "text/plain", "ready\n".into()),
        }
    }

    fn why(&self, query: &str) -> (u16, &'static str, String) {
        let (n, target) = match why::query(query) {
            Ok(asked) => asked,
            Err(error) => return (400, "text/plain", format!("{error}\n")),
        };
        let (to, from) = mpsc::channel();
        let sent = self.worker.send(Message::Why(target, n, to));
        match sent.then(|| from.recv_timeout(PATIENCE).ok()).flatten() {
            Some(picks) => (200, "application/json", why::render(&picks)),
            None => busy(),
        }
    }

    fn tap(&self, mut stream: TcpStream, query: &str) -> io::Result<()> {
        let asked = match tap::query(query) {
            Ok(asked) => asked,
            Err(error) => return answer(&mut stream, 400, "text/plain", &format!("{error}\n")),
        };
        match self.taps.open(stream.try_clone()?, &asked) {
            Some(watcher) => {
                self.worker.send(Message::Watch(watcher));
                Ok(())
            }
            None => answer(&mut stream, 503, "text/plain", &format!("there are {MAX_TAPS} taps already\n")),
        }
    }

    fn discovery(&self) -> Discovery {
        match (self.status)() {
            Some((synced, age, _)) => Discovery { synced, age: Some(age) },
            None => Discovery { synced: true, age: None },
        }
    }

    fn snapshot(&self) -> Option<Snapshot> {
        let (to, from) = mpsc::channel();
        self.worker.send(Message::Snapshot(to)).then(|| from.recv_timeout(PATIENCE).ok())?
    }
}

fn busy() -> (u16, &'static str, String) {
    (503, "text/plain", "the worker does not answer\n".into())
}

fn endpoints(s: &Snapshot) -> String {
    let target = |t: &crate::io::message::TargetSnapshot| {
        let endpoints: Vec<_> = t
            .endpoints
            .iter()
            .map(|e| {
                json!({
                    "address": e.addr.to_string(), "pod": &*e.pod, "active": e.active, "in_flight": e.in_flight,
                    "latency_ms": e.latency.map(|s| s * 1e3), "cost_ms": e.cost * 1e3, "connections": e.connections,
                })
            })
            .collect();
        json!({ "service": &*t.name, "endpoints": endpoints })
    };
    format!("{:#}\n", json!({ "services": s.targets.iter().map(target).collect::<Vec<_>>() }))
}

/// Method and path; None if it is no request. Reads to the end of the head, so that closing does not reset.
fn read_request(stream: &mut TcpStream) -> io::Result<Option<(String, String)>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    let until = Instant::now() + PATIENCE;
    while !bytes.windows(4).any(|w| w == b"\r\n\r\n") {
        if bytes.len() > MAX_REQUEST || Instant::now() > until {
            return Ok(None);
        }
        match stream.read(&mut chunk)? {
            0 => return Ok(None),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
    let line = bytes.split(|c| *c == b'\r').next().unwrap_or_default();
    let text = String::from_utf8_lossy(line);
    let mut words = text.split(' ');
    Ok(match (words.next(), words.next(), words.next()) {
        (Some(method), Some(path), Some(version)) if version.starts_with("HTTP/1.") => {
            Some((method.to_string(), path.to_string()))
        }
        _ => None,
    })
}

fn answer(stream: &mut TcpStream, status: u16, kind: &str, body: &str) -> io::Result<()> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Service Unavailable",
    };
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}
