//! HPACK against the RFC's examples, an independent encoder, itself, and noise.

use std::rc::Rc;

use ewma_proxy::core::h2::headers::Headers;
use ewma_proxy::core::h2::hpack::{DecodeError, Decoder, Encoder, ListLimits};
use ewma_proxy::core::rng::Rng;

const WIDE: ListLimits = ListLimits { max_bytes: 1 << 20, max_fields: 1 << 16 };

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|c| !c.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap()).collect()
}

fn fields(list: &Headers) -> Vec<(String, String)> {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    list.iter().map(|f| (text(f.name), text(f.value))).collect()
}

/// Decodes blocks in sequence and compares with "name: value" lines.
fn sequence(table: usize, blocks: &[(&str, &[&str])]) {
    let mut decoder = Decoder::new(table);
    for (block, expected) in blocks {
        let list = decoder.decode(&hex(block), &WIDE).unwrap_or_else(|e| panic!("{e:?} in {block}"));
        let lines: Vec<String> = fields(&list).iter().map(|(n, v)| format!("{n}: {v}")).collect();
        assert_eq!(lines, *expected);
    }
}

#[test]
fn rfc_7541_c_2_single_fields() {
    sequence(
        4096,
        &[("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", &["custom-key: custom-header"])],
    );
    sequence(4096, &[("040c 2f73 616d 706c 652f 7061 7468", &[":path: /sample/path"])]);
    sequence(4096, &[("1008 7061 7373 776f 7264 0673 6563 7265 74", &["password: secret"])]);
    sequence(4096, &[("82", &[":method: GET"])]);
}

const REQUESTS: [&[&str]; 3] = [
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com", "cache-control: no-cache"],
    &[
        ":method: GET",
        ":scheme: https",
        ":path: /index.html",
        ":authority: www.example.com",
        "custom-key: custom-value",
    ],
];

#[test]
fn rfc_7541_c_3_requests_without_huffman() {
    sequence(
        4096,
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", REQUESTS[0]),
            ("8286 84be 5808 6e6f 2d63 6163 6865", REQUESTS[1]),
            ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", REQUESTS[2]),
        ],
    );
}

#[test]
fn rfc_7541_c_4_requests_with_huffman() {
    sequence(
        4096,
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", REQUESTS[0]),
            ("8286 84be 5886 a8eb 1064 9cbf", REQUESTS[1]),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", REQUESTS[2]),
        ],
    );
}

const RESPONSES: [&[&str]; 3] = [
    &[
        ":status: 302",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 307",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 200",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:22 GMT",
        "location: https://www.example.com",
        "content-encoding: gzip",
        "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    ],
];

#[test]
fn rfc_7541_c_6_responses_with_huffman_and_eviction() {
    sequence(
        256,
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 \
                 63c7 8f0b 97c8 e9ae 82ae 43d3",
                RESPONSES[0],
            ),
            ("4883 640e ffc1 c0bf", RESPONSES[1]),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 \
                 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
                RESPONSES[2],
            ),
        ],
    );
}

#[test]
fn an_independent_encoders_blocks_decode_to_its_lists() {
    let text = include_str!("data/python_hpack.txt");
    let mut decoder = Decoder::new(4096);
    let mut blocks = 0;
    for line in text.lines() {
        if line.is_empty() {
            decoder = Decoder::new(4096);
            continue;
        }
        let mut words = line.split(' ');
        let list = decoder.decode(&hex(words.next().unwrap()), &WIDE).unwrap();
        let expected: Vec<(Vec<u8>, Vec<u8>)> =
            words.map(|w| w.split_once('=').unwrap()).map(|(n, v)| (hex(n), hex(v))).collect();
        let found: Vec<_> = list.iter().map(|f| (f.name.to_vec(), f.value.to_vec())).collect();
        assert_eq!(found, expected);
        blocks += 1;
    }
    assert_eq!(blocks, 100);
}

#[test]
fn every_prefix_of_a_block_is_refused_or_decodes_to_fewer_fields() {
    for line in include_str!("data/python_hpack.txt").lines().filter(|l| !l.is_empty()).take(40) {
        let block = hex(line.split(' ').next().unwrap());
        for n in 0..block.len() {
            let _ = Decoder::new(4096).decode(&block[..n], &WIDE);
        }
    }
}

#[test]
fn noise_neither_panics_nor_passes_the_limits() {
    let limits = ListLimits { max_bytes: 2_000, max_fields: 20 };
    let mut rng = Rng::new(11);
    let mut decoder = Decoder::new(4096);
    for _ in 0..200_000 {
        let block: Vec<u8> = (0..rng.below(40)).map(|_| rng.next_u64() as u8).collect();
        match decoder.decode(&block, &limits) {
            Ok(list) => assert!(list.list_size() <= 2_000 && list.len() <= 20),
            Err(DecodeError::ListTooLarge) => {}
            Err(DecodeError::Compression) => decoder = Decoder::new(4096),
        }
    }
}

fn random_list(rng: &mut Rng) -> Headers {
    let mut list = Headers::new();
    let names = ["a", "grpc-status", ":path", "x-long-header-name", "cookie", "authorization"];
    for _ in 0..rng.below(8) {
        let name = names[rng.below(names.len())];
        let value = match rng.below(3) {
            0 => format!("v{}", rng.below(4)),
            1 => "x".repeat(rng.below(300)),
            _ => format!("{:x}", rng.next_u64()),
        };
        if rng.below(10) == 0 {
            list.push_never_indexed(name.as_bytes(), value.as_bytes());
        } else {
            list.push(name.as_bytes(), value.as_bytes());
        }
    }
    list
}

#[test]
fn what_is_encoded_decodes_whatever_the_tables_and_the_memos_do() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let (mut encoder, mut plain_encoder) = (Encoder::new(), Encoder::plain());
        let (mut decoder, mut plain_decoder) = (Decoder::new(4096), Decoder::plain(4096));
        let mut other = Decoder::plain(4096);
        let pool: Vec<Rc<Headers>> = (0..6).map(|_| Rc::new(random_list(&mut rng))).collect();
        for _ in 0..400 {
            let list = if rng.below(3) > 0 { pool[rng.below(6)].clone() } else { Rc::new(random_list(&mut rng)) };
            if rng.below(30) == 0 {
                let size = [0, 64, 500, 4096, 100_000][rng.below(5)];
                encoder.set_peer_max_size(size);
                plain_encoder.set_peer_max_size(size);
            }
            let (mut block, mut plain) = (vec![], vec![]);
            encoder.encode(&list, &mut block);
            plain_encoder.encode(&list, &mut plain);
            let decoded = decoder.decode(&block, &WIDE).unwrap();
            // Credentials arrive never-indexed, which the list handed in need not have said.
            assert_eq!(fields(&decoded), fields(&list), "seed {seed}");
            assert_eq!(plain_decoder.decode(&block, &WIDE).unwrap(), decoded, "the memo changes nothing");
            assert_eq!(other.decode(&plain, &WIDE).unwrap(), decoded);
        }
    }
}

#[test]
fn a_list_that_is_too_large_costs_its_stream_and_not_the_connection() {
    let small = ListLimits { max_bytes: 100, max_fields: 10 };
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    let large = Rc::new({
        let mut h = Headers::new();
        h.push(b"x-big", &[b'y'; 200]);
        h
    });
    for _ in 0..3 {
        let mut block = vec![];
        encoder.encode(&large, &mut block);
        assert_eq!(decoder.decode(&block, &small), Err(DecodeError::ListTooLarge));
    }
    let mut block = vec![];
    encoder.encode(&large, &mut block);
    assert_eq!(*decoder.decode(&block, &WIDE).unwrap(), *large, "the table stayed in step");
}

#[test]
fn a_bomb_of_references_is_cut_at_the_limit() {
    // One large entry in the table, then thousands of one-byte references to it.
    let mut block = vec![0x40, 1, b'a', 0x7f, 0x80 | 0x21, 0x1e];
    block.extend(std::iter::repeat_n(b'v', 127 + 0x21 + (0x1e << 7)));
    let mut decoder = Decoder::new(4096);
    decoder.decode(&block, &WIDE).unwrap_or_else(|e| panic!("{e:?}"));
    let bomb = vec![0xbe; 60_000];
    let limits = ListLimits { max_bytes: 64 << 10, max_fields: 256 };
    assert_eq!(decoder.decode(&bomb, &limits), Err(DecodeError::ListTooLarge));
}

#[test]
fn values_that_never_repeat_do_not_churn_the_table() {
    let mut encoder = Encoder::new();
    let request = |trace: u64| {
        let mut h = Headers::new();
        h.push(b":method", b"POST");
        h.push(b":path", b"/voting.v1.Voting/Vote");
        h.push(b"traceparent", format!("00-{trace:032x}-{trace:016x}-01").as_bytes());
        Rc::new(h)
    };
    let sizes: Vec<usize> = (0..20)
        .map(|i| {
            let mut out = vec![];
            encoder.encode(&request(i * 7_919), &mut out);
            out.len()
        })
        .collect();
    assert!(sizes[19] < sizes[0] - 15, "the path is indexed by now: {sizes:?}");
}

#[test]
fn a_size_update_after_the_first_field_is_refused() {
    assert_eq!(Decoder::new(4096).decode(&[0x82, 0x20], &WIDE), Err(DecodeError::Compression));
    assert_eq!(Decoder::new(4096).decode(&hex("3fe21f"), &WIDE), Err(DecodeError::Compression), "4097 is too large");
    assert!(Decoder::new(4096).decode(&hex("3fe11f"), &WIDE).is_ok(), "4096 is not");
}

/// Nanoseconds for decoding and encoding one request; `cargo test --release --test hpack -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
fn how_long_a_request_takes() {
    let request = |trace: Option<u64>| {
        let mut h = Headers::new();
        for (n, v) in [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/balancelab.voting.v1.Voting/VotePizza"),
            (":authority", "voting:8080"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("user-agent", "grpc-python/1.80.0"),
            ("grpc-accept-encoding", "identity, deflate, gzip"),
        ] {
            h.push(n.as_bytes(), v.as_bytes());
        }
        if let Some(t) = trace {
            h.push(b"traceparent", format!("00-{t:032x}-{t:016x}-01").as_bytes());
        }
        Rc::new(h)
    };
    for (name, fresh) in [("repeating", false), ("a fresh traceparent each", true)] {
        let mut client = Encoder::new();
        let blocks: Vec<Vec<u8>> = (0..100_000u64)
            .map(|i| {
                let mut out = vec![];
                client.encode(&request(fresh.then(|| i.wrapping_mul(0x9e37_79b9_7f4a_7c15))), &mut out);
                out
            })
            .collect();
        let (mut decoder, mut encoder) = (Decoder::new(4096), Encoder::new());
        let mut out = vec![];
        let start = std::time::Instant::now();
        for block in &blocks {
            let list = decoder.decode(block, &WIDE).unwrap();
            out.clear();
            encoder.encode(&list, &mut out);
        }
        println!("{name}: {} ns a request", start.elapsed().as_nanos() / blocks.len() as u128);
    }
}
