//! Puts the pieces together: worker, discovery, admin, signals. Knows all of them and how they are joined.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::admin::access::Access;
use crate::admin::server::{Admin, Status};
use crate::admin::tap::Taps;
use crate::config::{Config, Level, Mode};
use crate::core::h2::message::GRPC_NAMES;
use crate::core::relay::{EndpointInfo, Relay};
use crate::discover;
use crate::io::message::Message;
use crate::io::watch::Watcher;
use crate::io::worker::{Handle, Worker};
use crate::log;

/// Runs the proxy until it has drained.
///
/// # Errors
/// One line: what could not be had (a port, the API server's address, …).
pub fn run(config: Config) -> Result<(), String> {
    log::set_level(config.level);
    let mut config = config;
    fit_descriptors(&mut config);
    let relay = Relay::new(config.settings.clone(), config.seed.unwrap_or_else(chance));
    let patience = Duration::from_secs(config.drain_seconds);
    let (mut worker, handle) = Worker::new(relay, patience).map_err(|e| format!("cannot start: {e}"))?;
    let status = match &config.mode {
        Mode::Static { listen, endpoints } => {
            let target = worker.add_target("static", &[*listen]).map_err(|e| e.to_string())?;
            worker.relay().set_endpoints(target, &fixed(endpoints), 0);
            Arc::new(|| None) as Status
        }
        Mode::Service { listen, name, port } => {
            let key = discover::key(&discover::namespace(&config)?, name, *port);
            worker.add_target(&key, &[*listen]).map_err(|e| e.to_string())?;
            discover::start(&config, handle.clone())?
        }
        Mode::Redirect(_) => discover::start(&config, handle.clone())?,
        Mode::Transparent(listen) => {
            listen_redirected(&mut worker, listen)?;
            discover::start(&config, handle.clone())?
        }
    };
    for addr in worker.listening() {
        log::line(Level::Info, &format!("listening on {addr}"));
    }
    let access = match config.access_log {
        true => {
            let (watcher, batches) = Watcher::new(1, "");
            worker.watch(watcher);
            Some(Access::start(batches).map_err(|e| format!("cannot start: {e}"))?)
        }
        false => None,
    };
    let draining = Arc::new(AtomicBool::new(false));
    // Before anybody is told that the proxy is ready: a SIGTERM right after that must drain, not kill.
    watch_signals(handle.clone(), draining.clone()).map_err(|e| format!("cannot watch signals: {e}"))?;
    if let Some(addr) = config.admin {
        let (worker, draining) = (handle, draining);
        let admin = Admin { worker, status, config: shown(&config), draining, taps: Taps::default() };
        let addr = admin.start(addr).map_err(|e| format!("cannot listen on {addr} for admin: {e}"))?;
        log::line(Level::Info, &format!("admin on {addr}"));
    }
    worker.run().map_err(|e| format!("the event loop failed: {e}"))?;
    // Its watcher goes with it, so the access log ends.
    drop(worker);
    if let Some(access) = access {
        access.finish();
    }
    log::line(Level::Info, "drained");
    Ok(())
}

/// Takes as many descriptors as the system gives, and of those leaves a quarter (at least 32) for endpoints, admin and
/// discovery: clients must not be able to use them up.
fn fit_descriptors(config: &mut Config) {
    let Ok(limit) = rlimit::increase_nofile_limit(u64::MAX) else { return };
    let clients = limit.saturating_sub((limit / 4).max(32)).max(1);
    let clients = usize::try_from(clients).unwrap_or(usize::MAX);
    if clients < config.settings.max_clients {
        let text = format!("{limit} open files are allowed (ulimit -n), so {clients} client connections at a time");
        log::line(Level::Warn, &text);
        config.settings.max_clients = clients;
    }
}

/// On all of `listen` that this machine has: one without IPv6 lacks `::1`.
fn listen_redirected(worker: &mut Worker, listen: &[SocketAddr]) -> Result<(), String> {
    for addr in listen {
        match worker.listen_redirected(*addr) {
            Ok(()) => {}
            // EADDRNOTAVAIL, EAFNOSUPPORT.
            Err(e) if addr.is_ipv6() && listen.len() > 1 && matches!(e.raw_os_error(), Some(99 | 97)) => {
                log::line(Level::Info, &format!("not listening on {addr}, there is no IPv6 here: {e}"));
            }
            Err(e) => return Err(format!("cannot listen on {addr}: {e}")),
        }
    }
    Ok(())
}

fn fixed(endpoints: &[SocketAddr]) -> Vec<EndpointInfo> {
    let info = |addr: &SocketAddr| {
        let name: Arc<str> = addr.to_string().into();
        EndpointInfo { addr: *addr, pod: name.clone(), uid: name, also: None }
    };
    endpoints.iter().map(info).collect()
}

/// A seed nobody chose.
fn chance() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64 ^ u64::from(std::process::id()) << 32
}

fn watch_signals(worker: Handle, draining: Arc<AtomicBool>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    std::thread::Builder::new().name("signals".into()).stack_size(128 << 10).spawn(move || {
        for _ in signals.forever() {
            let second = draining.swap(true, Ordering::Relaxed);
            log::line(Level::Info, if second { "ending at once" } else { "draining" });
            worker.send(if second { Message::Stop } else { Message::Drain });
        }
    })?;
    Ok(())
}

/// The configuration for `/config`. It holds no secret: tokens are read from files that are only named here.
fn shown(config: &Config) -> serde_json::Value {
    let s = &config.settings;
    json!({
        "mode": format!("{:?}", config.mode),
        "namespace": config.namespace,
        "zone": config.zone,
        "kubeconfig": config.kubeconfig,
        "policy": s.tuning.policy.name(),
        "decay_ms": s.tuning.decay / 1e6,
        "noise": s.tuning.noise,
        "grain_us": s.tuning.grain / 1e3,
        "penalty_ms": s.tuning.penalty / 1e6,
        "failure_lift": s.tuning.lift,
        "probe_ms": s.tuning.probe / 1_000_000,
        "probe_every": s.tuning.probe_every,
        "connect_timeout_ms": s.connect_timeout / 1_000_000,
        "wait_ms": s.wait / 1_000_000,
        "max_connections_per_endpoint": s.max_conns,
        "max_connections": s.max_clients,
        "max_header_bytes": s.limits.list.max_bytes,
        "max_header_fields": s.limits.list.max_fields,
        "max_held_bytes": s.max_held,
        "idle_seconds": s.idle / 1_000_000_000,
        "upstream_idle_seconds": s.upstream_idle / 1_000_000_000,
        "ping_after_seconds": s.ping_after / 1_000_000_000,
        "max_streams_per_connection": s.limits.max_streams,
        "retry_codes": GRPC_NAMES.iter().enumerate().filter(|(i, _)| s.retries.codes & 1 << i != 0)
            .map(|(_, name)| *name).collect::<Vec<_>>(),
        "retry_ratio": s.retries.ratio,
        "retry_per_second": s.retries.per_second,
        "access_log": config.access_log,
        "drain_seconds": config.drain_seconds,
        "seed": config.seed,
    })
}

/// Asks the proxy on `admin` until it says that it is ready: the gate that the app waits behind.
///
/// # Errors
/// It was not ready in time; the last answer is in the message.
pub fn wait_until_ready(admin: SocketAddr, seconds: u64) -> Result<(), String> {
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut tries = 0;
    loop {
        tries += 1;
        let last = match ask(admin) {
            Ok(text) if text.starts_with("HTTP/1.1 200 ") => return Ok(()),
            Ok(text) => text.lines().last().unwrap_or_default().to_string(),
            Err(e) => e.to_string(),
        };
        if Instant::now() >= until {
            return Err(format!("not ready on {admin} after {seconds} s and {tries} tries; last seen: {last}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn ask(admin: SocketAddr) -> io::Result<String> {
    let patience = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&admin, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET /ready HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.take(4096).read_to_string(&mut text)?;
    Ok(text)
}
