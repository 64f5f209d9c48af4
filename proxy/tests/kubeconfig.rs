//! Reading a kubeconfig: what each field comes to, and one clear line for each way it can be wrong. Never a panic,
//! whatever the file holds, and no secret in an error.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::prelude::{Engine as _, BASE64_STANDARD};
use ewma_proxy::core::rng::Rng;
use ewma_proxy::kube::config::{Auth, ConfigError, KubeConfig, Trust};

const CA: &str = "-----BEGIN CERTIFICATE-----\nca\n-----END CERTIFICATE-----\n";
const CHAIN: &str = "-----BEGIN CERTIFICATE-----\nclient\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nkey\n-----END PRIVATE KEY-----\n";
const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.s3cr3t";

/// A folder of a test's own with a kubeconfig in it; it goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("kubeconfig-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn read(&self, bytes: impl AsRef<[u8]>) -> Result<KubeConfig, ConfigError> {
        let file = self.0.join("config");
        fs::write(&file, bytes).unwrap();
        KubeConfig::from_file(&file)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read(text: &str) -> Result<KubeConfig, ConfigError> {
    Folder::new().read(text)
}

/// The error in `text`, checked to be one line that names the file and holds no secret.
fn error(text: &str) -> String {
    let folder = Folder::new();
    let error = folder.read(text).expect_err(text);
    is_clear(&folder, &error);
    error.to_string()
}

fn is_clear(folder: &Folder, error: &ConfigError) {
    let line = error.to_string();
    assert!(line.starts_with(folder.0.to_str().unwrap()), "which file? {line:?}");
    assert!(!line.contains(['\n', '\r']) && line.len() < 1_000, "not one line: {line:?}");
    assert!(!line.contains(TOKEN) && !line.contains(&BASE64_STANDARD.encode(KEY)), "tells a secret: {line:?}");
}

/// Two contexts; the current one is the second.
fn valid() -> String {
    let (ca, chain, key) = (BASE64_STANDARD.encode(CA), BASE64_STANDARD.encode(CHAIN), BASE64_STANDARD.encode(KEY));
    format!(
        r#"apiVersion: v1
kind: Config
preferences: {{}}
current-context: lab
clusters:
- name: elsewhere
  cluster:
    server: https://elsewhere:6443
    insecure-skip-tls-verify: true
- name: kind
  cluster:
    server: https://127.0.0.1:6443/
    certificate-authority-data: {ca}
contexts:
- name: other
  context: {{cluster: elsewhere, user: nobody}}
- name: lab
  context:
    cluster: kind
    user: admin
    namespace: emojivoto
users:
- name: nobody
  user: {{}}
- name: admin
  user:
    client-certificate-data: {chain}
    client-key-data: {key}
    token: {TOKEN}
"#
    )
}

/// The valid file with one piece of text replaced, which must be there.
fn with(old: &str, new: &str) -> String {
    let text = valid();
    assert!(text.contains(old), "no {old:?}");
    text.replace(old, new)
}

/// The valid file without the lines that contain `what`.
fn without(what: &str) -> String {
    let text = valid();
    assert!(text.contains(what), "no {what:?}");
    text.lines().filter(|l| !l.contains(what)).map(|l| format!("{l}\n")).collect()
}

fn has_token(config: &KubeConfig, token: &str) -> bool {
    matches!(&config.auth, Auth::Token(t) if t.reveal() == token)
}

#[test]
fn the_current_context_says_which_cluster_user_and_namespace() {
    let config = read(&valid()).unwrap();
    assert_eq!(config.server, "https://127.0.0.1:6443", "without the slash at the end");
    assert_eq!(config.namespace.as_deref(), Some("emojivoto"));
    assert_eq!(config.trust, Trust::Roots(CA.into()));
    let identity = config.identity.as_ref().unwrap();
    assert_eq!((identity.chain.as_slice(), identity.key.reveal()), (CHAIN.as_bytes(), KEY.trim()));
    assert!(has_token(&config, TOKEN));

    let config = read(&with("current-context: lab", "current-context: other")).unwrap();
    assert_eq!(config.server, "https://elsewhere:6443");
    assert_eq!(config.namespace, None);
    assert_eq!(config.trust, Trust::Anything);
    assert!(config.identity.is_none() && matches!(config.auth, Auth::None));
}

#[test]
fn json_is_read_as_yaml_is() {
    let text = r#"{"current-context":"c","contexts":[{"name":"c","context":{"cluster":"k","user":""}}],"users":null,
        "clusters":[{"name":"k","cluster":{"server":"http://127.0.0.1:8001"}}]}"#;
    let config = read(text).unwrap();
    assert_eq!((config.server.as_str(), config.trust), ("http://127.0.0.1:8001", Trust::NoTls));
    assert!(error(&text[..text.len() - 1]).contains("is no JSON: line 2, column"));
}

#[test]
fn a_server_is_checked_against_the_given_roots_unless_told_otherwise() {
    let skipped = with("server: https://127.0.0.1:6443/", "server: https://k\n    insecure-skip-tls-verify: true");
    assert_eq!(read(&skipped).unwrap().trust, Trust::Anything);
    let not_skipped = with("server: https://127.0.0.1:6443/", "server: https://k\n    insecure-skip-tls-verify: false");
    assert_eq!(read(&not_skipped).unwrap().trust, Trust::Roots(CA.into()));
    assert!(error(&without("certificate-authority-data")).contains("has no certificate-authority(-data)"));
}

#[test]
fn files_are_looked_for_beside_the_kubeconfig() {
    let folder = Folder::new();
    let text: String = valid()
        .lines()
        .map(|line| match line.trim_start().split_once("-data: ") {
            Some((field, _)) => format!("    {field}: {field}.pem\n"),
            None => format!("{}\n", line.replace(&format!("token: {TOKEN}"), "tokenFile: token")),
        })
        .collect();
    let missing = folder.read(&text).unwrap_err().to_string();
    assert!(missing.contains("certificate-authority.pem: cannot be read"), "{missing}");
    for (name, pem) in [("certificate-authority", CA), ("client-certificate", CHAIN), ("client-key", KEY)] {
        fs::write(folder.0.join(format!("{name}.pem")), pem).unwrap();
    }
    let config = folder.read(&text).unwrap();
    assert_eq!(config.trust, Trust::Roots(CA.into()));
    assert_eq!(config.identity.as_ref().unwrap().chain, CHAIN.as_bytes());
    // The token is read anew each time it is sent.
    assert!(config.token().unwrap_err().to_string().contains("token: cannot be read"));
    fs::write(folder.0.join("token"), "first\n").unwrap();
    assert_eq!(config.token().unwrap().unwrap().reveal(), "first");
    fs::write(folder.0.join("token"), "second\n").unwrap();
    assert_eq!(config.token().unwrap().unwrap().reveal(), "second");
    fs::write(folder.0.join("token"), " \n").unwrap();
    assert!(config.token().unwrap_err().to_string().contains("the token file is empty"));
}

#[test]
fn a_token_that_yaml_takes_for_a_number_or_a_word_is_still_that_text() {
    for (written, meant) in [("\"0123\"", "0123"), ("'true'", "true"), ("abc def", "abc def"), ("1.10", "1.10")] {
        let config = read(&with(TOKEN, written)).unwrap();
        assert!(has_token(&config, meant), "{written}");
    }
}

#[test]
fn what_the_current_context_names_must_be_there() {
    assert!(error(&without("current-context")).contains("has no current-context; set one with"));
    assert!(error(&with("current-context: lab", "current-context: ''")).contains("has no current-context"));
    assert!(error(&with("current-context: lab", "current-context: lap")).contains("has no context named \"lap\""));
    assert!(error(&with("cluster: kind", "cluster: mind")).contains("has no cluster named \"mind\""));
    assert!(error(&with("user: admin", "user: adnim")).contains("has no user named \"adnim\""));
    assert!(error("current-context: lab\n").contains("has no context named \"lab\""));
}

#[test]
fn what_is_no_kubeconfig_is_told_with_the_place_or_a_way_to_find_it() {
    assert!(error("").contains("is empty"));
    assert!(error("# nothing\n").contains("is empty"));
    for text in ["just text\n", "- a\n- list\n", "42\n"] {
        assert!(error(text).contains("is no kubeconfig"), "{text:?}");
    }
    assert!(error(&with("clusters:", "clusters: 5\nmore:")).contains("is no kubeconfig"));
    assert!(error(&without("server: https://127")).contains("is no kubeconfig"));
    assert!(error(&with("kind: Config", "kind: [Config")).contains("is no YAML: line "));
    assert!(error(&with("kind: Config", "\tkind: Config")).contains("is no YAML: line "));
    assert!(error(&with("kind: Config", "kind: \"Config")).contains("is no YAML: line "));
    assert!(Folder::new().read(b"current-context: \xff\n").unwrap_err().to_string().contains("cannot be read: "));
}

#[test]
fn data_that_is_no_base64_of_text_is_told_by_the_name_of_its_field() {
    let (ca, chain, key) = (BASE64_STANDARD.encode(CA), BASE64_STANDARD.encode(CHAIN), BASE64_STANDARD.encode(KEY));
    for (field, data) in [("certificate-authority", ca), ("client-certificate", chain), ("client-key", key)] {
        let wanted = format!("{field}-data is no PEM text in base64");
        for broken in ["no", &data[1..], &data.replace('=', ""), "LS0t*", "/////w=="] {
            if broken != data {
                assert!(error(&with(&data, broken)).contains(&wanted), "{field}: {broken}");
            }
        }
    }
    let config = read(&with("certificate-authority-data: ", "certificate-authority-data: |\n      ")).unwrap();
    assert_eq!(config.trust, Trust::Roots(CA.into()), "with a line end behind it");
}

#[test]
fn a_certificate_goes_with_its_key() {
    for half in ["client-certificate-data", "client-key-data"] {
        assert!(error(&without(half)).contains("client-certificate and client-key go together"));
    }
}

#[test]
fn what_the_connection_would_need_but_is_not_supported_is_an_error() {
    let token = format!("token: {TOKEN}");
    for (field, text) in [
        ("exec", with(&token, "exec: {command: aws}")),
        ("auth-provider", with(&token, "auth-provider: {name: gcp}")),
        ("username", with(&token, "username: me")),
        ("as", with(&token, &format!("as: me\n    {token}"))),
    ] {
        assert!(error(&text).contains(&format!("the user's `{field}` is not supported")), "{field}");
    }
    for field in ["tls-server-name", "proxy-url"] {
        let text = with("server: https://127.0.0.1:6443/", &format!("server: https://k\n    {field}: x"));
        assert!(error(&text).contains(&format!("{field} is not supported")));
    }
    assert!(error(&with("https://127.0.0.1:6443/", "http://10.0.0.1:8001")).contains("in clear text"));
    for server in ["127.0.0.1:6443", "https://", "https://me@k", "ftp://k"] {
        assert!(error(&with("https://127.0.0.1:6443/", server)).contains("`server` must be https://"), "{server}");
    }
}

#[test]
fn a_file_cut_off_anywhere_is_read_or_refused_with_one_clear_line() {
    let folder = Folder::new();
    let json = serde_json::to_string(&serde_json::json!({
        "current-context": "c",
        "contexts": [{ "name": "c", "context": { "cluster": "k", "user": "u" } }],
        "clusters": [{ "name": "k", "cluster": { "server": "https://k", "insecure-skip-tls-verify": true } }],
        "users": [{ "name": "u", "user": { "token": TOKEN } }],
    }));
    for text in [valid(), json.unwrap()] {
        assert!(folder.read(&text).is_ok());
        for end in 0..text.len() {
            if let Err(error) = folder.read(&text[..end]) {
                is_clear(&folder, &error);
            }
        }
        // Without the users there is nobody to be.
        assert!(folder.read(&text[..text.len() * 2 / 3]).is_err());
    }
}

#[test]
fn a_file_with_wrong_bytes_is_read_or_refused_with_one_clear_line() {
    let (folder, text) = (Folder::new(), valid());
    let (mut refused, mut taken) = (0, 0);
    for seed in 0..2_000 {
        let r = &mut Rng::new(seed);
        let mut bytes = text.clone().into_bytes();
        for _ in 0..1 + r.below(4) {
            let at = r.below(bytes.len());
            // Half of them are what means something in YAML.
            let byte = if r.below(2) == 0 { b":-{}[]#&*!|>'\"%@`\n\t ,?=~0"[r.below(25)] } else { r.next_u64() as u8 };
            match r.below(4) {
                0 => drop(bytes.remove(at)),
                1 => bytes.insert(at, byte),
                2 => bytes[at] = byte,
                _ => {
                    let end = bytes.len().min(at + r.below(200));
                    let piece = bytes[at..end].to_vec();
                    let to = r.below(bytes.len());
                    bytes.splice(to..to, piece);
                }
            }
        }
        let read = std::panic::catch_unwind(|| folder.read(&bytes));
        match read.unwrap_or_else(|_| panic!("seed {seed}: {:?}", String::from_utf8_lossy(&bytes))) {
            Ok(_) => taken += 1,
            Err(error) => {
                refused += 1;
                is_clear(&folder, &error);
            }
        }
    }
    assert!(refused > 500 && taken > 100, "{refused} refused, {taken} taken");
}
