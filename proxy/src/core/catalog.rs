//! Services and EndpointSlices as the API server reports them → what has changed for the proxy.
//!
//! Rules:
//! - lists and watch events come in any order; a slice may come before its Service, leave after it, or change its owner;
//! - a list is taken as a difference: what it lacks leaves, what it has stays or changes, and no set is empty in between;
//! - only what differs is told, and only where it matters: an event that changes nothing effective gives no change;
//! - memory is bounded by [`Limits`].
//!
//! Must not know: JSON, API versions, sockets, clocks, who is watching.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::core::slices::{effective, Endpoint, Family, ObjectName, Slice};

/// A Service, as far as it matters here. One of type ExternalName has no ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub id: ObjectName,
    /// Its virtual addresses, in its own order; none for a headless one.
    pub cluster_ips: Vec<IpAddr>,
    /// `clusterIP: None`.
    pub headless: bool,
    /// `ipFamilies`, in its own order.
    pub families: Vec<Family>,
    /// Its TCP ports.
    pub ports: Vec<PortSpec>,
}

/// A port in a Service's spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// Its name; empty if it has none.
    pub name: Arc<str>,
    /// Its number.
    pub port: u16,
    /// `appProtocol`.
    pub app_protocol: Option<Arc<str>>,
    /// To be relayed as bytes, without looking at them.
    pub opaque: bool,
}

/// A TCP port of a Service: what the proxy balances over. Shown as `namespace/name:port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePortId {
    /// The Service.
    pub service: ObjectName,
    /// The Service's port, not the pods'.
    pub port: u16,
}

impl fmt::Display for ServicePortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.port)
    }
}

/// All that is known of a Service's port but its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Which one.
    pub id: ServicePortId,
    /// Its name; empty if it has none.
    pub port_name: Arc<str>,
    /// The Service's virtual addresses.
    pub cluster_ips: Vec<IpAddr>,
    /// The Service has no virtual address on purpose: clients connect to pods.
    pub headless: bool,
    /// What the Service says of its protocol.
    pub app_protocol: Option<Arc<str>>,
    /// To be relayed as bytes, without looking at them.
    pub opaque: bool,
}

/// News for the proxy. In one batch `Removed` comes first, `Endpoints` last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The port is new; it has no endpoints until `Endpoints` tells of some.
    Added(ServicePort),
    /// Something of the port but its endpoints is new.
    Changed(ServicePort),
    /// The port is gone, and its endpoints with it.
    Removed(ServicePortId),
    /// The port's endpoints are now these, sorted by address; never the same set twice running.
    Endpoints {
        /// Of which port.
        service: ServicePortId,
        /// The whole set.
        endpoints: Arc<[Endpoint]>,
    },
}

/// What the API server reports.
#[derive(Clone, Debug)]
pub enum Event {
    /// All Services of a namespace; of all namespaces if `None`.
    Services(Option<Arc<str>>, Vec<Service>),
    /// All slices of a namespace; of all namespaces if `None`.
    Slices(Option<Arc<str>>, Vec<Slice>),
    /// A Service was added or modified.
    Service(Service),
    /// A slice was added or modified.
    Slice(Slice),
    /// A Service was deleted.
    ServiceDeleted(ObjectName),
    /// A slice was deleted.
    SliceDeleted(ObjectName),
}

/// Bounds on what is kept. Objects beyond them are left out and counted; they get another chance at the next list.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Services. 5,000 is half of what Kubernetes is tested with, per cluster.
    pub services: usize,
    /// Slices. 20,000: four for each Service.
    pub slices: usize,
    /// Endpoints of one Service port, first by address. 10,000 is about 2 MiB.
    pub endpoints_per_service: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { services: 5_000, slices: 20_000, endpoints_per_service: 10_000 }
    }
}

/// The state of the namespaces that are watched.
#[derive(Debug, Default)]
pub struct Catalog {
    limits: Limits,
    /// Our zone, if hints are to be followed.
    zone: Option<Arc<str>>,
    services: HashMap<ObjectName, Service>,
    slices: HashMap<ObjectName, Slice>,
    /// Service → its slices.
    owned: HashMap<ObjectName, BTreeSet<ObjectName>>,
    /// What the proxy has been told.
    told: BTreeMap<ServicePortId, (ServicePort, Arc<[Endpoint]>)>,
    left_out: u64,
}

impl Catalog {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The same, following the hints for this zone.
    pub fn in_zone(self, zone: Option<Arc<str>>) -> Self {
        Self { zone, ..self }
    }

    /// Takes in a report and tells what it changes.
    pub fn apply(&mut self, event: Event) -> Vec<Change> {
        let touched = match event {
            Event::Services(namespace, list) => self.list_services(namespace.as_deref(), list),
            Event::Slices(namespace, list) => self.list_slices(namespace.as_deref(), list),
            Event::Service(service) => self.put_service(service).into_iter().collect(),
            Event::Slice(slice) => self.put_slice(slice),
            Event::ServiceDeleted(id) => self.services.remove(&id).map(|s| s.id).into_iter().collect(),
            Event::SliceDeleted(id) => self.drop_slice(&id).into_iter().collect(),
        };
        let mut changes: Vec<Change> = touched.iter().flat_map(|service| self.reconcile(service)).collect();
        // Stable: within a kind the order of services and ports stays.
        changes.sort_by_key(|c| match c {
            Change::Removed(_) => 0,
            Change::Added(_) | Change::Changed(_) => 1,
            Change::Endpoints { .. } => 2,
        });
        changes
    }

    /// The whole state as changes from nothing.
    pub fn snapshot(&self) -> Vec<Change> {
        let added = self.told.values().map(|(port, _)| Change::Added(port.clone()));
        let filled = self.told.iter().filter(|(_, (_, endpoints))| !endpoints.is_empty());
        let endpoints =
            filled.map(|(id, (_, set))| Change::Endpoints { service: id.clone(), endpoints: Arc::clone(set) });
        added.chain(endpoints).collect()
    }

    /// How many objects were left out because of [`Limits`], counted each time.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    fn list_services(&mut self, namespace: Option<&str>, list: Vec<Service>) -> BTreeSet<ObjectName> {
        let kept: BTreeSet<ObjectName> = list.iter().map(|s| s.id.clone()).collect();
        let gone = missing(self.services.keys(), namespace, &kept);
        for id in &gone {
            self.services.remove(id);
        }
        let mut touched: BTreeSet<ObjectName> = gone.into_iter().collect();
        touched.extend(list.into_iter().filter_map(|service| self.put_service(service)));
        touched
    }

    fn list_slices(&mut self, namespace: Option<&str>, list: Vec<Slice>) -> BTreeSet<ObjectName> {
        let kept: BTreeSet<ObjectName> = list.iter().map(|s| s.id.clone()).collect();
        let gone = missing(self.slices.keys(), namespace, &kept);
        let mut touched: BTreeSet<ObjectName> = gone.iter().filter_map(|id| self.drop_slice(id)).collect();
        for slice in list {
            touched.extend(self.put_slice(slice));
        }
        touched
    }

    fn put_service(&mut self, service: Service) -> Option<ObjectName> {
        if self.services.len() >= self.limits.services && !self.services.contains_key(&service.id) {
            self.left_out += 1;
            return None;
        }
        let id = service.id.clone();
        self.services.insert(id.clone(), service);
        Some(id)
    }

    /// Gives the Services that had or now have the slice.
    fn put_slice(&mut self, slice: Slice) -> BTreeSet<ObjectName> {
        let mut touched: BTreeSet<ObjectName> = self.drop_slice(&slice.id).into_iter().collect();
        let Some(owner) = owner(&slice) else { return touched };
        if self.slices.len() >= self.limits.slices {
            self.left_out += 1;
            return touched;
        }
        self.owned.entry(owner.clone()).or_default().insert(slice.id.clone());
        self.slices.insert(slice.id.clone(), slice);
        touched.insert(owner);
        touched
    }

    /// Gives the Service that had the slice.
    fn drop_slice(&mut self, id: &ObjectName) -> Option<ObjectName> {
        let owner = owner(&self.slices.remove(id)?)?;
        if let Some(slices) = self.owned.get_mut(&owner) {
            slices.remove(id);
            if slices.is_empty() {
                self.owned.remove(&owner);
            }
        }
        Some(owner)
    }

    /// Brings what was told of one Service in line with what is known of it.
    fn reconcile(&mut self, service: &ObjectName) -> Vec<Change> {
        let wanted = self.wanted(service);
        let at = |port| ServicePortId { service: service.clone(), port };
        let told: Vec<ServicePortId> = self.told.range(at(0)..=at(u16::MAX)).map(|(id, _)| id.clone()).collect();
        let mut changes = Vec::new();
        for id in told.into_iter().filter(|id| wanted.iter().all(|(port, _)| port.id != *id)) {
            self.told.remove(&id);
            changes.push(Change::Removed(id));
        }
        for (port, endpoints) in wanted {
            changes.extend(self.tell(port, endpoints));
        }
        changes
    }

    fn wanted(&self, service: &ObjectName) -> Vec<(ServicePort, Vec<Endpoint>)> {
        let Some(known) = self.services.get(service) else { return Vec::new() };
        let slices = || {
            let names = self.owned.get(service).into_iter().flatten();
            names.filter_map(|id| self.slices.get(id))
        };
        let limit = self.limits.endpoints_per_service;
        let zone = self.zone.as_deref();
        let endpoints = |spec: &PortSpec| effective(slices(), &spec.name, &known.families, zone, limit);
        known.ports.iter().map(|spec| (service_port(known, spec), endpoints(spec))).collect()
    }

    fn tell(&mut self, port: ServicePort, endpoints: Vec<Endpoint>) -> Vec<Change> {
        let id = port.id.clone();
        let mut changes = Vec::new();
        let known = match self.told.get_mut(&id) {
            Some(known) => {
                if known.0 != port {
                    known.0 = port.clone();
                    changes.push(Change::Changed(port));
                }
                known
            }
            None => {
                changes.push(Change::Added(port.clone()));
                self.told.entry(id.clone()).or_insert((port, Arc::from([])))
            }
        };
        if *known.1 != *endpoints {
            known.1 = endpoints.into();
            changes.push(Change::Endpoints { service: id, endpoints: Arc::clone(&known.1) });
        }
        changes
    }
}

fn service_port(service: &Service, spec: &PortSpec) -> ServicePort {
    ServicePort {
        id: ServicePortId { service: service.id.clone(), port: spec.port },
        port_name: Arc::clone(&spec.name),
        cluster_ips: service.cluster_ips.clone(),
        headless: service.headless,
        app_protocol: spec.app_protocol.clone(),
        opaque: spec.opaque,
    }
}

fn owner(slice: &Slice) -> Option<ObjectName> {
    let name = Arc::clone(slice.service.as_ref()?);
    Some(ObjectName { namespace: Arc::clone(&slice.id.namespace), name })
}

/// The known objects of the listed namespace that the list lacks.
fn missing<'a>(
    known: impl Iterator<Item = &'a ObjectName>,
    namespace: Option<&str>,
    kept: &BTreeSet<ObjectName>,
) -> Vec<ObjectName> {
    let listed = |id: &ObjectName| namespace.is_none_or(|n| n == &*id.namespace);
    known.filter(|id| listed(id) && !kept.contains(id)).cloned().collect()
}
