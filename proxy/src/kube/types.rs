//! What the API server sends, as far as it matters here → the model of `core`.
//!
//! Reads `v1` Services and `discovery.k8s.io` EndpointSlices, `v1` and `v1beta1` with the same types: v1beta1 tells zone
//! and node in `topology`, v1 in fields of their own. Whatever is missing, null or unknown is taken as not stated; one
//! strange object must not stop the discovery. Pure: bytes in, model out.
//!
//! Must not know: sockets, clocks, who is watching.

use std::net::IpAddr;
use std::sync::Arc;

use serde::de::{DeserializeOwned, Deserializer};
use serde::Deserialize;

use crate::core::catalog::{Event, PortSpec, Service};
use crate::core::slices::{Family, ObjectName, Slice, SliceEndpoint, SlicePort, Standing};

/// An object that can be listed and watched.
pub trait Resource: DeserializeOwned {
    /// Its name in paths.
    const PLURAL: &'static str;
    /// Its API group for people; empty for the core group.
    const GROUP: &'static str;
    /// What the catalog has of it.
    type Model;
    /// Reads one; `None` if it has no name.
    fn model(self) -> Option<Self::Model>;
    /// The report that these are all of them.
    fn listed(namespace: Option<Arc<str>>, all: Vec<Self::Model>) -> Event;
    /// The report that this one is new or has changed.
    fn put(model: Self::Model) -> Event;
    /// The report that this one is gone.
    fn deleted(model: Self::Model) -> Event;
}

/// A list and the version from which to watch on.
#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
pub struct List<T> {
    #[serde(default)]
    metadata: Meta,
    #[serde(default = "Vec::new", deserialize_with = "nullable")]
    items: Vec<T>,
}

impl<T: Resource> List<T> {
    /// The objects and the resourceVersion; `None` if this is no list.
    pub fn read(self) -> Option<(Vec<T::Model>, String)> {
        let version = self.metadata.resource_version.filter(|v| !v.is_empty())?;
        Some((self.items.into_iter().filter_map(T::model).collect(), version))
    }
}

/// One line of a watch.
pub enum WatchEvent {
    /// News, and the resourceVersion after it.
    News(Option<Event>, Option<String>),
    /// The server ends the watch: an API status (`code`, `message`).
    Error(ApiStatus),
}

/// Why the API server says no.
#[derive(Deserialize, Default)]
pub struct ApiStatus {
    /// As the HTTP status.
    #[serde(default)]
    pub code: u16,
    /// For people.
    #[serde(default, deserialize_with = "nullable")]
    pub message: String,
}

/// Reads one line of a watch.
pub fn watch_event<T: Resource>(line: &[u8]) -> Result<WatchEvent, serde_json::Error> {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: String,
    }
    #[derive(Deserialize)]
    struct Of<T> {
        object: T,
    }
    #[derive(Deserialize)]
    struct Versioned {
        #[serde(default)]
        metadata: Meta,
    }
    let kind = serde_json::from_slice::<Kind>(line)?.kind;
    if kind == "ERROR" {
        return Ok(WatchEvent::Error(serde_json::from_slice::<Of<ApiStatus>>(line)?.object));
    }
    let version = serde_json::from_slice::<Of<Versioned>>(line)?.object.metadata.resource_version;
    let model = || serde_json::from_slice::<Of<T>>(line).map(|of| of.object.model());
    let news = match kind.as_str() {
        "ADDED" | "MODIFIED" => model()?.map(T::put),
        "DELETED" => model()?.map(T::deleted),
        _ => None, // BOOKMARK: a version and nothing else.
    };
    Ok(WatchEvent::News(news, version))
}

/// The versions of an API group.
#[derive(Deserialize)]
pub struct ApiGroup {
    #[serde(default, deserialize_with = "nullable")]
    versions: Vec<GroupVersion>,
}

#[derive(Deserialize)]
struct GroupVersion {
    version: String,
}

impl ApiGroup {
    /// Does the server have this version?
    pub fn has(&self, version: &str) -> bool {
        self.versions.iter().any(|v| v.version == version)
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    namespace: String,
    resource_version: Option<String>,
    #[serde(deserialize_with = "nullable")]
    labels: Labels,
    #[serde(deserialize_with = "nullable")]
    annotations: Annotations,
}

impl Meta {
    fn id(&self) -> Option<ObjectName> {
        (!self.name.is_empty()).then(|| ObjectName::new(&self.namespace, &self.name))
    }
}

#[derive(Deserialize, Default)]
struct Labels {
    /// Set by the EndpointSlice controller; a slice without it belongs to no Service.
    #[serde(rename = "kubernetes.io/service-name")]
    service: Option<String>,
}

#[derive(Deserialize, Default)]
struct Annotations {
    /// Ports to relay as bytes: numbers or names, by commas.
    #[serde(rename = "balance-lab/opaque-ports")]
    opaque_ports: Option<String>,
}

/// `v1` Service.
#[derive(Deserialize)]
pub struct WireService {
    #[serde(default, deserialize_with = "nullable")]
    metadata: Meta,
    #[serde(default, deserialize_with = "nullable")]
    spec: ServiceSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ServiceSpec {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs", deserialize_with = "nullable")]
    cluster_ips: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    ip_families: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    ports: Vec<Port>,
}

/// A port of a Service or of a slice.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: Option<String>,
    port: Option<u16>,
    protocol: Option<String>,
    app_protocol: Option<String>,
}

impl Port {
    /// Its number, if it is a TCP port (the default) and has one. Slices that no Service stands behind may lack it.
    fn tcp(&self) -> Option<u16> {
        let tcp = self.protocol.as_deref().is_none_or(|p| p.is_empty() || p == "TCP");
        self.port.filter(|p| tcp && *p != 0)
    }
}

impl Resource for WireService {
    const PLURAL: &'static str = "services";
    const GROUP: &'static str = "";
    type Model = Service;

    fn model(self) -> Option<Service> {
        let id = self.metadata.id()?;
        let ServiceSpec { kind, cluster_ip, cluster_ips, ip_families, ports } = self.spec;
        // Servers before 1.20 have only the single field.
        let ips = if cluster_ips.is_empty() { cluster_ip.into_iter().collect() } else { cluster_ips };
        let external = kind.as_deref() == Some("ExternalName");
        let opaque = self.metadata.annotations.opaque_ports.unwrap_or_default();
        let ports = ports.into_iter().filter(|_| !external);
        Some(Service {
            id,
            headless: ips.first().is_some_and(|ip| ip == "None"),
            cluster_ips: ips.iter().filter_map(|ip| ip.parse().ok()).collect(),
            families: ip_families.iter().filter_map(|f| family(f)).collect(),
            ports: ports.filter_map(|p| port_spec(p, &opaque)).collect(),
        })
    }

    fn listed(namespace: Option<Arc<str>>, all: Vec<Service>) -> Event {
        Event::Services(namespace, all)
    }

    fn put(model: Service) -> Event {
        Event::Service(model)
    }

    fn deleted(model: Service) -> Event {
        Event::ServiceDeleted(model.id)
    }
}

fn family(text: &str) -> Option<Family> {
    match text {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        _ => None,
    }
}

fn port_spec(port: Port, opaque_ports: &str) -> Option<PortSpec> {
    let number = port.tcp()?;
    let name = port.name.unwrap_or_default();
    let listed = |entry: &str| entry.parse() == Ok(number) || (!name.is_empty() && entry == name);
    // `tcp` is what Istio and others call a protocol that is not to be looked at.
    let opaque = port.app_protocol.as_deref() == Some("tcp") || opaque_ports.split(',').map(str::trim).any(listed);
    Some(PortSpec { name: name.into(), port: number, app_protocol: port.app_protocol.map(Arc::from), opaque })
}

/// `discovery.k8s.io` EndpointSlice, v1 or v1beta1.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireSlice {
    #[serde(default, deserialize_with = "nullable")]
    metadata: Meta,
    #[serde(default, deserialize_with = "nullable")]
    address_type: String,
    #[serde(default, deserialize_with = "nullable")]
    ports: Vec<Port>,
    #[serde(default, deserialize_with = "nullable")]
    endpoints: Vec<WireEndpoint>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireEndpoint {
    #[serde(deserialize_with = "nullable")]
    addresses: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    conditions: Conditions,
    #[serde(deserialize_with = "nullable")]
    target_ref: TargetRef,
    zone: Option<String>,
    node_name: Option<String>,
    #[serde(deserialize_with = "nullable")]
    hints: Hints,
    #[serde(deserialize_with = "nullable")]
    topology: Topology,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TargetRef {
    name: Option<String>,
    uid: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Hints {
    #[serde(deserialize_with = "nullable")]
    for_zones: Vec<ForZone>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ForZone {
    #[serde(deserialize_with = "nullable")]
    name: String,
}

/// v1beta1 only.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Topology {
    #[serde(rename = "topology.kubernetes.io/zone")]
    zone: Option<String>,
    #[serde(rename = "kubernetes.io/hostname")]
    node: Option<String>,
}

impl Resource for WireSlice {
    const PLURAL: &'static str = "endpointslices";
    const GROUP: &'static str = "discovery.k8s.io";
    type Model = Slice;

    fn model(self) -> Option<Slice> {
        let id = self.metadata.id()?;
        let host_names = self.address_type == "FQDN";
        let port = |p: Port| p.tcp().map(|port| SlicePort { name: p.name.unwrap_or_default().into(), port });
        Some(Slice {
            id,
            service: self.metadata.labels.service.filter(|s| !s.is_empty()).map(Arc::from),
            ports: self.ports.into_iter().filter_map(port).collect(),
            endpoints: self.endpoints.into_iter().filter(|_| !host_names).filter_map(endpoint).collect(),
        })
    }

    fn listed(namespace: Option<Arc<str>>, all: Vec<Slice>) -> Event {
        Event::Slices(namespace, all)
    }

    fn put(model: Slice) -> Event {
        Event::Slice(model)
    }

    fn deleted(model: Slice) -> Event {
        Event::SliceDeleted(model.id)
    }
}

fn endpoint(wire: WireEndpoint) -> Option<SliceEndpoint> {
    let shared = |text: Option<String>| text.filter(|t| !t.is_empty()).map(Arc::from);
    let Conditions { ready, serving, terminating } = wire.conditions;
    Some(SliceEndpoint {
        addr: wire.addresses.first()?.parse::<IpAddr>().ok()?,
        standing: Standing::of(ready, serving, terminating),
        pod: shared(wire.target_ref.name),
        uid: shared(wire.target_ref.uid),
        zone: shared(wire.zone.or(wire.topology.zone)),
        node: shared(wire.node_name.or(wire.topology.node)),
        for_zones: wire.hints.for_zones.into_iter().map(|z| z.name.into()).collect(),
    })
}

/// `null` as the default: Go writes an empty list that way.
pub(super) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}
