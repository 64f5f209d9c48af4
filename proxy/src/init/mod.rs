//! `ewma-proxy init`: the rules in a pod's network namespace that redirect what the pod's programs connect to.
//!
//! Two ways to write them:
//! - nf_tables, spoken to the kernel directly over netlink (`nft`): the sidecar's image holds this one program and
//!   nothing else, so there are no iptables binaries to call; the rules are few and fixed, one file writes them, in one
//!   transaction, which the kernel applies as a whole or not at all. A table of our own: it stands beside rules of
//!   iptables-nft and of iptables-legacy and touches neither; undoing is dropping it. Works on Linux 4.18 and newer.
//! - an `iptables` program where there is one (`iptables`), for kernels without nf_tables.
//!
//! What is redirected: new TCP connections made in the pod, in both address families. Not redirected: the proxy's own
//! (by UID: so nothing it sends can come back to it), whatever stays on loopback, what the skip lists name, and all
//! that comes in from outside, since no rule looks at that. If the proxy is dead, connections are refused: the rules
//! lead to a port where nobody listens, and nowhere else.
//!
//! Needs CAP_NET_ADMIN in the namespace, nothing more; no root, no file. Must not know: Services, what is spoken.

mod iptables;
mod nft;
pub mod options;
mod rules;

pub use rules::{Cidr, Ports, Rules};

use crate::config::Level;
use crate::log;

/// How to write the rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Backend {
    /// nf_tables if the kernel has it, else an iptables program.
    Auto,
    /// nf_tables over netlink.
    Nftables,
    /// A program of that name, such as iptables-legacy.
    Iptables(String),
    /// Nobody: where addresses stand in for rules, as on a cluster without network namespaces.
    None,
}

/// What is asked of `init`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Init {
    /// The rules.
    pub rules: Rules,
    /// Who writes them.
    pub backend: Backend,
    /// Remove them instead.
    pub undo: bool,
    /// Only print them, as nftables has them.
    pub dry_run: bool,
}

/// The program that is tried on kernels without nf_tables.
const LEGACY: &str = "iptables-legacy";

/// Does it.
///
/// # Errors
/// One line: no rights, no such thing in the kernel, no such program.
pub fn init(init: &Init) -> Result<(), String> {
    if init.dry_run {
        print!("{}", init.rules);
        return Ok(());
    }
    let by = match &init.backend {
        Backend::None => {
            log::line(Level::Info, "no redirect rules are wanted here");
            return Ok(());
        }
        Backend::Iptables(program) => iptables::apply(program, &init.rules, init.undo)?,
        Backend::Nftables => nft::apply(&init.rules, init.undo).map_err(|e| e.to_string())?,
        Backend::Auto => match nft::apply(&init.rules, init.undo) {
            Err(nft::Error::Missing(why)) => {
                log::line(Level::Info, &format!("{why}; trying {LEGACY}"));
                iptables::apply(LEGACY, &init.rules, init.undo)?
            }
            other => other.map_err(|e| e.to_string())?,
        },
    };
    let what = if init.undo { "removed" } else { "written" };
    log::line(Level::Info, &format!("redirect rules {what}: {by}"));
    Ok(())
}
