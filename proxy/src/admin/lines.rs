//! An ended call as a line of JSON: what the tap and the access log show. No payload, no metadata, no query string.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use crate::core::h2::message::GRPC_NAMES;
use crate::core::relay::{Code, Ended};
use crate::io::watch::Batch;

/// One call, with a line end. Times: `time` in Unix seconds, the rest in ms.
fn line(call: &Ended, batch: &Batch) -> String {
    let (now, clock) = batch.now;
    let at = clock.checked_sub(Duration::from_nanos(now.saturating_sub(call.at))).unwrap_or(clock);
    let time = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64 / 1e3;
    let ms = |ns: u64| (ns / 1_000) as f64 / 1e3;
    let code = match call.code {
        Code::Grpc(n) => json!(GRPC_NAMES[usize::from(n.min(16))]),
        Code::Http(status) => json!(status),
    };
    let pod = call.endpoint.as_ref().map(|(pod, _)| &**pod);
    let endpoint = call.endpoint.as_ref().map(|(_, addr)| addr.to_string());
    let shown = json!({
        "time": time, "service": &*call.service, "route": &*call.route, "pod": pod, "endpoint": endpoint,
        "code": code, "duration_ms": ms(call.duration), "waited_ms": call.waited.map(ms),
        "answer_ms": call.answer.map(ms), "tries": call.tries,
    });
    format!("{shown}\n")
}

/// At most `most` calls of a batch.
pub fn lines(batch: &Batch, most: usize) -> String {
    batch.calls.iter().take(most).map(|c| line(c, batch)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_becomes_a_line_of_json_whatever_its_path() {
        let call = Ended {
            at: 5_000_000_000,
            service: "lab/voting:8080".into(),
            route: "/a\"b\n\u{1b}".into(),
            endpoint: Some(("pod-1".into(), ([127, 0, 0, 1], 9).into())),
            code: Code::Grpc(14),
            duration: 12_345_678,
            waited: Some(0),
            answer: None,
            tries: 2,
        };
        let clock = UNIX_EPOCH + Duration::from_millis(1_700_000_001_500);
        let text = lines(&Batch { calls: vec![call.clone(), call], now: (6_000_000_000, clock) }, 1);
        assert_eq!(text.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read["time"], 1_700_000_000.5);
        assert_eq!((&read["code"], &read["duration_ms"]), (&json!("UNAVAILABLE"), &json!(12.345)));
        assert_eq!((&read["answer_ms"], &read["tries"]), (&json!(null), &json!(2)));
    }
}
