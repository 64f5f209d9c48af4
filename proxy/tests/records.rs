//! What is recorded of each call for tap and access log, and that it is only while somebody watches.

mod world;

use ewma_proxy::core::relay::{Code, Retries, Settings, MAX_RECORDS};
use world::{addr, Answers, World, MS};

#[test]
fn nothing_is_recorded_unless_somebody_watches() {
    let mut w = World::new(1);
    let c = w.client();
    let mut records = vec![];
    w.echo(c, b"x");
    w.relay.take_records(&mut records);
    assert!(records.is_empty());
    w.relay.watch(true);
    w.echo(c, b"x");
    w.relay.take_records(&mut records);
    assert_eq!(records.len(), 1);
    w.relay.watch(false);
    w.echo(c, b"x");
    w.relay.take_records(&mut records);
    assert!(records.is_empty());
}

#[test]
fn a_record_tells_where_the_call_went_how_long_it_took_and_how_often_it_was_sent() {
    let retries = Retries { codes: 1 << 14, ..Retries::default() };
    let mut w = World::with(2, Settings { retries, ..Settings::default() });
    w.answers.insert(addr(1), Answers::Only("14"));
    w.relay.watch(true);
    let c = w.client();
    let mut records = vec![];
    for _ in 0..50 {
        w.now += 20 * MS;
        w.echo(c, b"x");
    }
    w.relay.take_records(&mut records);
    assert_eq!(records.len(), 50);
    assert!(records.iter().all(|r| r.code == Code::Grpc(0) && &*r.route == "/voting.v1.Voting/Vote"));
    assert!(records.iter().all(|r| r.endpoint.as_ref().is_some_and(|(pod, _)| &**pod == "pod-2")));
    assert!(records.iter().any(|r| r.tries == 2));
}

#[test]
fn a_call_that_found_no_endpoint_has_none_in_its_record() {
    let mut w = World::new(0);
    w.relay.watch(true);
    let c = w.client();
    w.call(c, "/x?token=secret", b"x", true);
    w.pass(3_200);
    let mut records = vec![];
    w.relay.take_records(&mut records);
    let r = &records[0];
    assert_eq!((r.endpoint.clone(), r.waited, r.answer, r.tries), (None, None, None, 0));
    assert_eq!((&*r.route, r.code), ("/x", Code::Grpc(14)));
    assert!(r.duration >= 3_000 * MS);
}

#[test]
fn records_that_nobody_takes_are_dropped_and_counted() {
    let mut w = World::new(1);
    w.relay.watch(true);
    let c = w.client();
    for _ in 0..MAX_RECORDS + 10 {
        w.echo(c, b"");
    }
    let mut records = vec![];
    w.relay.take_records(&mut records);
    assert_eq!((records.len(), w.relay.totals().records_lost), (MAX_RECORDS, 10));
}

#[test]
fn a_scanner_of_paths_makes_no_more_than_a_hundred_routes_and_its_calls_are_counted() {
    let mut w = World::new(1);
    let c = w.client();
    for n in 0..300 {
        let slot = w.call(c, &format!("/scan/{n}?x={n}"), b"", true);
        w.clients.get_mut(&c).unwrap().sweep(slot);
    }
    let slot = w.call(c, &format!("/{}", "x".repeat(10_000)), b"", true);
    w.clients.get_mut(&c).unwrap().sweep(slot);
    let names = w.relay.routes().names();
    assert!(names.len() <= 100 && names.iter().all(|n| n.len() <= 200 && !n.contains('?')));
    let stats = &w.relay.targets()[0].pool.all().next().unwrap().1.info.stats;
    assert_eq!(stats.routes.iter().flatten().map(|r| r.grpc[0]).sum::<u64>(), 301);
    assert!(stats.routes[0].as_ref().is_some_and(|other| other.grpc[0] >= 200), "the rest are one route");
}
