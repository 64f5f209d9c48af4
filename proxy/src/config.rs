//! What the proxy is told: flags and environment → [`Config`]; every bad value is reported together.
//!
//! A flag wins over its environment variable, that over the default. One table describes all options; `--help` and
//! the parser are made from it. Looks nothing up by itself: arguments and environment are handed in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::core::balance::tuning::{Policy, Tuning};
use crate::core::h2::frame::MAX_FRAME;
use crate::core::h2::message::GRPC_NAMES;
use crate::core::relay::Settings;

/// One option: flag without dashes, environment variable, placeholder, default, text.
pub struct Opt {
    /// The flag's name.
    pub flag: &'static str,
    /// The environment variable.
    pub env: &'static str,
    /// What stands for the value in the help.
    pub value: &'static str,
    /// The default, as text; empty for none.
    pub default: &'static str,
    /// What it is for, one line.
    pub help: &'static str,
}

const fn opt(
    flag: &'static str,
    env: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Opt {
    Opt { flag, env, value, default, help }
}

/// All options of `run`.
pub const OPTIONS: &[Opt] = &[
    opt("listen", "EWMA_PROXY_LISTEN", "ADDR:PORT", "", "where clients connect, with --endpoints or --service"),
    opt("endpoints", "EWMA_PROXY_ENDPOINTS", "ADDR:PORT,…", "", "a fixed list of endpoints; no Kubernetes needed"),
    opt("service", "EWMA_PROXY_SERVICE", "NAME:PORT", "", "balance over this Service of the namespace"),
    opt(
        "redirect",
        "EWMA_PROXY_REDIRECT",
        "NET=NET",
        "",
        "stand in for each Service's cluster IP, moved into the second /24 or wider network",
    ),
    opt(
        "transparent",
        "EWMA_PROXY_TRANSPARENT",
        "PORT",
        "",
        "take connections that init has redirected, on loopback; or on addresses, ADDR:PORT,…",
    ),
    opt(
        "namespace",
        "EWMA_PROXY_NAMESPACE",
        "NAME",
        "",
        "namespace whose Services are balanced, or several by commas (default: the pod's own)",
    ),
    opt("zone", "EWMA_PROXY_ZONE", "NAME", "", "follow the slices' zone hints; this node's zone"),
    opt("kubeconfig", "KUBECONFIG", "FILE", "", "how to reach the API server (default: the pod's service account)"),
    opt("admin", "EWMA_PROXY_ADMIN", "ADDR:PORT", "127.0.0.1:9191", "metrics, health and endpoints; `off` for none"),
    opt("policy", "EWMA_PROXY_POLICY", "NAME", "ewma", "ewma, peak-ewma, least-request, round-robin or random"),
    opt("decay-ms", "EWMA_PROXY_DECAY_MS", "MS", "1000", "time constant of the latency average"),
    opt(
        "noise",
        "EWMA_PROXY_NOISE",
        "N",
        "2.6",
        "standard errors by which two costs must differ to count as different",
    ),
    opt("grain-us", "EWMA_PROXY_GRAIN_US", "US", "3000", "latencies that differ by less are alike"),
    opt(
        "penalty-ms",
        "EWMA_PROXY_PENALTY_MS",
        "MS",
        "1000",
        "how much slower a failing endpoint counts; 0: not at all",
    ),
    opt(
        "failure-lift",
        "EWMA_PROXY_FAILURE_LIFT",
        "SHARE",
        "0.2",
        "share of requests by which an endpoint fails more often than the others to count as failing",
    ),
    opt("probe-ms", "EWMA_PROXY_PROBE_MS", "MS", "1000", "a failing or slow endpoint gets one request after so long"),
    opt("probe-every", "EWMA_PROXY_PROBE_EVERY", "N", "100", "at most one request in so many is such a probe"),
    opt("connect-timeout-ms", "EWMA_PROXY_CONNECT_TIMEOUT_MS", "MS", "1000", "how long a connection attempt may take"),
    opt("wait-ms", "EWMA_PROXY_WAIT_MS", "MS", "3000", "how long a request waits for an endpoint"),
    opt("max-connections", "EWMA_PROXY_MAX_CONNECTIONS", "N", "10000", "client connections at a time"),
    opt("max-streams", "EWMA_PROXY_MAX_STREAMS", "N", "1000", "requests at a time on one client connection"),
    opt("max-header-kib", "EWMA_PROXY_MAX_HEADER_KIB", "KIB", "64", "header list of one request or response"),
    opt(
        "max-held-mib",
        "EWMA_PROXY_MAX_HELD_MIB",
        "MIB",
        "64",
        "what may be held for slow peers in all before new requests are refused",
    ),
    opt("idle-seconds", "EWMA_PROXY_IDLE_SECONDS", "S", "3600", "a client connection without requests; 0: for ever"),
    opt("upstream-idle-seconds", "EWMA_PROXY_UPSTREAM_IDLE_SECONDS", "S", "600", "the same towards endpoints"),
    opt(
        "ping-after-seconds",
        "EWMA_PROXY_PING_AFTER_SECONDS",
        "S",
        "10",
        "silence of an endpoint with requests open after which a PING asks for it; 0: never",
    ),
    opt(
        "retry-on",
        "EWMA_PROXY_RETRY_ON",
        "CODE,…",
        "",
        "gRPC codes after which a call is tried again, such as unavailable,aborted; its methods must bear that",
    ),
    opt("retry-ratio", "EWMA_PROXY_RETRY_RATIO", "N", "0.2", "second tries that each request adds to the budget"),
    opt("retry-per-second", "EWMA_PROXY_RETRY_PER_SECOND", "N", "10", "second tries that each second adds to it"),
    opt("drain-seconds", "EWMA_PROXY_DRAIN_SECONDS", "S", "25", "how long SIGTERM waits for requests under way"),
    opt("seed", "EWMA_PROXY_SEED", "N", "", "seed of the picks (default: by chance)"),
    opt("access-log", "EWMA_PROXY_ACCESS_LOG", "on/off", "off", "a line of JSON on standard output for every request"),
    opt("log-level", "EWMA_PROXY_LOG_LEVEL", "LEVEL", "info", "error, warn, info or debug"),
];

/// How much is logged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

/// A network prefix that is moved onto another: `127.5.0.0/24=127.5.9.0/24`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Redirect {
    from: u32,
    to: u32,
    bits: u32,
}

impl Redirect {
    /// Where the proxy stands in for `ip`; None if it lies outside.
    pub fn map(&self, ip: IpAddr) -> Option<IpAddr> {
        let IpAddr::V4(ip) = ip else { return None };
        let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
        let ip = u32::from(ip);
        (ip & mask == self.from).then(|| IpAddr::V4((self.to | (ip & !mask)).into()))
    }

    fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('=')?;
        let net = |s: &str| -> Option<(u32, u32)> {
            let (ip, bits) = s.trim().split_once('/')?;
            let bits = bits.parse::<u32>().ok().filter(|b| (8..=31).contains(b))?;
            let ip = u32::from(ip.parse::<std::net::Ipv4Addr>().ok()?);
            (ip & !(u32::MAX << (32 - bits)) == 0).then_some((ip, bits))
        };
        let ((from, bits), (to, other)) = (net(from)?, net(to)?);
        (bits == other).then_some(Self { from, to, bits })
    }
}

/// Where endpoints come from and where clients connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mode {
    /// One listener, a fixed list.
    Static {
        /// Where clients connect.
        listen: SocketAddr,
        /// The endpoints.
        endpoints: Vec<SocketAddr>,
    },
    /// One listener, one Service port.
    Service {
        /// Where clients connect.
        listen: SocketAddr,
        /// The Service's name.
        name: String,
        /// Its port.
        port: u16,
    },
    /// A listener for each Service port of the namespace.
    Redirect(Redirect),
    /// Listeners whose connections were redirected: their original destination tells whose they are.
    Transparent(Vec<SocketAddr>),
}

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where endpoints come from.
    pub mode: Mode,
    /// Namespace, if given.
    pub namespace: Option<String>,
    /// Our zone, if its hints are to be followed.
    pub zone: Option<String>,
    /// Kubeconfig file, if given.
    pub kubeconfig: Option<PathBuf>,
    /// The admin listener.
    pub admin: Option<SocketAddr>,
    /// The relay's.
    pub settings: Settings,
    /// How long draining may take, seconds.
    pub drain_seconds: u64,
    /// Seed of the picks.
    pub seed: Option<u64>,
    /// A line for every request.
    pub access_log: bool,
    /// How much is logged.
    pub level: Level,
}

/// What the program is asked to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Be the proxy.
    Run(Box<Config>),
    /// Wait until the proxy beside it is ready: admin address, seconds.
    Await(SocketAddr, u64),
    /// Measure all policies in virtual time with these constants; as JSON?
    Simulate(Box<Tuning>, bool),
    /// Write the redirect rules.
    Init(crate::init::Init),
    /// Print this text.
    Print(String),
}

/// Reads arguments (without the program's name) and environment.
///
/// # Errors
/// One line per bad value, all of them.
pub fn parse(
    args: impl IntoIterator<Item = std::ffi::OsString>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Command, Vec<String>> {
    let mut args = args.into_iter().peekable();
    if args.next_if(|first| first == "init").is_some() {
        let init = crate::init::options::parse(args, &env)?;
        return Ok(init.map_or_else(|| Command::Print(crate::init::options::help()), Command::Init));
    }
    let mut parser = lexopt::Parser::from_args(args);
    let mut flags: Vec<(String, String)> = vec![];
    let mut command = None;
    let mut json = false;
    let mut errors = vec![];
    loop {
        match parser.next() {
            Ok(None) => break,
            Ok(Some(lexopt::Arg::Long("help") | lexopt::Arg::Short('h'))) => return Ok(Command::Print(help())),
            Ok(Some(lexopt::Arg::Long("version") | lexopt::Arg::Short('V'))) => {
                return Ok(Command::Print(format!("ewma-proxy {}", env!("CARGO_PKG_VERSION"))));
            }
            Ok(Some(lexopt::Arg::Long("json"))) => json = true,
            Ok(Some(lexopt::Arg::Long(name))) => {
                let name = name.to_string();
                match parser.value().map(|v| v.into_string()) {
                    Ok(Ok(value)) => flags.push((name, value)),
                    _ => errors.push(format!("--{name}: wants a value")),
                }
            }
            Ok(Some(lexopt::Arg::Value(v))) if command.is_none() => command = v.into_string().ok(),
            Ok(Some(other)) => errors.push(other.unexpected().to_string()),
            Err(e) => errors.push(e.to_string()),
        }
    }
    let command = command.unwrap_or_else(|| "run".into());
    let awaiting = command == "await";
    if json && command != "simulate" {
        errors.push("--json: belongs to simulate".into());
    }
    let known = |name: &str| OPTIONS.iter().any(|o| o.flag == name) || (awaiting && name == "timeout");
    errors.extend(flags.iter().filter(|(n, _)| !known(n)).map(|(n, _)| format!("--{n}: no such option; see --help")));
    let mut reader = Reader { flags, env: &env, errors };
    let command = match command.as_str() {
        "run" => reader.run(),
        "await" => reader.await_command(),
        "simulate" => Some(Command::Simulate(Box::new(reader.tuning()), json)),
        other => {
            reader.errors.push(format!("{other}: no such command; there are run, await, simulate and init"));
            None
        }
    };
    match command {
        Some(command) if reader.errors.is_empty() => Ok(command),
        _ => Err(reader.errors),
    }
}

struct Reader<'a> {
    flags: Vec<(String, String)>,
    env: &'a dyn Fn(&str) -> Option<String>,
    errors: Vec<String>,
}

impl Reader<'_> {
    /// An option's text and what to call it in a message.
    fn text(&self, flag: &str) -> Option<(String, String)> {
        if let Some((_, v)) = self.flags.iter().rev().find(|(n, _)| n == flag) {
            return Some((v.clone(), format!("--{flag}")));
        }
        let option = OPTIONS.iter().find(|o| o.flag == flag)?;
        if let Some(v) = (self.env)(option.env).filter(|v| !v.is_empty()) {
            return Some((v, option.env.to_string()));
        }
        (!option.default.is_empty()).then(|| (option.default.to_string(), format!("--{flag}")))
    }

    fn get<T>(&mut self, flag: &str, wants: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (text, name) = self.text(flag)?;
        let value = read(text.trim());
        if value.is_none() {
            self.errors.push(format!("{name}: {text:?} is not {wants}"));
        }
        value
    }

    fn number(&mut self, flag: &str, low: u64, high: u64) -> u64 {
        let wants = format!("a number from {low} to {high}");
        self.get(flag, &wants, |t| t.parse().ok().filter(|n| (low..=high).contains(n))).unwrap_or(low)
    }

    fn addr(&mut self, flag: &str) -> Option<SocketAddr> {
        self.get(flag, "an address and port such as 127.0.0.1:9200", |t| t.parse().ok())
    }

    fn admin(&mut self) -> Option<SocketAddr> {
        if self.text("admin").is_some_and(|(t, _)| t == "off") {
            return None;
        }
        self.addr("admin")
    }

    fn await_command(&mut self) -> Option<Command> {
        let admin = self.admin();
        let timeout = match self.flags.iter().find(|(n, _)| n == "timeout").map(|(_, v)| v.parse()) {
            None => 60,
            Some(Ok(n)) => n,
            Some(Err(_)) => {
                self.errors.push("--timeout: wants a number of seconds".into());
                60
            }
        };
        if admin.is_none() && self.errors.is_empty() {
            self.errors.push("--admin: off, so there is nobody to ask".into());
        }
        Some(Command::Await(admin?, timeout))
    }

    fn tuning(&mut self) -> Tuning {
        let mut tuning = Tuning::default();
        let policy = "one of ewma, peak-ewma, least-request, round-robin, random";
        if let Some(policy) = self.get("policy", policy, read_policy) {
            tuning.policy = policy;
        }
        let explicit = self.flags.iter().any(|(n, _)| n == "decay-ms") || (self.env)("EWMA_PROXY_DECAY_MS").is_some();
        tuning.decay = self.number("decay-ms", 1, 600_000) as f64 * 1e6;
        if tuning.policy == Policy::PeakEwma && !explicit {
            // As Linkerd has it.
            tuning.decay = 10e9;
        }
        let noise = |t: &str| t.parse::<f64>().ok().filter(|n| (0.0..=100.0).contains(n));
        tuning.noise = self.get("noise", "a number from 0 to 100", noise).unwrap_or(2.6);
        tuning.grain = self.number("grain-us", 0, 10_000_000) as f64 * 1e3;
        tuning.penalty = self.number("penalty-ms", 0, 600_000) as f64 * 1e6;
        let lift = |t: &str| t.parse::<f64>().ok().filter(|n| (0.01..=0.9).contains(n));
        tuning.lift = self.get("failure-lift", "a number from 0.01 to 0.9", lift).unwrap_or(0.2);
        tuning.probe = self.number("probe-ms", 1, 600_000) * 1_000_000;
        tuning.probe_every = self.number("probe-every", 1, 1_000_000);
        tuning
    }

    fn run(&mut self) -> Option<Command> {
        let mut settings = Settings { tuning: self.tuning(), ..Settings::default() };
        settings.connect_timeout = self.number("connect-timeout-ms", 1, 60_000) * 1_000_000;
        settings.wait = self.number("wait-ms", 0, 60_000) * 1_000_000;
        self.limits(&mut settings);
        self.retries(&mut settings);
        let drain_seconds = self.number("drain-seconds", 0, 3_600);
        let seed = self.get("seed", "a number", |t| t.parse().ok());
        let level = self.get("log-level", "one of error, warn, info, debug", read_level).unwrap_or(Level::Info);
        let switch = |t: &str| ["off", "on"].iter().position(|s| *s == t).map(|i| i == 1);
        let access_log = self.get("access-log", "on or off", switch).unwrap_or(false);
        let admin = self.admin();
        let namespace = self.text("namespace").map(|(t, _)| t);
        // Kubernetes allows a list of files in KUBECONFIG; the first one counts here.
        let kubeconfig = self.text("kubeconfig").and_then(|(t, _)| t.split(':').next().map(PathBuf::from));
        let mode = self.mode()?;
        Some(Command::Run(Box::new(Config {
            mode,
            namespace,
            zone: self.text("zone").map(|(t, _)| t),
            kubeconfig,
            admin,
            settings,
            drain_seconds,
            seed,
            access_log,
            level,
        })))
    }

    fn limits(&mut self, settings: &mut Settings) {
        const SECOND: u64 = 1_000_000_000;
        settings.max_clients = self.number("max-connections", 1, 1_000_000) as usize;
        settings.limits.max_streams = self.number("max-streams", 1, 1_000_000) as u32;
        settings.limits.list.max_bytes = (self.number("max-header-kib", 1, 1024) as usize) << 10;
        settings.limits.block = settings.limits.list.max_bytes;
        let frames = (settings.limits.block / MAX_FRAME + 1) as u32;
        settings.limits.continuations = settings.limits.continuations.max(frames);
        settings.max_held = (self.number("max-held-mib", 1, 65_536) as usize) << 20;
        settings.idle = self.number("idle-seconds", 0, 31_536_000) * SECOND;
        settings.upstream_idle = self.number("upstream-idle-seconds", 0, 31_536_000) * SECOND;
        settings.ping_after = self.number("ping-after-seconds", 0, 86_400) * SECOND;
    }

    fn retries(&mut self, settings: &mut Settings) {
        let wants = "a list of gRPC codes such as unavailable,resource-exhausted";
        settings.retries.codes = self.get("retry-on", wants, read_codes).unwrap_or(0);
        let ratio = |t: &str| t.parse::<f64>().ok().filter(|n| (0.0..=1.0).contains(n));
        settings.retries.ratio = self.get("retry-ratio", "a number from 0 to 1", ratio).unwrap_or(0.2);
        settings.retries.per_second = self.number("retry-per-second", 0, 10_000) as f64;
    }

    fn mode(&mut self) -> Option<Mode> {
        let listen = self.addr("listen");
        let endpoints = self.get("endpoints", "a list such as 127.0.0.1:9101,127.0.0.1:9102", |t| {
            let list: Option<Vec<SocketAddr>> = t.split(',').map(|a| a.trim().parse().ok()).collect();
            list.filter(|l| !l.is_empty())
        });
        let service = self.get("service", "a Service and port such as voting:8080", |t| {
            let (name, port) = t.rsplit_once(':')?;
            Some((name.to_string(), port.parse::<u16>().ok()?)).filter(|(n, _)| !n.is_empty())
        });
        let wants = "two networks of one size such as 10.96.0.0/16=127.9.0.0/16";
        let redirect = self.get("redirect", wants, Redirect::parse);
        let wants = "a port such as 4140, or addresses such as 127.0.0.1:4140,[::1]:4140";
        let transparent = self.get("transparent", wants, redirected_to);
        match (listen, endpoints, service, redirect, transparent) {
            (Some(listen), Some(endpoints), None, None, None) => Some(Mode::Static { listen, endpoints }),
            (Some(listen), None, Some((name, port)), None, None) => Some(Mode::Service { listen, name, port }),
            (None, None, None, Some(redirect), None) => Some(Mode::Redirect(redirect)),
            (None, None, None, None, Some(listen)) => Some(Mode::Transparent(listen)),
            _ => {
                if self.errors.is_empty() {
                    let ways =
                        "--listen with --endpoints, --listen with --service, or --redirect or --transparent alone";
                    self.errors.push(format!("nothing to balance: give {ways}; see --help"));
                }
                None
            }
        }
    }
}

/// A port alone stands for both loopback addresses: that is where the rules redirect to.
fn redirected_to(text: &str) -> Option<Vec<SocketAddr>> {
    if let Some(port) = text.parse().ok().filter(|p| *p != 0) {
        return Some(vec![
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
            SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port),
        ]);
    }
    text.split(',').map(|a| a.trim().parse().ok()).collect()
}

fn read_policy(text: &str) -> Option<Policy> {
    Some(match text {
        "ewma" => Policy::Ewma,
        "peak-ewma" => Policy::PeakEwma,
        "least-request" => Policy::LeastRequest,
        "round-robin" => Policy::RoundRobin,
        "random" => Policy::Random,
        _ => return None,
    })
}

/// gRPC codes by name, as bits. OK is none of them.
fn read_codes(text: &str) -> Option<u32> {
    text.split(',').try_fold(0, |bits, name| {
        let name = name.trim().replace('-', "_").to_ascii_uppercase();
        let code = GRPC_NAMES.iter().position(|n| *n == name).filter(|n| *n > 0)?;
        Some(bits | 1 << code)
    })
}

fn read_level(text: &str) -> Option<Level> {
    Some(match text {
        "error" => Level::Error,
        "warn" => Level::Warn,
        "info" => Level::Info,
        "debug" => Level::Debug,
        _ => return None,
    })
}

fn help() -> String {
    let mut text = String::from(
        "ewma-proxy: balances gRPC requests, not connections (P2C over a latency EWMA)\n\n\
         usage: ewma-proxy [run] [options]\n\
         \x20      ewma-proxy await [--admin ADDR:PORT] [--timeout S]   wait until the proxy is ready\n\
         \x20      ewma-proxy init [--help]                              redirect the pod's connections to it\n\
         \x20      ewma-proxy simulate [--json] [balancer's options]    compare the policies in virtual time\n\n\
         example: ewma-proxy --listen 127.0.0.1:9200 --endpoints 127.0.0.1:9101,127.0.0.1:9102\n\noptions:\n",
    );
    for o in OPTIONS {
        let head = format!("--{} {}", o.flag, o.value);
        let default = if o.default.is_empty() { String::new() } else { format!(" [{}]", o.default) };
        text.push_str(&format!("  {head:<28} {}{default} (env {})\n", o.help, o.env));
    }
    text.push_str("\nexit codes: 0 ended as told, 2 bad options, 3 the environment (port taken, not ready, …)");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str], env: &[(&str, &str)]) -> Result<Command, Vec<String>> {
        let env: Vec<(String, String)> = env.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        parse(args.iter().map(|a| a.into()), move |name| env.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()))
    }

    fn config(args: &[&str], env: &[(&str, &str)]) -> Config {
        match read(args, env) {
            Ok(Command::Run(c)) => *c,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_listener_and_endpoints_are_all_it_takes() {
        let c = config(&["--listen", "127.0.0.1:1", "--endpoints", "127.0.0.1:2,127.0.0.1:3"], &[]);
        assert!(matches!(c.mode, Mode::Static { endpoints, .. } if endpoints.len() == 2));
    }

    #[test]
    fn a_flag_wins_over_the_environment() {
        let env = [("EWMA_PROXY_LISTEN", "127.0.0.1:1"), ("EWMA_PROXY_SERVICE", "voting:8080")];
        let c = config(&["--listen=127.0.0.1:9"], &env);
        assert_eq!(c.mode, Mode::Service { listen: "127.0.0.1:9".parse().unwrap(), name: "voting".into(), port: 8080 });
    }

    #[test]
    fn all_bad_values_are_reported_together() {
        let bad = ["--listen", "x", "--policy", "best", "--decay-ms", "0", "--nonsense", "1", "--endpoints", "y"];
        let errors = read(&bad, &[("EWMA_PROXY_ADMIN", "z")]).unwrap_err();
        for part in ["--listen", "--policy", "--decay-ms", "--nonsense", "--endpoints", "EWMA_PROXY_ADMIN"] {
            assert!(errors.iter().any(|e| e.contains(part)), "{part} in {errors:?}");
        }
    }

    #[test]
    fn codes_to_retry_are_named_and_ok_is_none() {
        assert_eq!(read_codes("unavailable, RESOURCE_EXHAUSTED,data-loss"), Some(1 << 14 | 1 << 8 | 1 << 15));
        assert_eq!((read_codes("ok"), read_codes("503"), read_codes("")), (None, None, None));
    }

    #[test]
    fn a_simulation_takes_the_balancers_options_and_may_be_json() {
        match read(&["simulate", "--json", "--noise", "3"], &[]) {
            Ok(Command::Simulate(tuning, true)) => assert!((tuning.noise - 3.0).abs() < 1e-9),
            other => panic!("{other:?}"),
        }
        assert!(read(&["--json", "--listen=127.0.0.1:1", "--endpoints=127.0.0.1:2"], &[]).is_err());
        assert!(read(&["stimulate"], &[]).unwrap_err().iter().any(|e| e.contains("no such command")));
    }

    #[test]
    fn nothing_to_balance_says_what_to_give() {
        assert!(read(&[], &[]).unwrap_err()[0].contains("--endpoints"));
    }

    #[test]
    fn transparent_takes_a_port_on_both_loopbacks_or_addresses_and_nothing_beside_it() {
        let listen = |text: &str| match config(&["--transparent", text], &[]).mode {
            Mode::Transparent(listen) => listen.iter().map(ToString::to_string).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(listen("4140"), ["127.0.0.1:4140", "[::1]:4140"]);
        assert_eq!(listen("0.0.0.0:1, [::]:1"), ["0.0.0.0:1", "[::]:1"]);
        for bad in ["", "0", "here", "127.0.0.1"] {
            assert!(read(&["--transparent", bad], &[]).is_err(), "{bad:?}");
        }
        assert!(read(&["--transparent", "1", "--redirect", "127.5.0.0/24=127.5.9.0/24"], &[]).is_err());
    }

    #[test]
    fn a_redirect_moves_the_network_and_keeps_the_host() {
        let r = Redirect::parse("127.5.0.0/24=127.5.9.0/24").unwrap();
        assert_eq!(r.map("127.5.0.7".parse().unwrap()), Some("127.5.9.7".parse().unwrap()));
        assert_eq!(r.map("127.6.0.7".parse().unwrap()), None);
        assert_eq!(Redirect::parse("127.5.0.1/24=127.5.9.0/24"), None);
        assert_eq!(Redirect::parse("127.5.0.0/24=127.5.0.0/16"), None);
    }
}
