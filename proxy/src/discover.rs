//! What Kubernetes says → what a worker is told: Service ports become targets with listeners, EndpointSlices their
//! endpoints. Knows both sides' words and nothing of how either is done.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::admin::server::Status;
use crate::config::{Config, Mode};
use crate::core::catalog::{Change, ServicePort};
use crate::core::detect::Hint;
use crate::core::relay::EndpointInfo;
use crate::io::message::{Message, Place, Update};
use crate::io::worker::Handle;
use crate::kube;
use crate::kube::config::KubeConfig;

/// The name of a target: `namespace/name:port`.
pub fn key(namespace: &str, name: &str, port: u16) -> Arc<str> {
    format!("{namespace}/{name}:{port}").into()
}

/// The updates that a batch of changes means to a worker.
pub fn updates(mode: &Mode, changes: Vec<Change>) -> Vec<Update> {
    changes.into_iter().filter_map(|c| update(mode, c)).collect()
}

fn update(mode: &Mode, change: Change) -> Option<Update> {
    match change {
        Change::Added(port) | Change::Changed(port) => {
            let key: Arc<str> = port.id.to_string().into();
            let hint = Hint::read(port.app_protocol.as_deref(), port.opaque);
            let listen = matches!(mode, Mode::Redirect(_)).then(|| listeners(mode, &port));
            let place = Place {
                service: port.id.service.to_string().into(),
                port: port.id.port,
                ips: port.cluster_ips,
                headless: port.headless,
            };
            Some(Update::Target { key, listen, hint, place })
        }
        Change::Removed(id) => {
            let key: Arc<str> = id.to_string().into();
            match mode {
                Mode::Redirect(_) | Mode::Transparent(_) => Some(Update::Gone { key }),
                // The listener stays: the Service may come back.
                _ => Some(Update::Endpoints { key, endpoints: vec![] }),
            }
        }
        Change::Endpoints { service, endpoints } => {
            let info = |e: &crate::core::slices::Endpoint| EndpointInfo {
                addr: e.addr,
                pod: e.pod.clone(),
                uid: e.uid.clone(),
                also: e.also,
            };
            Some(Update::Endpoints { key: service.to_string().into(), endpoints: endpoints.iter().map(info).collect() })
        }
    }
}

fn listeners(mode: &Mode, port: &ServicePort) -> Vec<SocketAddr> {
    let Mode::Redirect(redirect) = mode else { return vec![] };
    let stand_in = |ip| redirect.map(ip).map(|ip| SocketAddr::new(ip, port.id.port));
    port.cluster_ips.iter().filter_map(|ip| stand_in(*ip)).collect()
}

/// The namespaces whose Services are balanced: as told, else the pod's own.
fn namespaces(config: &Config) -> Result<Vec<String>, String> {
    match &config.namespace {
        Some(names) => Ok(names.split(',').map(|n| n.trim().to_string()).filter(|n| !n.is_empty()).collect()),
        None => {
            let found = credentials(config)?.namespace;
            found
                .map(|n| vec![n])
                .ok_or_else(|| "no namespace is known; give --namespace or EWMA_PROXY_NAMESPACE".into())
        }
    }
}

/// The first of them, in which a Service is that is named alone.
///
/// # Errors
/// One line: none is known.
pub fn namespace(config: &Config) -> Result<String, String> {
    let first = namespaces(config)?.into_iter().find(|n| n != "*");
    first.ok_or_else(|| "--namespace: names no namespace".to_string())
}

fn credentials(config: &Config) -> Result<KubeConfig, String> {
    let found = match &config.kubeconfig {
        Some(file) => KubeConfig::from_file(file),
        None => KubeConfig::load(&|name| std::env::var(name).ok()),
    };
    found.map_err(|e| format!("no way to the API server: {e}"))
}

/// Starts the discovery; its news goes to the worker.
///
/// # Errors
/// One line: no credentials, no namespace.
pub fn start(config: &Config, worker: Handle) -> Result<Status, String> {
    let scope = kube::Scope { namespaces: namespaces(config)?, zone: config.zone.clone() };
    let mode = config.mode.clone();
    let deliver = move |changes| {
        // A worker that has ended needs no news.
        worker.send(Message::Updates(updates(&mode, changes)));
    };
    let discovery =
        kube::spawn(credentials(config)?, &scope, kube::Pace::default(), deliver).map_err(|e| e.to_string())?;
    Ok(Arc::new(move || {
        let s = discovery.status();
        Some((s.synced, s.age.as_secs_f64(), s.last_error))
    }))
}
