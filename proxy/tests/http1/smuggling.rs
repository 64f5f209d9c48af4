//! What two readers could read in two ways: refused with nothing of it sent on, or sent on in one form only.
//!
//! Classes: CL.TE, TE.CL, TE.TE (obfuscated), CL.CL, line ends, field names, chunk sizes, versions, targets and Hosts,
//! Connection, upgrades before 101 (CVE-2021-21295, -21409, -40346; CVE-2023-25725, -40225; CVE-2025-4366;
//! CVE-2026-2833, -2835; RFC 9112 §11.2).

use crate::net::{read, read_all, Net};

/// What an attacker hopes that a server takes for a request of its own.
const EVIL: &str = "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n";

/// Whole heads, without the Host where it is part of the question; each is refused, and no server sees a byte.
const REFUSED: &[(u16, &str)] = &[
    // Content-Length and Transfer-Encoding together, in either order
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    // Content-Length twice, in lists, of odd forms
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 0\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,6\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \t\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ,\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \"5\"\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5;a\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \u{ff15}\r\n\r\nhello"),
    // Transfer-Encoding of odd forms
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: 'chunked'\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chun ked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunk\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\x0c\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\n\0Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n\r\nhello"),
    (400, "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    // Line ends, white space, names
    (400, "GET / HTTP/1.1\nHost: a\n\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\n\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\rX: y\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\nX: folded\r\n  over\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\n(X): y\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\nX\u{e9}: y\r\n\r\n"),
    // Request lines
    (400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    (400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /\u{fc} HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET evil HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "G{T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /\r\nHost: a\r\n\r\n"),
    (400, "\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    (505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    (505, "GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    (400, "GET / http/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET / HTTP/1.1.1\r\nHost: a\r\n\r\n"),
    (505, "GET / HTTP/11\r\nHost: a\r\n\r\n"),
    // Hosts
    (400, "GET / HTTP/1.1\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n"),
    (400, "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET http://a@b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET http://b/ HTTP/1.1\r\n\r\n"),
    (400, "GET ://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    // Connection names what the message cannot do without
    (400, "POST / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close, transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Host\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\nConnection: clo se\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\nConnection: \"close\"\r\n\r\n"),
    // A body before the protocol changes
    (400, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 31\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade:\r\n\r\n"),
    (400, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 31\r\n\r\n"),
    (400, "CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"),
];

/// Bodies in chunks whose fault comes behind a head that is fine: no server gets a whole request.
const CUT: &[&str] = &[
    "5 \r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "-1\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5h\r\nhello\r\n0\r\n\r\n",
    "\r\nhello\r\n0\r\n\r\n",
    ";a\r\nhello\r\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\rhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhello\r0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhelloo\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "5;a\0\r\nhello\r\n0\r\n\r\n",
    "5;a\r\rhello\r\n0\r\n\r\n",
    "5,5\r\nhello\r\n0\r\n\r\n",
    "0\r\nContent-Length: 5\r\n\r\n",
    "0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "0\r\nHost: evil\r\n\r\n",
    "0\r\nConnection: close\r\n\r\n",
    "0\r\nX : y\r\n\r\n",
    "0\r\n: y\r\n\r\n",
    "0\r\nX: y\n\r\n",
    "0\r\nX: y\r\n folded\r\n\r\n",
    "0\n\r\n",
    "0\r\n\n",
    "0 \r\n\r\n",
];

/// What is allowed, though odd; what servers get is that many requests, with these bodies.
const PASSED: &[(&str, &[&str])] = &[
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 005\r\n\r\nhello", &["hello"]),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:5\r\n\r\nhello", &["hello"]),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \t 5 \t\r\n\r\nhello", &["hello"]),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", &["hello"]),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n", &[""]),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked \r\n\r\n5\r\nhello\r\n0\r\n\r\n", &["hello"]),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0005;a=\"b;c\"\r\nhello\r\n000\r\n\r\n",
        &["hello"],
    ),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n0\r\n\r\n\r\n0\r\n\r\n", &["0\r\n\r\n"]),
    ("POST / HTTP/1.1\r\nHost: a\r\nX-Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n", &["0\r\n"]),
    ("POST / HTTP/1.1\r\nHost: a\r\nTE: chunked\r\nContent-Length: 1\r\n\r\nx", &["x"]),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: chunked\r\nContent-Length: 1\r\n\r\nx", &["x"]),
    ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n", &[""]),
    ("GET /?a=b%0d%0aHost:x HTTP/1.1\r\nHost: a\r\n\r\n", &[""]),
    ("GET http://a/x HTTP/1.1\r\nHost: A\r\n\r\n", &[""]),
    ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", &[""]),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", &[""]),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", &[""]),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\n\r\n", &[""]),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: A\r\n\r\n",
        &[""],
    ),
    ("GET / HTTP/1.0\r\n\r\n", &[""]),
];

#[test]
fn the_corpus_is_no_smaller_than_it_was() {
    assert!(REFUSED.len() + CUT.len() + PASSED.len() >= 160);
}

#[test]
fn ambiguous_heads_are_refused_and_no_server_gets_a_byte_of_them() {
    for (status, ask) in REFUSED {
        for piece in [usize::MAX, 1] {
            let mut net = Net::new(2);
            net.piece = piece;
            let heard = net.ask(format!("{ask}{EVIL}"));
            let (m, n) = read(&heard, false).unwrap_or_else(|| panic!("no answer to {ask:?}"));
            assert_eq!(m.status(), *status, "{ask:?}: {:?}", m.body.escape_ascii().to_string());
            assert_eq!((m.get("connection"), n), (Some("close"), heard.len()), "one answer, and the end: {ask:?}");
            assert!(net.upstream().is_empty(), "{ask:?} has reached a server");
            assert!(net.ends.is_empty() && net.idle(), "{ask:?}");
        }
    }
}

#[test]
fn a_fault_behind_a_good_request_is_answered_after_it_and_costs_it_nothing() {
    for (status, ask) in REFUSED {
        let mut net = Net::new(1);
        let good = "POST /good HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok";
        let (all, _) = read_all(&net.ask(format!("{good}{ask}{EVIL}")));
        assert_eq!(all.iter().map(|m| m.status()).collect::<Vec<_>>(), [200, *status], "{ask:?}");
        let served = net.served();
        assert_eq!((served.len(), &served[0].body[..]), (1, &b"ok"[..]), "{ask:?}");
    }
}

#[test]
fn malformed_chunks_leave_servers_with_half_a_request_and_a_closed_connection() {
    for body in CUT {
        for piece in [usize::MAX, 1] {
            let mut net = Net::new(1);
            net.piece = piece;
            let heard =
                net.ask(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}{EVIL}"));
            assert_eq!(read(&heard, false).map(|(m, _)| m.status()), Some(400), "{body:?}");
            for end in net.upstream() {
                assert!(end.closed, "{body:?}");
                assert!(!end.got.windows(4).any(|w| w == b"evil"), "{body:?}");
                assert!(!end.got.ends_with(b"\r\n0\r\n\r\n"), "{body:?} ends properly for the server");
            }
            assert!(net.served().is_empty() && net.idle(), "{body:?}");
        }
    }
}

#[test]
fn what_is_allowed_arrives_in_one_form_with_its_body() {
    for (ask, bodies) in PASSED {
        for piece in [usize::MAX, 1] {
            let mut net = Net::new(2);
            net.piece = piece;
            net.ask(ask);
            let served = net.served();
            let got: Vec<_> = served.iter().map(|m| String::from_utf8_lossy(&m.body).into_owned()).collect();
            assert_eq!(got, *bodies, "{ask:?}");
            for end in net.upstream() {
                assert!(read_all(&end.got).1.is_empty(), "{ask:?}: bytes that are no message");
            }
            for m in &served {
                assert!(m.line.ends_with(" HTTP/1.1") && m.get("host").is_some(), "{ask:?}");
                assert!(m.get("http2-settings").is_none(), "{ask:?}");
            }
        }
    }
}

#[test]
fn the_bytes_of_an_evil_request_inside_a_body_stay_a_body() {
    for head in ["Content-Length: 31\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n1F\r\n"] {
        let mut net = Net::new(1);
        assert_eq!(EVIL.len(), 31);
        let end = if head.contains("chunked") { "\r\n0\r\n\r\n" } else { "" };
        net.ask(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}{EVIL}{end}"));
        let served = net.served();
        assert_eq!((served.len(), &served[0].body[..]), (1, EVIL.as_bytes()));
    }
}

#[test]
fn heads_beyond_their_limits_are_refused() {
    let long = "x".repeat(17 << 10);
    let many: String = (0..257).map(|i| format!("X{i}: y\r\n")).collect();
    let big: String = (0..5).map(|i| format!("X{i}: {long}\r\n")).collect();
    for (status, ask) in [
        (414, format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")),
        (414, format!("GET /{long}")),
        (431, format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")),
        (431, format!("GET / HTTP/1.1\r\nHost: a\r\n{big}\r\n")),
        (400, format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {}\r\n\r\n", "a,".repeat(40))),
    ] {
        let mut net = Net::new(1);
        let heard = net.ask(&ask);
        assert_eq!(read(&heard, false).map(|(m, _)| m.status()), Some(status), "{}…", &ask[..60]);
        assert!(net.upstream().is_empty());
    }
}
