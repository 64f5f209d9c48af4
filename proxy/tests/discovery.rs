//! Discovery against a small HTTP server that says what a Kubernetes API server would.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ewma_proxy::core::catalog::Change;
use ewma_proxy::kube::config::KubeConfig;
use ewma_proxy::kube::{spawn, Handle, Pace, Scope};

const PATIENCE: Duration = Duration::from_secs(10);

/// What the server answers to a path that contains the first string: a script, used up in order, the last one stays.
struct Script {
    answers: Vec<(&'static str, Vec<Answer>)>,
    asked: Vec<String>,
    tokens: Vec<String>,
}

#[derive(Clone)]
enum Answer {
    /// A whole body with a status.
    Body(u16, String),
    /// A watch: these lines, a byte at a time if asked for, then it stays open until the server is told.
    Watch(Vec<String>, bool),
    /// A watch that ends at once.
    Ended(Vec<String>),
}

struct Server {
    script: Arc<Mutex<Script>>,
    addr: String,
    /// Sends lines into the open watches.
    push: Arc<Mutex<Vec<(String, TcpStream)>>>,
}

impl Server {
    fn start(answers: Vec<(&'static str, Vec<Answer>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let script = Arc::new(Mutex::new(Script { answers, asked: vec![], tokens: vec![] }));
        let push = Arc::new(Mutex::new(vec![]));
        let server = Self { script: script.clone(), addr, push: push.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, push) = (script.clone(), push.clone());
                std::thread::spawn(move || serve(stream, &script, &push));
            }
        });
        server
    }

    fn send(&self, resource: &str, line: &str) {
        let mut push = self.push.lock().unwrap();
        let (_, stream) = push.iter_mut().rev().find(|(path, _)| path.contains(resource)).expect("an open watch");
        chunk(stream, line.as_bytes()).unwrap();
    }

    fn drop_watches(&self) {
        self.push.lock().unwrap().drain(..).for_each(|(_, s)| drop(s.shutdown(std::net::Shutdown::Both)));
    }

    fn asked(&self, what: &str) -> usize {
        self.script.lock().unwrap().asked.iter().filter(|p| p.contains(what)).count()
    }
}

fn chunk(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    write!(stream, "{:x}\r\n", bytes.len())?;
    stream.write_all(bytes)?;
    stream.write_all(b"\r\n")?;
    stream.flush()
}

fn serve(mut stream: TcpStream, script: &Mutex<Script>, push: &Mutex<Vec<(String, TcpStream)>>) {
    loop {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default().to_string();
        let answer = {
            let mut s = script.lock().unwrap();
            s.asked.push(path.clone());
            let token = head.lines().find_map(|l| l.strip_prefix("authorization: ")).unwrap_or("-").to_string();
            s.tokens.push(token);
            let found = s.answers.iter_mut().find(|(key, _)| key.split(' ').all(|part| path.contains(part)));
            match found {
                Some((_, list)) if list.len() > 1 => list.remove(0),
                Some((_, list)) => list[0].clone(),
                None => Answer::Body(404, r#"{"kind":"Status","message":"no such thing"}"#.into()),
            }
        };
        match answer {
            Answer::Body(status, body) => {
                let text = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                if stream.write_all(text.as_bytes()).is_err() {
                    return;
                }
            }
            Answer::Watch(lines, slowly) => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                for line in lines {
                    let pieces: Vec<&[u8]> =
                        if slowly { line.as_bytes().chunks(1).collect() } else { vec![line.as_bytes()] };
                    if pieces.into_iter().any(|p| chunk(&mut stream, p).is_err()) {
                        return;
                    }
                }
                push.lock().unwrap().push((path, stream.try_clone().unwrap()));
                return;
            }
            Answer::Ended(lines) => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                lines.iter().for_each(|l| drop(chunk(&mut stream, l.as_bytes())));
                let _ = stream.write_all(b"0\r\n\r\n");
            }
        }
    }
}

fn scope() -> Scope {
    Scope { namespaces: vec!["lab".into()], zone: None }
}

fn services(version: u32) -> Answer {
    Answer::Body(
        200,
        format!(
            r#"{{"kind":"ServiceList","metadata":{{"resourceVersion":"{version}"}},"items":[{{"metadata":{{"name":"voting","namespace":"lab"}},
            "spec":{{"clusterIP":"127.5.0.3","clusterIPs":["127.5.0.3"],"ports":[{{"name":"grpc","port":8080,"targetPort":8080}}]}}}}]}}"#
        ),
    )
}

fn slice(pods: &[u8], version: u32) -> String {
    let endpoint = |n: &u8| {
        format!(
            r#"{{"addresses":["127.5.{n}.1"],"conditions":{{"ready":true}},"targetRef":{{"kind":"Pod","name":"voting-{n}","uid":"u{n}"}}}}"#
        )
    };
    let all: Vec<String> = pods.iter().map(endpoint).collect();
    format!(
        r#"{{"metadata":{{"name":"voting-x","namespace":"lab","resourceVersion":"{version}","labels":{{"kubernetes.io/service-name":"voting"}}}},
        "addressType":"IPv4","ports":[{{"name":"grpc","port":8080,"protocol":"TCP"}}],"endpoints":[{}]}}"#,
        all.join(",")
    )
    .replace('\n', " ")
}

fn slices(pods: &[u8], version: u32) -> Answer {
    let item = slice(pods, version);
    Answer::Body(200, format!(r#"{{"metadata":{{"resourceVersion":"{version}"}},"items":[{item}]}}"#))
}

fn group(version: &str) -> Answer {
    Answer::Body(
        200,
        format!(r#"{{"versions":[{{"groupVersion":"discovery.k8s.io/{version}","version":"{version}"}}]}}"#),
    )
}

fn modified(pods: &[u8], version: u32) -> String {
    format!("{{\"type\":\"MODIFIED\",\"object\":{}}}\n", slice(pods, version))
}

fn idle() -> Answer {
    Answer::Watch(vec![], false)
}

struct Run {
    server: Server,
    handle: Handle,
    news: Receiver<Vec<Change>>,
}

fn pace() -> Pace {
    Pace {
        watch: Duration::from_secs(1),
        patience: Duration::from_millis(500),
        pause: (Duration::from_millis(5), Duration::from_millis(50)),
    }
}

fn run(answers: Vec<(&'static str, Vec<Answer>)>) -> Run {
    let server = Server::start(answers);
    let dir = std::env::temp_dir().join(format!("ewma-proxy-{}-{}", std::process::id(), server.addr.replace(':', "-")));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- name: c\n  context: {{cluster: k, user: u}}\n\
         clusters:\n- name: k\n  cluster: {{server: 'http://{}'}}\nusers:\n- name: u\n  user: {{}}\n",
        server.addr
    );
    std::fs::write(&file, text).unwrap();
    let config = KubeConfig::from_file(&file).unwrap();
    let _ = std::fs::remove_dir_all(&dir);
    let (to, news): (Sender<Vec<Change>>, _) = channel();
    let handle = spawn(config, &scope(), pace(), move |changes| drop(to.send(changes))).unwrap();
    Run { server, handle, news }
}

impl Run {
    /// Takes news until the endpoints of voting are these pods.
    fn until(&self, pods: &[&str]) -> Vec<Change> {
        let deadline = Instant::now() + PATIENCE;
        let mut all = vec![];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let changes = self.news.recv_timeout(left).unwrap_or_else(|_| panic!("no news of {pods:?}; had {all:?}"));
            all.extend(changes);
            let last = all.iter().rev().find_map(|c| match c {
                Change::Endpoints { endpoints, .. } => {
                    Some(endpoints.iter().map(|e| e.pod.to_string()).collect::<Vec<_>>())
                }
                _ => None,
            });
            if last.is_some_and(|names| names == pods) {
                return all;
            }
        }
    }

    fn wait(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so(self) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.handle.status());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn usual(slice_watch: Vec<Answer>) -> Vec<(&'static str, Vec<Answer>)> {
    vec![
        ("/services? watch=1", vec![idle()]),
        ("/services", vec![services(1)]),
        ("/endpointslices? watch=1", slice_watch),
        ("/endpointslices", vec![slices(&[1, 2], 5)]),
        ("/apis/discovery.k8s.io", vec![group("v1")]),
    ]
}

#[test]
fn lists_come_first_as_one_world_and_events_follow_at_once() {
    let r = run(usual(vec![idle()]));
    let first = r.until(&["voting-1", "voting-2"]);
    assert!(matches!(&first[0], Change::Added(port) if port.id.to_string() == "lab/voting:8080"));
    assert!(r.handle.status().synced);
    r.wait("the watch is open", |r| r.server.push.lock().unwrap().iter().any(|(p, _)| p.contains("endpointslices")));
    let start = Instant::now();
    r.server.send("endpointslices", &modified(&[1, 2, 3], 6));
    r.until(&["voting-1", "voting-2", "voting-3"]);
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
}

#[test]
fn an_event_that_comes_byte_by_byte_is_one_event() {
    let r = run(usual(vec![Answer::Watch(vec![modified(&[7], 6)], true), idle()]));
    r.until(&["voting-7"]);
}

#[test]
fn a_version_that_is_too_old_leads_to_a_new_list_taken_as_a_difference() {
    let gone = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#;
    let mut answers = usual(vec![Answer::Ended(vec![format!("{gone}\n")]), idle()]);
    answers[3].1 = vec![slices(&[1, 2], 5), slices(&[2, 3], 9)];
    let r = run(answers);
    let all = r.until(&["voting-2", "voting-3"]);
    let empty = all.iter().any(|c| matches!(c, Change::Endpoints { endpoints, .. } if endpoints.is_empty()));
    assert!(!empty, "never an empty set in between: {all:?}");
}

#[test]
fn a_410_as_the_watchs_own_status_does_the_same() {
    let mut answers = usual(vec![Answer::Body(410, r#"{"code":410,"message":"gone"}"#.into()), idle()]);
    answers[3].1 = vec![slices(&[1], 5), slices(&[4], 9)];
    run(answers).until(&["voting-4"]);
}

#[test]
fn while_the_server_is_away_the_last_set_stays_and_its_return_is_noticed() {
    let mut answers = usual(vec![idle(), Answer::Body(500, "{}".into()), Answer::Body(500, "{}".into()), idle()]);
    answers[2].1.push(Answer::Watch(vec![modified(&[9], 12)], false));
    let r = run(answers);
    r.until(&["voting-1", "voting-2"]);
    r.wait("the watch is open", |r| r.server.push.lock().unwrap().len() >= 2);
    r.server.drop_watches();
    let all = r.until(&["voting-9"]);
    assert!(!all.iter().any(|c| matches!(c, Change::Removed(_))), "{all:?}");
}

#[test]
fn a_watch_that_dies_silently_is_noticed_and_begun_again() {
    // The first watch never says another word nor ends: a second one must be asked for by itself.
    let r = run(usual(vec![idle(), Answer::Watch(vec![modified(&[8], 7)], false)]));
    r.until(&["voting-8"]);
    assert!(r.server.asked("endpointslices?watch=1") >= 2);
}

#[test]
fn an_older_server_is_asked_for_v1beta1() {
    let mut answers = usual(vec![idle()]);
    answers[4].1 = vec![group("v1beta1")];
    let r = run(answers);
    r.until(&["voting-1", "voting-2"]);
    assert!(r.server.asked("/apis/discovery.k8s.io/v1beta1/namespaces/lab/endpointslices") > 0);
}

#[test]
fn a_missing_right_is_named_in_the_status_and_asked_for_again() {
    let mut answers = usual(vec![idle()]);
    let denied = r#"{"code":403,"message":"endpointslices is forbidden: User \"x\" cannot list"}"#;
    answers[3].1 = vec![Answer::Body(403, denied.into()), Answer::Body(403, denied.into()), slices(&[1], 5)];
    let r = run(answers);
    r.wait("the error is told", |r| {
        r.handle.status().last_error.is_some_and(|e| e.contains("403")) || r.handle.status().synced
    });
    r.until(&["voting-1"]);
    assert_eq!(r.handle.status().last_error, None);
}

#[test]
fn noise_instead_of_events_does_not_stop_the_discovery() {
    let noise = Answer::Ended(vec!["this is no JSON\n".into()]);
    let r = run(usual(vec![noise, Answer::Watch(vec![modified(&[5], 8)], false)]));
    r.until(&["voting-5"]);
}
