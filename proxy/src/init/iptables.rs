//! The rules by an iptables program, for kernels without nf_tables: a chain of our own in the nat table, filled at one
//! stroke by `…-restore --noflush`, and one jump to it. Nothing else in the table is touched.

use std::io::Write;
use std::process::{Command, Stdio};

use super::rules::Rules;

/// Our chain; iptables allows 28 characters.
const CHAIN: &str = "EWMA-PROXY-OUTPUT";

/// Writes the rules, or removes them; returns what was done, for the log.
pub fn apply(program: &str, rules: &Rules, undo: bool) -> Result<String, String> {
    family(program, rules, false, undo)?;
    let six = program.replacen("iptables", "ip6tables", 1);
    // A machine without IPv6 lacks the program or the table.
    if !usable(&six) {
        return Ok(format!("{program}, chain {CHAIN}, IPv4; no IPv6 here"));
    }
    family(&six, rules, true, undo)?;
    Ok(format!("{program}, chain {CHAIN}, IPv4 and IPv6"))
}

fn usable(program: &str) -> bool {
    run(program, &["-t", "nat", "-n", "-L", "OUTPUT"]).is_ok()
}

fn family(program: &str, rules: &Rules, v6: bool, undo: bool) -> Result<(), String> {
    let jump = |what| run(program, &["-t", "nat", what, "OUTPUT", "-p", "tcp", "-j", CHAIN]);
    if undo {
        if run(program, &["-t", "nat", "-n", "-L", CHAIN]).is_err() {
            // Nothing of ours is there, if the table can be read at all.
            return run(program, &["-t", "nat", "-n", "-L", "OUTPUT"]);
        }
        while jump("-C").is_ok() {
            jump("-D")?;
        }
        run(program, &["-t", "nat", "-F", CHAIN])?;
        return run(program, &["-t", "nat", "-X", CHAIN]);
    }
    feed(&format!("{program}-restore"), &script(rules, v6))?;
    if jump("-C").is_err() {
        jump("-A")?;
    }
    Ok(())
}

fn script(rules: &Rules, v6: bool) -> String {
    let mut text = format!("*nat\n:{CHAIN} - [0:0]\n");
    let mut rule = |what: &str| text.push_str(&format!("-A {CHAIN} {what}\n"));
    for uid in &rules.uids {
        rule(&format!("-m owner --uid-owner {uid} -j RETURN"));
    }
    rule("-o lo -j RETURN");
    for cidr in rules.cidrs(v6) {
        rule(&format!("-d {}/{} -j RETURN", cidr.ip, cidr.bits));
    }
    for (low, high) in &rules.ports {
        rule(&format!("-p tcp --dport {low}:{high} -j RETURN"));
    }
    rule(&format!("-p tcp -j REDIRECT --to-ports {}", rules.port));
    text + "COMMIT\n"
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let done = Command::new(program).arg("-w").args(args).output().map_err(|e| format!("cannot run {program}: {e}"))?;
    said(program, &done)
}

fn feed(program: &str, text: &str) -> Result<(), String> {
    let cannot = |e: std::io::Error| format!("cannot run {program}: {e}");
    let mut command = Command::new(program);
    command.args(["-w", "--noflush"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(cannot)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes()).map_err(cannot)?;
    }
    said(program, &child.wait_with_output().map_err(cannot)?)
}

fn said(program: &str, done: &std::process::Output) -> Result<(), String> {
    if done.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&done.stderr);
    Err(format!("{program}: {}", text.lines().next().unwrap_or("failed without a word")))
}
