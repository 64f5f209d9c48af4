//! What `init` is told: flags and environment → [`Init`]; every bad value is reported together.

use std::ffi::OsString;

use super::rules::{Cidr, Ports, Rules};
use super::{Backend, Init};

/// Flag, environment variable, placeholder, default, text. One without a placeholder takes no value.
type Opt = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// All options of `init`.
pub const OPTIONS: &[Opt] = &[
    ("port", "EWMA_PROXY_INIT_PORT", "PORT", "4140", "where the proxy listens (its --transparent), on loopback"),
    ("proxy-uid", "EWMA_PROXY_INIT_PROXY_UID", "UID", "65532", "the proxy's user, whose connections are left alone"),
    (
        "skip-ports",
        "EWMA_PROXY_INIT_SKIP_PORTS",
        "PORT,…",
        "",
        "destination ports that are left alone; LOW-HIGH is a range",
    ),
    ("skip-cidrs", "EWMA_PROXY_INIT_SKIP_CIDRS", "NET,…", "", "destinations that are left alone, IPv4 and IPv6"),
    ("skip-uids", "EWMA_PROXY_INIT_SKIP_UIDS", "UID,…", "", "further users whose connections are left alone"),
    (
        "with",
        "EWMA_PROXY_INIT_WITH",
        "WAY",
        "auto",
        "auto, nftables (spoken to the kernel), an iptables program's name, or none where no rules are wanted",
    ),
    ("undo", "", "", "", "remove the rules, and nothing else"),
    ("dry-run", "", "", "", "print the rules in nftables' language and change nothing"),
];

/// The text of `init --help`.
pub fn help() -> String {
    let mut text = String::from(
        "ewma-proxy init: writes the rules that redirect a pod's outgoing TCP connections to the proxy\n\n\
         usage: ewma-proxy init [options]      needs CAP_NET_ADMIN; twice is as good as once\n\n\
         example: ewma-proxy init --port 4140 --proxy-uid 65532 --skip-ports 5432,6379\n\noptions:\n",
    );
    for (flag, env, value, default, what) in OPTIONS {
        let head = format!("--{flag} {value}");
        let default = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        let env = if env.is_empty() { String::new() } else { format!(" (env {env})") };
        text.push_str(&format!("  {head:<28} {what}{default}{env}\n"));
    }
    text.push_str(
        "\nexit codes: 0 done, 2 bad options, 3 the environment (no rights, no nf_tables and no iptables, …)",
    );
    text
}

/// Reads the arguments after `init`; None: the help was asked for.
///
/// # Errors
/// One line per bad value, all of them.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Init>, Vec<String>> {
    let mut parser = lexopt::Parser::from_args(args);
    let (mut given, mut errors): (Vec<(&'static str, String)>, Vec<String>) = (vec![], vec![]);
    loop {
        match parser.next() {
            Ok(None) => break,
            Ok(Some(lexopt::Arg::Long("help") | lexopt::Arg::Short('h'))) => return Ok(None),
            Ok(Some(lexopt::Arg::Long(name))) => match OPTIONS.iter().find(|o| o.0 == name) {
                Some((flag, _, "", ..)) => given.push((flag, String::new())),
                Some((flag, ..)) => match parser.value().map(|v| v.into_string()) {
                    Ok(Ok(value)) => given.push((flag, value)),
                    _ => errors.push(format!("--{flag}: wants a value")),
                },
                None => errors.push(format!("--{name}: no such option; see init --help")),
            },
            Ok(Some(other)) => errors.push(other.unexpected().to_string()),
            Err(e) => errors.push(e.to_string()),
        }
    }
    let mut reader = Reader { given, env, errors };
    let init = reader.init();
    if reader.errors.is_empty() {
        Ok(Some(init))
    } else {
        Err(reader.errors)
    }
}

struct Reader<'a> {
    given: Vec<(&'static str, String)>,
    env: &'a dyn Fn(&str) -> Option<String>,
    errors: Vec<String>,
}

impl Reader<'_> {
    fn init(&mut self) -> Init {
        let port = self.one("port", "a port", |t| t.parse().ok().filter(|p| *p != 0)).unwrap_or(4140);
        let mut uids: Vec<u32> = self.one("proxy-uid", "a user's number", |t| t.parse().ok()).into_iter().collect();
        uids.extend(self.list("skip-uids", "a user's number", |t| t.parse::<u32>().ok()));
        let ports = self.list("skip-ports", "a port or a range such as 6000-6010", read_ports);
        let cidrs = self.list("skip-cidrs", "a network such as 10.0.0.0/8 or fd00::/8", Cidr::parse);
        let backend = match self.text("with").unwrap_or_default().0.as_str() {
            "auto" | "" => Backend::Auto,
            "nftables" => Backend::Nftables,
            "none" => Backend::None,
            program if program.contains("iptables") => Backend::Iptables(program.to_string()),
            other => {
                self.errors.push(format!("--with: {other:?} is not auto, nftables, none or an iptables program"));
                Backend::Auto
            }
        };
        let flag = |name: &str| self.given.iter().any(|(n, _)| *n == name);
        let (undo, dry_run) = (flag("undo"), flag("dry-run"));
        Init { rules: Rules { port, uids, ports, cidrs }, backend, undo, dry_run }
    }

    /// An option's text and what to call it in a message.
    fn text(&self, flag: &str) -> Option<(String, String)> {
        let (_, env, _, default, _) = OPTIONS.iter().find(|o| o.0 == flag)?;
        if let Some((_, text)) = self.given.iter().rev().find(|(n, _)| *n == flag) {
            return Some((text.clone(), format!("--{flag}")));
        }
        match (self.env)(env).filter(|v| !v.is_empty()) {
            Some(text) => Some((text, (*env).to_string())),
            None => (!default.is_empty()).then(|| ((*default).to_string(), format!("--{flag}"))),
        }
    }

    fn one<T>(&mut self, flag: &str, wants: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (text, name) = self.text(flag)?;
        let value = read(text.trim());
        if value.is_none() {
            self.errors.push(format!("{name}: {text:?} is not {wants}"));
        }
        value
    }

    fn list<T>(&mut self, flag: &str, wants: &str, read: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let Some((text, name)) = self.text(flag) else { return vec![] };
        let mut all = vec![];
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            match read(part) {
                Some(value) => all.push(value),
                None => self.errors.push(format!("{name}: {part:?} is not {wants}")),
            }
        }
        all
    }
}

fn read_ports(text: &str) -> Option<Ports> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let ports = (low.parse().ok()?, high.parse().ok()?);
    (ports.0 != 0 && ports.0 <= ports.1).then_some(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Option<Init>, Vec<String>> {
        parse(args.iter().map(|a| a.into()), &|name| (name == "EWMA_PROXY_INIT_SKIP_PORTS").then(|| "22,30-40".into()))
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_defaults() {
        let init = read(&["--skip-cidrs", "10.0.0.0/8,fd00::/8", "--skip-uids=0,5"]).unwrap().unwrap();
        assert_eq!((init.rules.port, &init.rules.uids[..]), (4140, &[65532, 0, 5][..]));
        assert_eq!(init.rules.ports, [(22, 22), (30, 40)]);
        assert_eq!(init.rules.cidrs.len(), 2);
        assert_eq!(init.backend, Backend::Auto);
        let init = read(&["--skip-ports", "1", "--undo", "--with", "iptables-legacy"]).unwrap().unwrap();
        assert_eq!(init.rules.ports, [(1, 1)]);
        assert!(init.undo && init.backend == Backend::Iptables("iptables-legacy".into()));
    }

    #[test]
    fn all_bad_values_are_reported_together() {
        let bad = ["--port", "0", "--proxy-uid", "me", "--skip-ports", "9-1", "--skip-cidrs", "10.0.0.1/8", "--x"];
        let errors = read(&[&bad[..], &["--with", "magic"]].concat()).unwrap_err();
        for part in ["--port", "--proxy-uid", "--skip-ports", "--skip-cidrs", "--x", "--with"] {
            assert!(errors.iter().any(|e| e.contains(part)), "{part} in {errors:?}");
        }
    }

    #[test]
    fn help_shows_an_example_and_every_option() {
        let text = help();
        assert!(text.contains("example: ewma-proxy init"));
        assert!(OPTIONS.iter().all(|o| text.contains(&format!("--{} ", o.0))));
        assert_eq!(read(&["--help"]), Ok(None));
    }
}
