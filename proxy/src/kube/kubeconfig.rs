//! A kubeconfig file → [`KubeConfig`] (kubectl's `v1` Config format, YAML or JSON).
//!
//! Understood: the current context with its `cluster`, `user`, `namespace`; `server`, `certificate-authority(-data)`,
//! `insecure-skip-tls-verify`; `token`, `tokenFile`, `client-certificate(-data)` with `client-key(-data)`. Files are
//! looked for beside the kubeconfig. What the connection would need but is not understood is an error, never ignored.
//! Errors never quote the file: what stands in the wrong place may be a secret.
//!
//! Must not know: HTTP, the environment.

use std::path::{Path, PathBuf};

use base64::prelude::{Engine as _, BASE64_STANDARD};
use serde::Deserialize;
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use super::config::{read, Auth, ConfigError, Identity, KubeConfig, Secret, Trust};
use super::types::nullable;

/// Reads `text`, the content of `file`.
pub fn parse(text: &str, file: &Path) -> Result<KubeConfig, ConfigError> {
    let wrong = |what: String| ConfigError::at(file.display(), what);
    let all: Kubeconfig = serde_json::from_value(value(text).map_err(wrong)?)
        .map_err(|_| wrong("is no kubeconfig; see what `kubectl config view --kubeconfig FILE` says".to_owned()))?;
    if all.current_context.is_empty() {
        return Err(wrong("has no current-context; set one with `kubectl config use-context NAME`".to_owned()));
    }
    let lacks = |kind: &str, name: &str| wrong(format!("has no {kind} named {name:?}"));
    let context = all.contexts.into_iter().find(|c| c.name == all.current_context);
    let context = context.ok_or_else(|| lacks("context", &all.current_context))?.context;
    let cluster = all.clusters.into_iter().find(|c| c.name == context.cluster);
    let cluster = cluster.ok_or_else(|| lacks("cluster", &context.cluster))?.cluster;
    let user = match all.users.into_iter().find(|u| u.name == context.user) {
        Some(named) => named.user,
        None if context.user.is_empty() => User::default(),
        None => return Err(lacks("user", &context.user)),
    };
    let place = Place { file };
    Ok(KubeConfig {
        trust: trust(&cluster, &place)?,
        identity: identity(&user, &place)?,
        auth: auth(&user, &place)?,
        server: cluster.server.trim_end_matches('/').to_owned(),
        namespace: context.namespace.filter(|n| !n.is_empty()),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    #[serde(default, deserialize_with = "nullable")]
    current_context: String,
    #[serde(default, deserialize_with = "nullable")]
    contexts: Vec<NamedContext>,
    #[serde(default, deserialize_with = "nullable")]
    clusters: Vec<NamedCluster>,
    #[serde(default, deserialize_with = "nullable")]
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
    namespace: Option<String>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<String>,
    exec: Option<Value>,
    auth_provider: Option<Value>,
    username: Option<String>,
    #[serde(rename = "as")]
    impersonate: Option<String>,
}

/// Where errors point to and files are looked for.
struct Place<'a> {
    file: &'a Path,
}

impl Place<'_> {
    fn wrong(&self, what: &str) -> ConfigError {
        ConfigError::at(self.file.display(), what)
    }

    fn beside(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }

    /// The text of field `name`, given inside as base64 (`-data`, which counts first) or as a file.
    fn pem(&self, name: &str, data: Option<&String>, path: Option<&String>) -> Result<Option<String>, ConfigError> {
        if let Some(data) = data.filter(|d| !d.is_empty()) {
            let bytes = BASE64_STANDARD.decode(data.trim()).ok();
            let text = bytes.and_then(|b| String::from_utf8(b).ok());
            return text.map(Some).ok_or_else(|| self.wrong(&format!("{name}-data is no PEM text in base64")));
        }
        path.filter(|p| !p.is_empty()).map(|path| read(&self.beside(path))).transpose()
    }
}

fn trust(cluster: &Cluster, place: &Place) -> Result<Trust, ConfigError> {
    for (name, given) in [("tls-server-name", &cluster.tls_server_name), ("proxy-url", &cluster.proxy_url)] {
        if given.as_ref().is_some_and(|g| !g.is_empty()) {
            return Err(place.wrong(&format!("{name} is not supported")));
        }
    }
    if cluster.server.starts_with("http://") {
        return Ok(Trust::NoTls);
    }
    if cluster.insecure_skip_tls_verify {
        return Ok(Trust::Anything);
    }
    let (data, path) = (&cluster.certificate_authority_data, &cluster.certificate_authority);
    let roots = place.pem("certificate-authority", data.as_ref(), path.as_ref())?;
    let roots = roots.ok_or_else(|| {
        place.wrong("has no certificate-authority(-data); the system's certificates are not used: name the cluster's")
    })?;
    Ok(Trust::Roots(roots.into_bytes()))
}

fn auth(user: &User, place: &Place) -> Result<Auth, ConfigError> {
    let other = [
        ("exec", user.exec.is_some()),
        ("auth-provider", user.auth_provider.is_some()),
        ("username", user.username.is_some()),
        ("as", user.impersonate.is_some()),
    ];
    if let Some((name, _)) = other.iter().find(|(_, given)| *given) {
        return Err(place.wrong(&format!("the user's `{name}` is not supported; use a token or a client certificate")));
    }
    // As kubectl: a token file counts before a token.
    let given = |field: &Option<String>| field.clone().filter(|f| !f.is_empty());
    Ok(match (given(&user.token_file), given(&user.token)) {
        (Some(path), _) => Auth::TokenFile(place.beside(&path)),
        (None, Some(token)) => Auth::Token(Secret::new(&token)),
        (None, None) => Auth::None,
    })
}

fn identity(user: &User, place: &Place) -> Result<Option<Identity>, ConfigError> {
    let (data, path) = (&user.client_certificate_data, &user.client_certificate);
    let chain = place.pem("client-certificate", data.as_ref(), path.as_ref())?;
    let key = place.pem("client-key", user.client_key_data.as_ref(), user.client_key.as_ref())?;
    match (chain, key) {
        (Some(chain), Some(key)) => Ok(Some(Identity { chain: chain.into_bytes(), key: Secret::new(&key) })),
        (None, None) => Ok(None),
        _ => Err(place.wrong("client-certificate and client-key go together, but one of them is missing")),
    }
}

/// YAML or JSON text as one tree.
fn value(text: &str) -> Result<Value, String> {
    // JSON is YAML too; read as what it is, it costs less memory.
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|e| format!("is no JSON: line {}, column {}", e.line(), e.column()));
    }
    let documents = YamlLoader::load_from_str(text)
        .map_err(|e| format!("is no YAML: line {}, column {}", e.marker().line(), e.marker().col() + 1))?;
    documents.first().map(json).ok_or_else(|| "is empty".to_owned())
}

fn json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::String(text) | Yaml::Real(text) => text.as_str().into(),
        Yaml::Boolean(yes) => (*yes).into(),
        Yaml::Integer(number) => (*number).into(),
        Yaml::Array(items) => items.iter().map(json).collect(),
        Yaml::Hash(fields) => fields.iter().filter_map(|(k, v)| Some((k.as_str()?.to_owned(), json(v)))).collect(),
        _ => Value::Null,
    }
}
