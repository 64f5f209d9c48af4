//! The last picks with the names of those they were made among. Reading them changes nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Relay;
use crate::core::balance::pick::{Candidate, Pick};
use crate::core::balance::tuning::Tuning;

/// A pick as people read it.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Of which service port.
    pub target: Arc<str>,
    /// What was weighed, and what came of it.
    pub pick: Pick,
    /// Address and pod of the first candidate and of the second; None for one that is long gone.
    pub names: [Option<(SocketAddr, Arc<str>)>; 2],
}

impl Relay {
    /// The last picks, newest first, at most `n`; of targets whose name contains `part`, if given.
    pub fn why(&self, part: Option<&str>, n: usize) -> Vec<Explained> {
        let wanted = self.targets.iter().filter(|t| part.is_none_or(|p| t.name.contains(p)));
        let mut all: Vec<Explained> = wanted
            .flat_map(|t| {
                let name = |c: &Candidate, p: &Pick| {
                    // An index may have gone to another endpoint since.
                    let endpoint = t.pool.get(c.endpoint).filter(|e| e.added() <= p.at)?;
                    Some((endpoint.info.addr, endpoint.info.pod.clone()))
                };
                t.pool.recent().iter().take(n).map(move |p| Explained {
                    target: t.name.clone(),
                    pick: *p,
                    names: [name(&p.first, p), name(&p.second, p)],
                })
            })
            .collect();
        all.sort_by_key(|e| std::cmp::Reverse(e.pick.at));
        all.truncate(n);
        all
    }

    /// The balancer's constants.
    pub fn tuning(&self) -> &Tuning {
        &self.settings.tuning
    }
}
