//! Stories of requests between clients and servers.

use ewma_proxy::core::h1::limits::Limits;
use ewma_proxy::core::relay::Settings;

use crate::net::{addr, read, read_all, Net, Serve, MS};

const GET: &str = "GET /a?q HTTP/1.1\r\nHost: web\r\n\r\n";

fn codes(net: &Net) -> Vec<(u16, u64)> {
    let t = &net.relay.targets()[0];
    let all = t.pool.all().map(|(_, e)| &e.info.stats).chain([&t.unserved]);
    let mut codes: Vec<_> = all.flat_map(|s| s.routes.iter().flatten().flat_map(|r| r.http.clone())).collect();
    codes.sort_unstable();
    codes
}

#[test]
fn one_connection_is_spread_evenly_over_equal_servers_by_few_connections() {
    let mut net = Net::new(3);
    let c = net.client();
    for _ in 0..300 {
        net.now += 10 * MS;
        net.say(c, GET);
    }
    assert_eq!(read_all(&net.heard(c)).0.len(), 300);
    let mut counts: Vec<usize> = net.upstream().iter().map(|e| e.served).collect();
    counts.sort_unstable();
    assert_eq!(counts.len(), 3, "one connection each");
    assert!(counts[0] >= 75 && counts[2] <= 125, "{counts:?}");
    let routes: Vec<_> = net.relay.routes().names().iter().map(|r| r.to_string()).collect();
    assert_eq!(routes, ["(other)", "/a"]);
    assert_eq!(codes(&net).iter().map(|(_, n)| n).sum::<u64>(), 300);
}

#[test]
fn pipelined_requests_are_answered_in_order_one_at_a_time() {
    let mut net = Net::new(3);
    net.serve = Serve::No;
    let c = net.client();
    net.say(c, (0..5).map(|i| format!("GET /{i} HTTP/1.1\r\nHost: a\r\n\r\n")).collect::<String>());
    assert_eq!(net.served().len(), 1, "the others wait");
    net.serve = Serve::Length;
    net.settle();
    let lines: Vec<_> = read_all(&net.heard(c)).0.iter().map(|m| m.get("x-line").unwrap().to_string()).collect();
    assert_eq!(lines, (0..5).map(|i| format!("GET /{i} HTTP/1.1")).collect::<Vec<_>>());
}

#[test]
fn fields_of_one_hop_stay_there_and_all_others_pass_in_order() {
    let mut net = Net::new(1);
    net.serve = Serve::No;
    let c = net.client();
    net.say(
        c,
        "POST /x HTTP/1.1\r\nHost: web\r\nX-B: 1\r\nConnection: keep-alive, X-Mine\r\nX-Mine: s\r\nKeep-Alive: timeout=5\r\n\
         TE: gzip;q=1, trailers\r\nProxy-Connection: x\r\nx-a:   \t2 \t\r\nX-B: 3\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\
         Content-Length: 02\r\n\r\nhi",
    );
    let m = &net.served()[0];
    let got: Vec<_> = m.fields.iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(got, ["Host=web", "X-B=1", "x-a=2", "X-B=3", "Content-Length=2", "te=trailers", "connection=te"]);
    net.answer("HTTP/1.1 200 Fine Indeed\r\nA: 1\r\nConnection: Keep-Alive, B\r\nB: 2\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(net.heard(c), b"HTTP/1.1 200 Fine Indeed\r\nA: 1\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn answers_without_a_body_leave_both_connections_usable() {
    for (ask, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n"),
    ] {
        let mut net = Net::new(1);
        net.serve = Serve::No;
        let c = net.client();
        for n in 1..=3 {
            net.say(c, format!("{ask} / HTTP/1.1\r\nHost: a\r\n\r\n"));
            net.answer(answer);
            assert!(net.idle(), "{ask} {answer}");
            assert_eq!(net.heard(c).windows(8).filter(|w| w == b"HTTP/1.1").count(), n, "{ask} {answer}");
        }
        assert_eq!(net.heard(c).windows(3).any(|w| w == b"500"), answer.contains("500"));
    }
}

#[test]
fn a_client_that_awaits_100_continue_gets_it_from_its_server() {
    let mut net = Net::new(1);
    net.serve = Serve::No;
    let c = net.client();
    net.say(c, "PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    net.now += 7 * MS;
    net.answer("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(net.heard(c), b"HTTP/1.1 100 Continue\r\n\r\n");
    net.say(c, "hello");
    assert_eq!(net.served()[0].body, b"hello");
    net.now += 5 * MS;
    net.answer("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    let (all, rest) = read_all(&net.heard(c));
    assert_eq!(all.iter().map(|m| m.status()).collect::<Vec<_>>(), [100, 103, 201]);
    assert!(rest.is_empty() && net.idle());
    // The interim answer is no answer to the balancer: the latency is the final one's.
    let latency = net.relay.targets()[0].pool.get(0).unwrap().estimate.raw().unwrap();
    assert_eq!(latency, 12.0 * MS as f64);
}

#[test]
fn a_refusal_instead_of_100_continue_ends_the_clients_connection() {
    let mut net = Net::new(1);
    net.serve = Serve::No;
    let c = net.client();
    net.say(c, "PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    net.answer("HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno");
    let (m, _) = read(&net.heard(c), false).unwrap();
    assert_eq!((m.status(), m.get("connection"), &m.body[..]), (417, Some("close"), &b"no"[..]));
    assert!(net.ends[&c].shut, "our side has ended");
    net.fin(c);
    assert!(net.ends.is_empty() && net.idle());
}

#[test]
fn an_old_client_gets_no_interim_answers_no_chunks_and_the_end_of_its_connection() {
    for serve in [Serve::Length, Serve::Chunked, Serve::Close] {
        let mut net = Net::new(1);
        net.serve = serve;
        let c = net.client();
        net.say(c, "POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc");
        let heard = net.heard(c);
        assert!(heard.ends_with(b"\r\n\r\nabc"), "{:?}", heard.escape_ascii().to_string());
        let (m, _) = read(&heard, false).unwrap();
        assert_eq!((m.get("connection"), m.get("transfer-encoding")), (Some("close"), None));
        assert!(net.ends[&c].shut);
        assert_eq!(net.served()[0].line, "POST / HTTP/1.1");
        assert_eq!(net.served()[0].get("host"), Some(""), "HTTP/1.1 wants one");
    }
}

#[test]
fn a_websocket_becomes_a_tunnel_with_half_close_both_ways() {
    for server_first in [false, true] {
        let mut net = Net::new(1);
        net.serve = Serve::No;
        let c = net.client();
        net.say(c, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\nearly");
        let m = net.served().remove(0);
        assert_eq!((m.get("upgrade"), m.get("connection")), (Some("websocket"), Some("upgrade")));
        assert!(!net.server().got.ends_with(b"early"), "nothing but a request before 101");
        net.answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x01server");
        assert!(net.server().got.ends_with(b"\r\n\r\nearly"));
        net.say(c, "client");
        let heard = net.heard(c);
        assert!(heard.starts_with(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nconnection: upgrade\r\n\r\n\x01server"
        ));
        assert!(net.server().got.ends_with(b"earlyclient"));
        assert_eq!(net.relay.calls(), 1, "it counts as load");
        if server_first {
            net.server().fin = true;
            net.settle();
            assert!(net.ends[&c].shut && !net.server().shut);
            net.say(c, "bye");
            assert!(net.server().got.ends_with(b"bye"));
            net.fin(c);
        } else {
            net.fin(c);
            assert!(net.server().shut && !net.ends[&c].shut);
            net.answer("bye");
            assert!(net.heard(c).ends_with(b"bye"));
            net.server().fin = true;
            net.settle();
        }
        assert!(net.ends.is_empty() && net.idle(), "{:?}", net.ends);
        assert_eq!(codes(&net), [(101, 1)]);
    }
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer_and_what_follows_is_a_request() {
    let mut net = Net::new(1);
    let c = net.client();
    net.say(c, format!("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n{GET}"));
    assert_eq!(net.served().iter().map(|m| &m.line[..]).collect::<Vec<_>>(), ["GET /ws HTTP/1.1", "GET /a?q HTTP/1.1"]);
}

#[test]
fn an_upgrade_that_nobody_asked_for_is_a_502() {
    let mut net = Net::new(1);
    net.serve = Serve::No;
    let c = net.client();
    net.say(c, GET);
    net.answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
    assert_eq!(read(&net.heard(c), false).unwrap().0.status(), 502);
    assert!(net.servers().is_empty());
}

#[test]
fn connect_becomes_a_tunnel_when_the_server_agrees() {
    let mut net = Net::new(1);
    net.serve = Serve::No;
    let c = net.client();
    net.say(c, "CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n");
    net.answer("HTTP/1.1 200 Connected\r\nContent-Length: 5\r\n\r\n");
    net.say(c, "raw\0");
    assert!(net.server().got.ends_with(b"raw\0"));
}

#[test]
fn an_early_answer_arrives_whole_and_stops_the_upload() {
    let mut net = Net::new(1);
    net.serve = Serve::No;
    let c = net.client();
    net.say(c, "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    net.say(c, [7; 1000]);
    net.answer("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
    let (m, _) = read(&net.heard(c), false).unwrap();
    assert_eq!((m.status(), m.get("connection"), &m.body[..]), (413, Some("close"), &b"big"[..]));
    assert!(net.servers().is_empty(), "half a request is behind it");
    assert!(net.ends[&c].shut);
    net.say(c, [7; 300_000]);
    assert!(net.ends[&c].send.is_empty(), "what still comes is read and dropped");
    net.pass(2_100);
    assert!(net.ends.is_empty() && net.idle(), "and not for ever");
}

#[test]
fn an_answer_read_before_the_upload_breaks_is_not_lost() {
    let mut net = Net::new(1);
    net.serve = Serve::No;
    let c = net.client();
    net.say(c, "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx");
    let up = net.servers()[0];
    assert!(net.relay.write_failed(up));
    net.say(c, [7; 500_000]);
    net.server().fin = true;
    net.answer("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
    assert_eq!(read(&net.heard(c), false).unwrap().0.body, b"big");
}

#[test]
fn a_client_that_ends_its_side_after_its_request_still_gets_the_answer() {
    let mut net = Net::new(1);
    net.serve = Serve::No;
    let c = net.client();
    net.say(c, GET);
    net.fin(c);
    assert_eq!(net.relay.calls(), 1);
    net.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(read(&net.heard(c), false).unwrap().0.body, b"ok");
    assert!(!net.ends.contains_key(&c) && net.idle());
}

#[test]
fn a_body_that_is_cut_off_never_reaches_a_server_as_a_whole_one() {
    for head in ["Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let mut net = Net::new(1);
        let heard = net.ask(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}"));
        assert_eq!(read(&heard, false).unwrap().0.status(), 400);
        assert!(net.served().is_empty() && net.servers().is_empty() && net.idle());
    }
}

#[test]
fn an_answer_that_is_cut_off_never_reaches_a_client_as_a_whole_one() {
    for head in ["Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let mut net = Net::new(1);
        net.serve = Serve::No;
        let c = net.client();
        net.say(c, GET);
        net.answer(format!("HTTP/1.1 200 OK\r\n{head}"));
        net.server().fin = true;
        net.settle();
        assert!(read(&net.heard(c), false).is_none());
        assert!(net.ends.is_empty() && net.idle(), "the client's connection has ended");
    }
}

#[test]
fn a_stale_connection_costs_no_idempotent_request_and_doubles_no_other() {
    for (method, status) in [("GET", 200), ("PUT", 200), ("DELETE", 200), ("POST", 502), ("PATCH", 502)] {
        let mut net = Net::new(1);
        let c = net.client();
        let ask = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
        net.say(c, &ask);
        // The server closes while the next request is on its way.
        net.serve = Serve::No;
        net.say(c, &ask);
        let up = net.servers()[0];
        net.serve = Serve::Length;
        net.ends.get_mut(&up).unwrap().stalled = true;
        net.cut(up);
        let (all, _) = read_all(&net.heard(c));
        assert_eq!((all.len(), all[1].status()), (2, status), "{method}");
        assert_eq!(net.relay.totals().replays, u64::from(status == 200), "{method}");
        if status == 200 {
            assert_eq!(net.served().last().unwrap().body, b"body");
        }
        assert!(net.idle());
    }
}

#[test]
fn what_was_never_written_goes_elsewhere_whatever_its_method() {
    let mut net = Net::new(1);
    let c = net.client();
    net.say(c, GET);
    let up = net.servers()[0];
    net.ends.get_mut(&up).unwrap().stalled = true;
    net.say(c, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    net.cut(up);
    let (all, _) = read_all(&net.heard(c));
    assert_eq!((all.len(), all[1].status(), &all[1].body[..]), (2, 200, &b"body"[..]));
}

#[test]
fn a_request_that_kills_a_new_connection_is_not_tried_on_the_next() {
    let mut net = Net::new(3);
    net.serve = Serve::No;
    let c = net.client();
    net.say(c, GET);
    let up = net.servers()[0];
    net.cut(up);
    assert_eq!(read(&net.heard(c), false).unwrap().0.status(), 502);
    assert_eq!(net.served().len(), 1);
}

#[test]
fn an_answer_that_has_begun_forbids_a_second_try() {
    let mut net = Net::new(1);
    let c = net.client();
    net.say(c, GET);
    net.serve = Serve::No;
    net.say(c, GET);
    net.answer("HTTP/1.1 20");
    let up = net.servers()[0];
    net.cut(up);
    assert_eq!(read_all(&net.heard(c)).0[1].status(), 502);
    assert_eq!(net.relay.totals().replays, 0);
}

#[test]
fn a_farewell_on_an_idle_connection_is_nobodys_answer() {
    let mut net = Net::new(1);
    let c = net.client();
    net.say(c, GET);
    net.answer("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert!(net.servers().is_empty());
    net.say(c, GET);
    assert_eq!(read_all(&net.heard(c)).0.iter().map(|m| m.status()).collect::<Vec<_>>(), [200, 200]);
}

#[test]
fn what_follows_an_answer_is_not_the_next_ones() {
    let mut net = Net::new(1);
    net.serve = Serve::No;
    let c = net.client();
    net.say(c, GET);
    net.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    assert!(net.servers().is_empty());
    assert!(net.heard(c).ends_with(b"ok"));
}

#[test]
fn a_server_that_refuses_connections_costs_no_request() {
    let mut net = Net::new(3);
    net.refusing = vec![addr(2)];
    let c = net.client();
    for _ in 0..50 {
        net.say(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    }
    assert_eq!(codes(&net).iter().map(|(code, n)| (*code == 200) as u64 * n).sum::<u64>(), 50);
}

#[test]
fn a_server_that_never_connects_is_given_up_after_a_second() {
    let mut net = Net::new(2);
    net.silent = vec![addr(1), addr(2)];
    let c = net.client();
    net.say(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n");
    net.say(c, vec![5; 200_000]);
    net.silent.clear();
    net.pass(1_200);
    assert_eq!(read(&net.heard(c), false).unwrap().0.body.len(), 200_000);
}

#[test]
fn without_endpoints_a_request_waits_and_then_is_told_why() {
    let mut net = Net::new(0);
    let c = net.client();
    net.say(c, GET);
    net.pass(2_900);
    assert!(net.heard(c).is_empty());
    net.pass(200);
    let (m, _) = read(&net.heard(c), false).unwrap();
    assert_eq!((m.status(), &m.body[..]), (503, &b"ewma-proxy: no endpoint is ready for lab/web:80\n"[..]));
    net.endpoints(&[1]);
    net.say(c, GET);
    assert_eq!(read_all(&net.heard(c)).0[1].status(), 200, "its connection is still good");
    assert_eq!(codes(&net), [(200, 1), (503, 1)]);
}

#[test]
fn a_waiting_request_is_served_as_soon_as_an_endpoint_comes() {
    let mut net = Net::new(0);
    let c = net.client();
    net.say(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    net.say(c, vec![1; 100_000]);
    net.pass(500);
    net.endpoints(&[1]);
    assert_eq!(read(&net.heard(c), false).unwrap().0.body.len(), 100_000);
}

#[test]
fn requests_beyond_the_connection_limit_wait_their_turn() {
    let http1 = Limits { max_conns: 2, ..Limits::default() };
    let mut net = Net::with(1, Settings { http1, ..Settings::default() });
    net.serve = Serve::No;
    let clients: Vec<_> = (0..10).map(|_| net.client()).collect();
    for c in &clients {
        net.say(*c, GET);
    }
    assert_eq!((net.servers().len(), net.served().len()), (2, 2));
    net.serve = Serve::Length;
    net.settle();
    assert!(clients.iter().all(|c| read(&net.heard(*c), false).is_some_and(|(m, _)| m.status() == 200)));
    assert_eq!(net.servers().len(), 2);
}

#[test]
fn a_slow_reader_stops_its_server_and_nobody_else() {
    let mut net = Net::new(1);
    net.serve = Serve::No;
    let slow = net.client();
    net.ends.get_mut(&slow).unwrap().stalled = true;
    net.say(slow, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    let up = net.servers()[0];
    let body = vec![3; 8 << 20];
    net.answer([format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat());
    assert!(net.ends[&up].send.len() > 7 << 20, "{} bytes are left", net.ends[&up].send.len());
    net.serve = Serve::Length;
    let quick = net.client();
    for _ in 0..20 {
        net.say(quick, GET);
    }
    assert_eq!(read_all(&net.heard(quick)).0.len(), 20);
    net.ends.get_mut(&slow).unwrap().stalled = false;
    net.settle();
    assert!(read(&net.heard(slow), false).unwrap().0.body == body);
    assert!(net.held <= 512 << 10, "{} bytes were held by one connection", net.held);
}

#[test]
fn a_server_that_reads_nothing_stops_its_client() {
    let mut net = Net::new(1);
    net.serve = Serve::No;
    let c = net.client();
    net.say(c, format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 8 << 20));
    net.server().stalled = true;
    net.say(c, vec![3; 8 << 20]);
    assert!(net.ends[&c].send.len() > 7 << 20);
    net.server().stalled = false;
    net.settle();
    assert_eq!(net.served()[0].body.len(), 8 << 20);
    assert!(net.held <= 512 << 10, "{} bytes were held by one connection", net.held);
}

#[test]
fn a_client_that_disconnects_frees_its_server() {
    let mut net = Net::new(1);
    net.serve = Serve::No;
    let c = net.client();
    net.say(c, GET);
    net.cut(c);
    assert!(net.idle() && net.servers().is_empty());
    assert_eq!(codes(&net), [(499, 1)]);
}

#[test]
fn an_endpoint_that_leaves_finishes_its_requests_and_its_connections_close() {
    let mut net = Net::new(1);
    net.serve = Serve::No;
    let (a, b) = (net.client(), net.client());
    net.say(a, GET);
    net.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    net.say(a, GET);
    net.endpoints(&[]);
    assert_eq!(net.servers().len(), 1);
    net.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(read_all(&net.heard(a)).0.len(), 2);
    assert!(net.servers().is_empty());
    net.endpoints(&[2]);
    net.serve = Serve::Length;
    net.say(b, GET);
    net.endpoints(&[]);
    assert!(net.servers().is_empty(), "idle ones close at once");
}

#[test]
fn idle_connections_to_servers_close_before_the_servers_would() {
    let mut net = Net::new(1);
    let c = net.client();
    net.say(c, GET);
    net.pass(2_900);
    assert_eq!(net.servers().len(), 1);
    net.pass(200);
    assert!(net.servers().is_empty() && net.ends.contains_key(&c));
}

#[test]
fn a_head_that_never_ends_is_answered_408_and_an_idle_client_is_left_alone() {
    let mut net = Net::new(1);
    let (slow, idle) = (net.client(), net.client());
    net.say(slow, "GET / HTTP/1.1\r\nHost:");
    net.pass(30_100);
    assert_eq!(read(&net.heard(slow), false).unwrap().0.status(), 408);
    net.pass(2_100);
    assert!(!net.ends.contains_key(&slow) && net.ends.contains_key(&idle));
}

#[test]
fn draining_ends_idle_clients_at_once_and_the_others_with_their_answer() {
    let mut net = Net::new(1);
    net.serve = Serve::No;
    let (busy, half, idle) = (net.client(), net.client(), net.client());
    net.say(busy, GET);
    net.say(half, &GET[..10]);
    net.relay.drain(net.now);
    net.settle();
    assert!(!net.ends.contains_key(&idle) && net.ends.len() == 3);
    net.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(read(&net.heard(busy), false).unwrap().0.get("connection"), Some("close"));
    net.fin(busy);
    net.say(half, &GET[10..]);
    net.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(read(&net.heard(half), false).unwrap().0.get("connection"), Some("close"));
    assert!(!net.relay.drained());
    net.fin(half);
    assert!(net.relay.drained());
}

#[test]
fn a_malformed_answer_is_a_502_that_says_what_is_wrong() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\nA: b\n\n",
        "HTTP/1.1 099 Low\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "220 smtp.example ESMTP\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
    ] {
        let mut net = Net::new(1);
        net.serve = Serve::No;
        let c = net.client();
        net.say(c, GET);
        net.answer(answer);
        let (m, _) = read(&net.heard(c), false).unwrap();
        assert_eq!(m.status(), 502, "{answer:?}");
        assert!(m.body.starts_with(b"ewma-proxy: the endpoint's answer: "), "{answer:?}");
        assert!(net.servers().is_empty() && net.idle(), "{answer:?}");
        assert_eq!(m.get("connection"), None, "the client's connection is still good");
    }
}
