//! Every framing of requests and answers, in every split: what goes in comes out, once.

use proptest::prelude::*;

use crate::net::{read, read_all, Message, Net, Serve};

const SERVES: [Serve; 3] = [Serve::Length, Serve::Chunked, Serve::Close];

/// A request with this body: its length given, or in chunks of so many bytes.
fn request(n: usize, body: &[u8], chunk: Option<usize>, close: bool) -> Vec<u8> {
    let close = if close { "Connection: close\r\n" } else { "" };
    let head = format!("POST /{n} HTTP/1.1\r\nHost: a\r\n{close}");
    let Some(chunk) = chunk else {
        return [format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
    };
    let mut out = format!("{head}Transfer-Encoding: Chunked\r\nTrailer: x-sum\r\n\r\n").into_bytes();
    for piece in body.chunks(chunk.max(1)) {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\nx-sum: 7\r\n\r\n");
    out
}

fn answers(heard: &[u8]) -> Vec<Message> {
    let (all, rest) = read_all(heard);
    assert!(rest.is_empty(), "half an answer: {:?}", rest.escape_ascii().to_string());
    all
}

#[test]
fn every_split_of_a_conversation_gives_the_same_messages() {
    for serve in SERVES {
        for chunk in [None, Some(2)] {
            let ask = [request(0, b"hello", chunk, false), request(1, b"", chunk, false)].concat();
            for cut in 0..=ask.len() {
                let mut net = Net::new(2);
                net.serve = serve;
                let c = net.client();
                net.say(c, &ask[..cut]);
                net.say(c, &ask[cut..]);
                let all = answers(&net.heard(c));
                assert_eq!(all.iter().map(|m| m.body.len()).collect::<Vec<_>>(), [5, 0], "{serve:?} {chunk:?} {cut}");
                let served = net.served();
                assert!(served.iter().all(|m| m.trailers.len() == usize::from(chunk.is_some())));
                assert_eq!(all[0].trailers.len(), usize::from(serve == Serve::Chunked));
                assert!(net.idle());
            }
        }
    }
}

#[test]
fn bytes_that_come_one_by_one_in_both_directions_do_no_harm() {
    for serve in SERVES {
        let mut net = Net::new(1);
        (net.serve, net.piece) = (serve, 1);
        let c = net.client();
        net.say(c, [request(0, &[9; 3_000], Some(700), false), request(1, b"x", None, true)].concat());
        assert_eq!(answers(&net.heard(c)).iter().map(|m| m.body.len()).collect::<Vec<_>>(), [3_000, 1], "{serve:?}");
        assert!(net.ends[&c].shut);
    }
}

#[test]
fn no_prefix_of_a_request_is_taken_for_a_whole_one() {
    for chunk in [None, Some(3)] {
        let ask = request(0, b"hello", chunk, false);
        for cut in 1..ask.len() {
            let mut net = Net::new(1);
            let heard = net.ask(&ask[..cut]);
            assert!(net.served().is_empty(), "{cut}");
            assert_eq!(read(&heard, false).map(|(m, _)| m.status()), Some(400), "{cut}");
            assert!(net.idle() && net.ends.is_empty(), "{cut}");
        }
    }
}

#[test]
fn no_prefix_of_an_answer_is_passed_on_as_a_whole_one() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    ] {
        for cut in 0..answer.len() {
            let mut net = Net::new(1);
            net.serve = Serve::No;
            let c = net.client();
            net.say(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            net.answer(&answer[..cut]);
            net.server().fin = true;
            net.settle();
            let whole = read(&net.heard(c), false).map(|(m, _)| m.status());
            assert!(matches!(whole, None | Some(502)), "{cut}: {whole:?}");
            assert!(net.idle(), "{cut}");
        }
    }
}

#[test]
fn every_framing_with_every_keep_alive_case_leaves_the_connection_as_it_says() {
    for serve in SERVES {
        for chunk in [None, Some(100)] {
            for (version, option, stays) in [
                ("1.1", "", true),
                ("1.1", "Connection: close\r\n", false),
                ("1.1", "Connection: keep-alive\r\n", true),
                ("1.0", "", false),
                ("1.0", "Connection: keep-alive\r\n", false),
            ] {
                if version == "1.0" && chunk.is_some() {
                    continue;
                }
                let mut net = Net::new(1);
                net.serve = serve;
                let c = net.client();
                let ask = String::from_utf8(request(0, &[b'x'; 300], chunk, false)).unwrap();
                net.say(c, ask.replacen("1.1", version, 1).replacen("Host: a\r\n", &format!("Host: a\r\n{option}"), 1));
                let (m, _) = read(&net.heard(c), false).unwrap();
                assert_eq!(m.body.len(), 300);
                assert_eq!(m.get("connection") != Some("close"), stays, "{serve:?} {version} {option}");
                assert_eq!(net.ends[&c].shut, !stays);
                // The server's connection is used again unless its end was the answer's.
                assert_eq!(net.servers().len(), usize::from(serve != Serve::Close), "{serve:?} {version}");
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Turn {
    body: Vec<u8>,
    chunk: Option<usize>,
    serve: usize,
}

fn turn() -> impl Strategy<Value = Turn> {
    let body = prop_oneof![Just(0usize), 1usize..40, 1_000usize..3_000, 60_000usize..200_000];
    let body = (body, any::<u8>()).prop_map(|(n, seed)| (0..n).map(|i| (i as u8).wrapping_mul(31) ^ seed).collect());
    (body, prop_oneof![Just(None), (1usize..5_000).prop_map(Some)], 0usize..3).prop_map(|(body, chunk, serve)| Turn {
        body,
        chunk,
        serve,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_byte_of_a_body_is_lost_or_doubled(
        turns in prop::collection::vec(turn(), 1..6),
        piece in prop_oneof![7usize..100, 1_000usize..9_000, Just(usize::MAX)],
        pipelined in any::<bool>(),
    ) {
        let mut net = Net::new(3);
        net.piece = piece;
        let c = net.client();
        let mut all = vec![];
        for (n, turn) in turns.iter().enumerate() {
            let ask = request(n, &turn.body, turn.chunk, false);
            if pipelined {
                all.extend_from_slice(&ask);
            } else {
                net.serve = SERVES[turn.serve];
                net.say(c, ask);
            }
        }
        net.say(c, all);
        let (heard, served) = (answers(&net.heard(c)), net.served());
        prop_assert_eq!(heard.len(), turns.len());
        prop_assert_eq!(served.len(), turns.len());
        for (n, turn) in turns.iter().enumerate() {
            let line = format!("POST /{n} HTTP/1.1");
            prop_assert!(heard[n].body == turn.body, "the answer of {}", n);
            prop_assert_eq!(heard[n].get("x-line"), Some(&line[..]));
            let asked: Vec<_> = served.iter().filter(|m| m.line == line).collect();
            prop_assert!(asked.len() == 1 && asked[0].body == turn.body, "the request of {}", n);
        }
        prop_assert!(net.idle());
        prop_assert!(net.held <= 512 << 10, "{} bytes were held by one connection", net.held);
    }
}
