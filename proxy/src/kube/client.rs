//! GET requests to the API server, over one set of connections.
//!
//! Rules: the token is read anew for each request; nothing is sent to anyone but the configured server (no redirects, no
//! proxy from the environment); every wait has an end; bodies are read as they come and are bounded by who reads them.
//!
//! Must not know: what is asked for and why.

use std::fmt;
use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{ring, CryptoProvider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::de::DeserializeOwned;
use ureq::http::StatusCode;
use ureq::tls::{parse_pem, Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig};
use ureq::{Agent, Error};

use super::config::{ConfigError, Identity, KubeConfig, Trust};
use super::types::ApiStatus;

/// Longest time (s) to a connection with TLS.
const CONNECT: Duration = Duration::from_secs(3);
/// Longest time to the headers of an answer; the API server sends a watch's at once.
const ANSWER: Duration = Duration::from_secs(10);
/// Bytes kept per connection for reading and for writing. Requests are small; events of 250 endpoints come in parts.
const BUFFERS: (usize, usize) = (16 << 10, 4 << 10);
/// Of an answer that says no, this much is read (bytes), and this much of its message is shown (characters).
const REFUSAL: (u64, usize) = (64 << 10, 300);

/// The connection to one API server.
pub struct Client {
    agent: Agent,
    config: KubeConfig,
}

/// Why a request failed, for people: one line, no secrets.
#[derive(Debug)]
pub enum ApiError {
    /// 401: the token is not, or no longer, good.
    Unauthorized,
    /// 403: the server's words.
    Forbidden(String),
    /// 404: the server's words.
    NotFound(String),
    /// 410, or the same inside a watch: the version to go on from is too old.
    Gone,
    /// The server said no in another way.
    Refused(u16, String),
    /// The server did not answer, or not in time, or stopped in the middle.
    Unreachable(String),
    /// The answer is not what the API promises, or too large.
    Garbled(String),
    /// We cannot ask: the token file is unreadable.
    Config(ConfigError),
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unauthorized => f.write_str("401: the API server does not accept the token"),
            Self::Forbidden(message) => write!(f, "403: {message}"),
            Self::NotFound(message) => write!(f, "404: {message}"),
            Self::Gone => f.write_str("410: the resourceVersion is too old"),
            Self::Refused(code, message) => write!(f, "{code}: {message}"),
            Self::Unreachable(what) | Self::Garbled(what) => f.write_str(what),
            Self::Config(error) => error.fmt(f),
        }
    }
}

impl ApiError {
    /// What a status, of HTTP or of a watch's ERROR event, means.
    pub fn from_status(code: u16, message: &str) -> Self {
        let message: String = message.chars().filter(|c| !c.is_control()).take(REFUSAL.1).collect();
        match code {
            401 => Self::Unauthorized,
            403 => Self::Forbidden(message),
            404 => Self::NotFound(message),
            410 => Self::Gone,
            _ => Self::Refused(code, message),
        }
    }
}

impl Client {
    /// Prepares TLS; connects to nobody yet.
    pub fn new(config: KubeConfig) -> Result<Self, ConfigError> {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("ewma-proxy/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .input_buffer_size(BUFFERS.0)
            .output_buffer_size(BUFFERS.1)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .tls_config(tls(&config)?)
            .build()
            .new_agent();
        Ok(Self { agent, config })
    }

    /// The body of `path` (with its query), which must end within `within` of its start.
    pub fn get(&self, path: &str, within: Duration) -> Result<impl Read, ApiError> {
        let mut request = self.agent.get(format!("{}{path}", self.config.server));
        if let Some(token) = self.config.token().map_err(ApiError::Config)? {
            request = request.header("authorization", format!("Bearer {}", token.reveal()));
        }
        let answer = request.config().timeout_recv_body(Some(within)).build().call().map_err(|e| self.lost(e))?;
        let (head, body) = answer.into_parts();
        if head.status == StatusCode::OK {
            return Ok(body.into_reader());
        }
        let mut text = Vec::new();
        // What is missing of a refusal does not matter.
        let _ = body.into_reader().take(REFUSAL.0).read_to_end(&mut text);
        let told = serde_json::from_slice::<ApiStatus>(&text).unwrap_or_default().message;
        let reason = head.status.canonical_reason().unwrap_or("no reason given");
        Err(ApiError::from_status(head.status.as_u16(), if told.is_empty() { reason } else { &told }))
    }

    /// The JSON body of `path`, of at most `limit` bytes, read piece by piece.
    pub fn get_json<T: DeserializeOwned>(&self, path: &str, within: Duration, limit: u64) -> Result<T, ApiError> {
        let body = BufReader::new(Bounded { from: self.get(path, within)?, left: limit });
        serde_json::from_reader(body).map_err(|e| match e.io_error_kind() {
            Some(io::ErrorKind::FileTooLarge) => {
                ApiError::Garbled(format!("{path}: the answer is larger than {limit} bytes"))
            }
            Some(_) => self.broken(&e.into()),
            None => ApiError::Garbled(format!("{path}: the answer is not the expected JSON: {e}")),
        })
    }

    /// The error of a body that could not be read to its end.
    pub fn broken(&self, error: &io::Error) -> ApiError {
        ApiError::Unreachable(format!("{}: the answer broke off: {error}", self.config.server))
    }

    /// Closes all connections, also those that someone is reading from; every request from now on fails.
    pub fn shutdown(&self) {
        self.agent.clone().shutdown();
    }

    fn lost(&self, error: Error) -> ApiError {
        ApiError::Unreachable(format!("{}: {error}", self.config.server))
    }
}

/// Fails with `FileTooLarge` where more than `left` bytes come.
struct Bounded<R> {
    from: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(into)?;
        self.left = self.left.checked_sub(count as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(count)
    }
}

fn tls(config: &KubeConfig) -> Result<TlsConfig, ConfigError> {
    let provider = Arc::new(ring::default_provider());
    let roots = match &config.trust {
        Trust::Roots(pem) => certificates(pem, "certificate-authority")?,
        Trust::NoTls | Trust::Anything => Vec::new(),
    };
    let identity = config.identity.as_ref().map(|identity| client_cert(identity, &provider)).transpose()?;
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::from(roots))
        .disable_verification(config.trust == Trust::Anything)
        .client_cert(identity)
        .unversioned_rustls_crypto_provider(provider)
        .build())
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<Certificate<'static>>, ConfigError> {
    let found = parse_pem(pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
        Ok(_) => None,
        Err(_) => Some(Err(ConfigError::at(what, "is damaged PEM text"))),
    });
    let all = found.collect::<Result<Vec<_>, _>>()?;
    if all.is_empty() {
        return Err(ConfigError::at(what, "has no certificate in PEM text"));
    }
    Ok(all)
}

fn client_cert(identity: &Identity, provider: &CryptoProvider) -> Result<ClientCert, ConfigError> {
    let chain = certificates(&identity.chain, "client-certificate")?;
    let pem = identity.key.reveal().as_bytes();
    let key = PrivateKey::from_pem(pem).map_err(|_| ConfigError::at("client-key", "has no private key in PEM text"))?;
    // The HTTP client takes for granted that the two fit.
    let der = chain.iter().map(|c| CertificateDer::from(c.der()).into_owned()).collect();
    let fit = PrivateKeyDer::try_from(key.der().to_vec())
        .map_err(str::to_owned)
        .and_then(|key| CertifiedKey::from_der(der, key, provider).map(drop).map_err(|e| e.to_string()));
    fit.map_err(|e| ConfigError::at("client-key", format!("does not fit the client-certificate: {e}")))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}
