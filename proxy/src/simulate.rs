//! `ewma-proxy simulate`: every policy under the same made-up conditions, as a table or as JSON. Runs in virtual time,
//! so the figures are the same on every machine. Knows the figures and how to print them.

use serde_json::{json, Value};

use crate::core::balance::figures::Figures;
use crate::core::balance::tuning::{Policy, Tuning};

/// Column heads and what they mean, in the table's order.
const COLUMNS: [(&str, &str); 17] = [
    ("ln 15", "requests: standard deviation of the counts when 300 requests meet 3 equal pods; log-normal times (median 2 ms, sigma 0.5), 15 rps"),
    ("ln 500", "the same at 500 rps"),
    ("exp 15", "the same with exponential times (mean 2 ms), 15 rps"),
    ("exp 500", "the same at 500 rps"),
    ("1/30 fail", "as `ln 500`, while one request in 30 fails on whichever pod"),
    ("busy", "standard deviation of the counts, as a part of fair, when 2,000 requests meet 3 equal pods that wait for a core now and then (in any 0.1 s with a chance of 1 in 6, then 4 ms slower or more; 200 rps)"),
    ("hiccup", "s until one of 3 pods has 80 % of its share again after one answer of 100 ms (200 rps, 2 ms)"),
    ("new", "s until a fourth pod has its share, within 20 % (100 rps, 2 ms)"),
    ("was slow", "s until one of 3 pods has its share, within 20 %, after it was 200 ms slower for 10 s (100 rps)"),
    ("had failed", "the same after it failed in 0.1 ms for 10 s"),
    ("was away", "the same after it was removed for 10 s"),
    ("slow 1st s", "share of one of 5 pods in the first second after it slows by 200 ms (500 rps, 2 ms)"),
    ("slow later", "its share after that"),
    ("p99 / well", "ms: the callers' p99 after that second, and before"),
    ("FIFO equal", "ms: p99 of 5 pods that serve one request at a time (5 ms, exponential), 80 % load"),
    ("FIFO 3x", "the same with one pod 3 times slower, 60 % load"),
    ("fails fast", "1 of 3 pods fails in 0.1 ms, the others take 20 ms: its largest share in any second / its share after 10 s, at 15, 100 and 500 rps"),
];

/// Measures all policies and gives the text to print. `progress` is told what is being measured.
pub fn report(tuning: Tuning, as_json: bool, mut progress: impl FnMut(&str)) -> String {
    let all: Vec<Figures> = Policy::ALL
        .iter()
        .map(|(policy, name)| {
            progress(name);
            Figures::of(*policy, tuning)
        })
        .collect();
    if as_json {
        return format!("{:#}", json!({ "policies": all.iter().map(object).collect::<Vec<_>>() }));
    }
    let heads = COLUMNS.map(|(head, _)| head);
    let mut text = format!("| policy | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for f in &all {
        text.push_str(&format!("| {} | {} |\n", f.policy.name(), cells(f).join(" | ")));
    }
    text.push('\n');
    COLUMNS.iter().for_each(|(head, meaning)| text.push_str(&format!("- `{head}`: {meaning}\n")));
    text.pop();
    text
}

fn cells(f: &Figures) -> Vec<String> {
    let seconds = |s: f64| if s > 39.0 { "never".to_string() } else { format!("{s:.1}") };
    let percent = |s: f64| format!("{:.2} %", s * 1e2);
    let ms = |s: f64| format!("{:.1}", s * 1e3);
    let mut cells: Vec<String> = f.spread.iter().chain([&f.spread_failing]).map(|n| format!("{n:.1}")).collect();
    cells.push(percent(f.busy));
    cells.extend([f.hiccup, f.newcomer].iter().chain(&f.returned).map(|s| seconds(*s)));
    cells.extend([percent(f.slow.first), percent(f.slow.later)]);
    cells.push(format!("{} / {}", ms(f.slow.after), ms(f.slow.before)));
    cells.extend(f.fifo.map(ms));
    let failing = f.failing.map(|(most, later)| format!("{:.1} / {:.2} %", most * 1e2, later * 1e2));
    cells.push(failing.join(", "));
    cells
}

fn object(f: &Figures) -> Value {
    let failing = |(most, later): (f64, f64)| json!({ "most": most, "after_10_s": later });
    json!({
        "policy": f.policy.name(),
        "spread": { "lognormal_15": f.spread[0], "lognormal_500": f.spread[1], "exponential_15": f.spread[2],
            "exponential_500": f.spread[3], "failing_1_in_30": f.spread_failing },
        "busy_machine_part_of_fair": f.busy,
        "hiccup_seconds": f.hiccup,
        "new_seconds": f.newcomer,
        "returned_seconds": { "slow": f.returned[0], "failing": f.returned[1], "removed": f.returned[2] },
        "slow": { "first_second": f.slow.first, "later": f.slow.later, "p99_seconds_before": f.slow.before,
            "p99_seconds_after": f.slow.after },
        "fifo_p99_seconds": { "equal": f.fifo[0], "one_slow": f.fifo[1] },
        "failing": { "15_rps": failing(f.failing[0]), "100_rps": failing(f.failing[1]), "500_rps": failing(f.failing[2]) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_has_a_cell() {
        let zero = Figures {
            policy: Policy::Ewma,
            spread: [0.0; 4],
            spread_failing: 0.0,
            busy: 0.0,
            hiccup: 0.0,
            newcomer: 40.0,
            returned: [0.0; 3],
            slow: crate::core::balance::figures::Slow { first: 0.0, later: 0.0, before: 0.0, after: 0.0 },
            fifo: [0.0; 2],
            failing: [(0.0, 0.0); 3],
        };
        assert_eq!(cells(&zero).len(), COLUMNS.len());
        assert!(cells(&zero).contains(&"never".to_string()));
    }
}
