//! A snapshot as Prometheus text (exposition format 0.0.4). Labels are bounded: pods by the pool, routes and codes by
//! their tables. Knows the snapshot and the format.

use std::fmt::Write;

use super::process;
use crate::core::h2::message::GRPC_NAMES;
use crate::core::relay::{EndpointStats, RouteStats, BOUNDS};
use crate::io::message::{Snapshot, TargetSnapshot};

/// What the discovery says of itself, for the metrics.
pub struct Discovery {
    /// The first lists have been read.
    pub synced: bool,
    /// Seconds since the API server last said anything; None without discovery.
    pub age: Option<f64>,
}

/// Renders everything.
pub fn render(s: &Snapshot, discovery: &Discovery) -> String {
    let mut out = String::with_capacity(16 << 10);
    // Writing to a String cannot fail.
    let _ = write_all(&mut out, s, discovery);
    out
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

fn write_all(out: &mut String, s: &Snapshot, discovery: &Discovery) -> std::fmt::Result {
    head(out, "ewma_proxy_requests_total", "counter", "Requests by destination pod, route and how they ended.")?;
    for_routes(s, |labels, stats| requests(out, labels, stats))?;
    let help = "Time from the request's head to the end of the response.";
    head(out, "ewma_proxy_request_duration_seconds", "histogram", help)?;
    for_routes(s, |labels, stats| histogram(out, labels, stats))?;
    gauges(out, s)?;
    let t = &s.totals;
    let counters: [(&str, &str, u64); 15] = [
        ("ewma_proxy_connections_total", "Client connections accepted that speak HTTP.", t.accepted),
        ("ewma_proxy_opaque_connections_total", "Connections passed through byte by byte.", s.opaque.1),
        ("ewma_proxy_upstream_connects_total", "Connections opened to endpoints.", t.connects),
        ("ewma_proxy_upstream_connect_failures_total", "Of those, failed.", t.connect_failures),
        ("ewma_proxy_replays_total", "Requests sent again, the first try not having been processed.", t.replays),
        ("ewma_proxy_tries_total", "Requests sent to endpoints, second tries included.", t.tries),
        ("ewma_proxy_retries_total", "Of those, second tries after a failure.", t.retries),
        ("ewma_proxy_retries_denied_total", "Failures not tried again for want of budget.", t.retries_denied),
        ("ewma_proxy_connections_refused_total", "Connections closed at once: too many.", t.turned_away),
        ("ewma_proxy_shed_total", "Streams refused or reset: too much is held for peers.", t.shed),
        ("ewma_proxy_idle_closed_total", "Connections closed because nobody used them.", t.idle_closed),
        ("ewma_proxy_pings_total", "PINGs sent to endpoints that had fallen silent.", t.pings),
        ("ewma_proxy_stalled_total", "Connections closed because such a PING was not answered.", t.stalled),
        ("ewma_proxy_records_lost_total", "Lines that a tap or the access log did not take in time.", t.records_lost),
        ("ewma_proxy_protocol_faults_total", "Connections ended for a fault of the peer's.", t.faults),
    ];
    for (name, help, value) in counters {
        head(out, name, "counter", help)?;
        writeln!(out, "{name} {value}")?;
    }
    let gauges: [(&str, &str, Option<f64>); 7] = [
        ("ewma_proxy_connections", "Client connections open that speak HTTP.", Some(t.downstream as f64)),
        ("ewma_proxy_opaque_connections", "Connections being passed through.", Some(s.opaque.0 as f64)),
        ("ewma_proxy_requests_in_flight", "Requests under way.", Some(s.calls as f64)),
        ("ewma_proxy_held_bytes", "Output, bodies and heads held for peers.", Some(s.held as f64)),
        ("ewma_proxy_discovery_synced", "1 once the endpoints are known.", Some(f64::from(discovery.synced as u8))),
        ("ewma_proxy_discovery_age_seconds", "Time since the API server last spoke.", discovery.age),
        ("process_resident_memory_bytes", "Resident memory.", process::resident_bytes().map(|b| b as f64)),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            head(out, name, "gauge", help)?;
            writeln!(out, "{name} {value}")?;
        }
    }
    if let Some(seconds) = process::cpu_seconds() {
        head(out, "process_cpu_seconds_total", "counter", "User and system time.")?;
        writeln!(out, "process_cpu_seconds_total {seconds}")?;
    }
    head(out, "ewma_proxy_build_info", "gauge", "1, with the version.")?;
    writeln!(out, "ewma_proxy_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))
}

/// Calls `each` for every route of every endpoint, with its labels. Endpoints of one pod that came and went under
/// one name are summed, for a label set may stand there only once.
fn for_routes(s: &Snapshot, mut each: impl FnMut(&str, &RouteStats) -> std::fmt::Result) -> std::fmt::Result {
    for target in &s.targets {
        let mut pods: Vec<(&str, EndpointStats)> = vec![];
        for e in &target.endpoints {
            match pods.iter_mut().find(|(pod, _)| *pod == &*e.pod) {
                Some((_, sum)) => sum.add(&e.stats),
                None => pods.push((&e.pod, e.stats.clone())),
            }
        }
        pods.push(("", target.unserved.clone()));
        for (pod, stats) in &pods {
            for (i, stats) in stats.routes.iter().enumerate() {
                let Some(stats) = stats else { continue };
                let route = s.routes.get(i).map_or("", |r| &**r);
                let labels =
                    format!("service=\"{}\",pod=\"{}\",route=\"{}\"", escape(&target.name), escape(pod), escape(route));
                each(&labels, stats)?;
            }
        }
    }
    Ok(())
}

fn requests(out: &mut String, labels: &str, stats: &RouteStats) -> std::fmt::Result {
    for (name, n) in GRPC_NAMES.iter().zip(stats.grpc).filter(|(_, n)| *n > 0) {
        writeln!(out, "ewma_proxy_requests_total{{{labels},code=\"{name}\"}} {n}")?;
    }
    for (status, n) in &stats.http {
        writeln!(out, "ewma_proxy_requests_total{{{labels},code=\"{status}\"}} {n}")?;
    }
    Ok(())
}

fn histogram(out: &mut String, labels: &str, stats: &RouteStats) -> std::fmt::Result {
    let name = "ewma_proxy_request_duration_seconds";
    let mut sum = 0;
    for (bound, n) in BOUNDS.iter().zip(stats.buckets) {
        sum += n;
        writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {sum}")?;
    }
    sum += stats.buckets[BOUNDS.len()];
    writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {sum}")?;
    writeln!(out, "{name}_sum{{{labels}}} {}\n{name}_count{{{labels}}} {sum}", stats.seconds)
}

fn gauges(out: &mut String, s: &Snapshot) -> std::fmt::Result {
    head(out, "ewma_proxy_endpoints", "gauge", "Endpoints that get requests.")?;
    for t in &s.targets {
        let n = t.endpoints.iter().filter(|e| e.active).count();
        writeln!(out, "ewma_proxy_endpoints{{service=\"{}\"}} {n}", escape(&t.name))?;
    }
    let per_pod = |out: &mut String, name: &str, help: &str, value: &dyn Fn(&TargetSnapshot, usize) -> Option<f64>| {
        head(out, name, "gauge", help)?;
        for t in &s.targets {
            for (i, e) in t.endpoints.iter().enumerate().filter(|(_, e)| e.active) {
                if let Some(value) = value(t, i) {
                    writeln!(out, "{name}{{service=\"{}\",pod=\"{}\"}} {value}", escape(&t.name), escape(&e.pod))?;
                }
            }
        }
        Ok(())
    };
    let help = "Requests open to an endpoint.";
    per_pod(out, "ewma_proxy_endpoint_in_flight", help, &|t, i| Some(f64::from(t.endpoints[i].in_flight)))?;
    let help = "Estimated latency of an endpoint.";
    per_pod(out, "ewma_proxy_endpoint_latency_seconds", help, &|t, i| t.endpoints[i].latency)
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::relay::Code;
    use crate::io::message::EndpointSnapshot;

    fn endpoint(pod: &str, calls: u64) -> EndpointSnapshot {
        let mut stats = EndpointStats::default();
        (0..calls).for_each(|_| stats.record(1, Code::Grpc(0), 1_500_000));
        EndpointSnapshot {
            addr: ([127, 0, 0, 1], 1).into(),
            pod: pod.into(),
            in_flight: 2,
            latency: Some(0.002),
            cost: 0.006,
            connections: 1,
            active: true,
            stats,
        }
    }

    #[test]
    fn a_snapshot_becomes_prometheus_text() {
        let target = TargetSnapshot {
            name: "ns/voting:8080".into(),
            endpoints: vec![endpoint("a\"b", 3), endpoint("a\"b", 2)],
            unserved: EndpointStats::default(),
        };
        let routes = vec!["(other)".into(), "/v/Vote".into()];
        let s = Snapshot { targets: vec![target], routes, ..Snapshot::default() };
        let text = render(&s, &Discovery { synced: true, age: None });
        let labels = r#"service="ns/voting:8080",pod="a\"b",route="/v/Vote""#;
        assert!(text.contains(&format!("ewma_proxy_requests_total{{{labels},code=\"OK\"}} 5")), "{text}");
        assert!(text.contains(&format!("_bucket{{{labels},le=\"0.001\"}} 0")));
        assert!(text.contains(&format!("_bucket{{{labels},le=\"0.002\"}} 5")));
        assert!(text.contains("ewma_proxy_endpoints{service=\"ns/voting:8080\"} 2"));
    }
}
