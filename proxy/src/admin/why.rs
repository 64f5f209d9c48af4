//! The last picks as JSON, with all that is needed to make each of them again by hand. Knows picks and the format.

use serde_json::{json, Value};

use crate::core::balance::pick::{Candidate, Fitness, REMEMBERED};
use crate::core::balance::tuning::{Tuning, ALIKE};
use crate::core::relay::Explained;
use crate::io::message::Why;

/// Picks shown unless told otherwise.
const SHOWN: usize = 20;

/// How to make a pick again.
const COST: &str = "(rtt_ms + penalty_ms) * (in_flight + 1)";
const ALIKE_BELOW: &str = "the largest of: noise * sqrt(sum of squares of error_ms * (in_flight + 1)), \
     grain_ms * (larger in_flight + 1), alike_share * smaller cost_ms; 0 for policies other than ewma";
const WINNER: &str = "the only one that is fit; else, if the costs differ by more than alike_ms, the lower cost; else \
     fewer in flight; else the one whose last_request is older; but a probe goes to the one that would have lost";

/// The query of a request for picks: how many, and of which targets.
///
/// # Errors
/// One line: what is wrong with it.
pub fn query(text: &str) -> Result<(usize, Option<String>), String> {
    let (mut n, mut target) = (SHOWN, None);
    for (name, value) in text.split('&').filter(|p| !p.is_empty()).map(|p| p.split_once('=').unwrap_or((p, ""))) {
        match name {
            "n" => match value.parse() {
                Ok(number) => n = number,
                Err(_) => return Err(format!("n: a number of picks, at most {REMEMBERED} per target")),
            },
            "target" => target = Some(value.replace("%2F", "/").replace("%3A", ":")),
            _ => return Err("there are ?n=NUMBER and ?target=PART-OF-NAME".into()),
        }
    }
    Ok((n, target))
}

/// Renders the picks.
pub fn render(why: &Why) -> String {
    let t = &why.tuning;
    let picks: Vec<Value> = why.picks.iter().map(|e| pick(e, t, why.now)).collect();
    let text = json!({
        "rules": { "cost_ms": COST, "alike_ms": ALIKE_BELOW, "winner": WINNER },
        "constants": {
            "policy": t.policy.name(), "noise": t.noise, "grain_ms": t.grain / 1e6, "alike_share": ALIKE,
            "penalty_ms": t.penalty / 1e6, "probe_ms": t.probe / 1_000_000, "probe_every": t.probe_every,
        },
        "picks": picks,
    });
    format!("{text:#}\n")
}

fn pick(e: &Explained, tuning: &Tuning, now: u64) -> Value {
    let p = &e.pick;
    let mut candidates = vec![candidate(&p.first, &e.names[0])];
    candidates.extend(p.pair.then(|| candidate(&p.second, &e.names[1])));
    let winner = usize::from(!p.first_won);
    json!({
        "service": &*e.target,
        "age_ms": now.saturating_sub(p.at) as f64 / 1e6,
        "winner": candidates[winner]["pod"].clone(),
        "winner_address": candidates[winner]["address"].clone(),
        "reason": p.reason.words(),
        "alike_ms": p.alike(tuning) / 1e6,
        "candidates": candidates,
    })
}

fn candidate(c: &Candidate, name: &Option<(std::net::SocketAddr, std::sync::Arc<str>)>) -> Value {
    let state = match c.fitness {
        Fitness::Fit => "fit",
        Fitness::Failing => "failing",
        Fitness::Unreachable => "unreachable",
        Fitness::Avoided => "failed this request",
    };
    json!({
        "pod": name.as_ref().map(|(_, pod)| &**pod),
        "address": name.as_ref().map(|(addr, _)| addr.to_string()),
        "rtt_ms": c.rtt / 1e6,
        "error_ms": c.error2.sqrt() / 1e6,
        "in_flight": c.in_flight,
        "penalty_ms": c.penalty / 1e6,
        "cost_ms": c.cost() / 1e6,
        "last_request": c.picked,
        "state": state,
    })
}

#[cfg(test)]
mod tests {
    use super::query;

    #[test]
    fn a_query_names_a_number_and_a_target() {
        assert_eq!(query(""), Ok((20, None)));
        assert_eq!(query("n=3&target=lab%2Fvoting"), Ok((3, Some("lab/voting".into()))));
        assert!(query("n=many").is_err());
        assert!(query("pod=x").is_err());
    }
}
