//! Where the API server is and how to speak to it: a kubeconfig, or the pod's service account.
//!
//! `KUBECONFIG` names one kubeconfig file; else the pod's service account folder counts. `~/.kube/config` is not looked
//! for: a sidecar takes what it is given. Certificates are read once, a token file anew for each request (the kubelet
//! rotates it). A secret shows in no `Debug` and no error.
//!
//! Must not know: HTTP, what is asked of the server.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use super::kubeconfig;

/// Where Kubernetes mounts a pod's service account.
pub const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// No kubeconfig, certificate or token is near this size (bytes).
const MAX_FILE: u64 = 1 << 20;

/// How to reach the API server.
#[derive(Clone, Debug)]
pub struct KubeConfig {
    /// `https://host:port`, with a path if the server is behind one, without a slash at the end.
    pub server: String,
    /// The namespace of the context or of the pod.
    pub namespace: Option<String>,
    /// Who we are, by token.
    pub auth: Auth,
    /// Who the server must be.
    pub trust: Trust,
    /// Who we are, by certificate.
    pub identity: Option<Identity>,
}

/// The bearer token.
#[derive(Clone, Debug)]
pub enum Auth {
    /// None is sent.
    None,
    /// Always this one.
    Token(Secret),
    /// What the file holds at the time of the request.
    TokenFile(PathBuf),
}

/// How the server's certificate is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Plain HTTP.
    NoTls,
    /// It must be signed by one of these (PEM).
    Roots(Vec<u8>),
    /// Not at all, as the kubeconfig says (`insecure-skip-tls-verify`).
    Anything,
}

/// A client certificate, PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate and those above it.
    pub chain: Vec<u8>,
    /// Its private key.
    pub key: Secret,
}

/// Text that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`; spaces and line ends around it do not belong to it.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// What is wrong with the configuration and what to do: one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    /// `what` is wrong in `place`.
    pub fn at(place: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self(format!("{place}: {what}").replace(['\n', '\r'], " "))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl KubeConfig {
    /// From the kubeconfig that `KUBECONFIG` names, else from the pod's service account.
    pub fn load(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Self::load_with(env, Path::new(SERVICE_ACCOUNT))
    }

    /// The same with the service account's folder somewhere else.
    pub fn load_with(env: &dyn Fn(&str) -> Option<String>, account: &Path) -> Result<Self, ConfigError> {
        let named = env("KUBECONFIG").unwrap_or_default();
        let files: Vec<&str> = named.split(':').filter(|f| !f.is_empty()).collect();
        match files.as_slice() {
            [] => Self::in_cluster(env, account),
            [file] => Self::from_file(Path::new(file)),
            more => Err(ConfigError::at(
                "KUBECONFIG",
                format!("names {} files, but one is read; merge them with `kubectl config view --flatten`", more.len()),
            )),
        }
    }

    /// From the current context of a kubeconfig, YAML or JSON.
    pub fn from_file(file: &Path) -> Result<Self, ConfigError> {
        kubeconfig::parse(&read(file)?, file)?.checked(file)
    }

    /// From a pod's service account: the folder's `token`, `ca.crt`, `namespace`, and where the environment says the
    /// server is.
    fn in_cluster(env: &dyn Fn(&str) -> Option<String>, account: &Path) -> Result<Self, ConfigError> {
        let host = env("KUBERNETES_SERVICE_HOST").filter(|h| !h.is_empty());
        let host = host.ok_or_else(|| {
            ConfigError::at("KUBECONFIG", "not set, and KUBERNETES_SERVICE_HOST neither: set one of them")
        })?;
        let port = env("KUBERNETES_SERVICE_PORT").filter(|p| !p.is_empty()).unwrap_or_else(|| "443".to_owned());
        if port.parse::<u16>().is_err() {
            return Err(ConfigError::at("KUBERNETES_SERVICE_PORT", format!("{port:?} is no port number")));
        }
        let host = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host };
        let token = account.join("token");
        read(&token)?;
        let config = Self {
            server: format!("https://{host}:{port}"),
            namespace: read(&account.join("namespace")).ok().map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()),
            auth: Auth::TokenFile(token),
            trust: Trust::Roots(read(&account.join("ca.crt"))?.into_bytes()),
            identity: None,
        };
        config.checked("KUBERNETES_SERVICE_HOST".as_ref())
    }

    /// The token to send now.
    pub fn token(&self) -> Result<Option<Secret>, ConfigError> {
        let file = match &self.auth {
            Auth::None => return Ok(None),
            Auth::Token(token) => return Ok(Some(token.clone())),
            Auth::TokenFile(file) => file,
        };
        let token = Secret::new(&read(file)?);
        if token.reveal().is_empty() {
            return Err(ConfigError::at(file.display(), "the token file is empty"));
        }
        Ok(Some(token))
    }

    fn checked(self, source: &Path) -> Result<Self, ConfigError> {
        let wrong = |what: &str| ConfigError::at(source.display(), what);
        let plain = self.server.strip_prefix("http://");
        let host = plain.or_else(|| self.server.strip_prefix("https://"));
        if host.is_none_or(|h| h.is_empty() || h.contains(['@', '?', '#', ' '])) {
            return Err(wrong("`server` must be https://HOST:PORT (without user, query or fragment)"));
        }
        let secret = !matches!(self.auth, Auth::None);
        if secret && plain.is_some_and(|host| !is_loopback(host)) {
            return Err(wrong("the token would go to `server` in clear text; use https://"));
        }
        Ok(self)
    }
}

/// Reads a text file of bounded size.
pub(super) fn read(file: &Path) -> Result<String, ConfigError> {
    let wrong = |what: String| ConfigError::at(file.display(), what);
    if fs::metadata(file).is_ok_and(|m| m.is_dir()) {
        return Err(wrong("is a folder, not a file".to_owned()));
    }
    let opened = File::open(file).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let mut text = String::new();
    let size = opened.take(MAX_FILE + 1).read_to_string(&mut text);
    match size.map_err(|e| wrong(format!("cannot be read: {e}")))? as u64 {
        size if size > MAX_FILE => Err(wrong(format!("is larger than {MAX_FILE} bytes"))),
        _ => Ok(text),
    }
}

/// Does `authority` (host, port, path) name this machine?
fn is_loopback(authority: &str) -> bool {
    let authority = authority.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
