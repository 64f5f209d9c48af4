//! The catalog against a model that works out every endpoint set from scratch after each of many random events.
//!
//! Events are written as the API server writes them, so reading them is tested too. The model is what the Kubernetes
//! documentation says of EndpointSlices, in the most simple-minded way. A failure prints the seed and the sequence.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ewma_proxy::core::catalog::{Catalog, Change, Event, Limits, ServicePort, ServicePortId};
use ewma_proxy::core::rng::Rng;
use ewma_proxy::core::slices::Endpoint;
use ewma_proxy::kube::types::{watch_event, List, Resource, WatchEvent, WireService, WireSlice};
use serde_json::{json, Value};

const SEQUENCES: u64 = 4_000;
const STEPS: usize = 40;
const NAMESPACES: [&str; 2] = ["blue", "green"];
const SERVICES: [&str; 3] = ["emoji", "voting", "web"];
const SLICES: [&str; 5] = ["s0", "s1", "s2", "s3", "s4"];
const PORT_NAMES: [&str; 3] = ["", "grpc", "admin"];
const PROTOCOLS: [Option<&str>; 5] = [None, None, Some("TCP"), Some("TCP"), Some("UDP")];
const FAMILIES: [&[&str]; 5] = [&["IPv4"], &["IPv6"], &["IPv4", "IPv6"], &["IPv6", "IPv4"], &[]];

/// Namespace and name.
type Id = (&'static str, &'static str);

#[derive(Clone, Debug)]
struct Svc {
    id: Id,
    external: bool,
    cluster_ip: &'static str,
    families: &'static [&'static str],
    ports: Vec<Port>,
}

#[derive(Clone, Debug)]
struct Slc {
    id: Id,
    owner: Option<&'static str>,
    v6: bool,
    ports: Vec<Port>,
    endpoints: Vec<Ep>,
}

#[derive(Clone, Debug)]
struct Port {
    name: &'static str,
    protocol: Option<&'static str>,
    /// A slice's port may have no number.
    number: Option<u16>,
    app_protocol: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct Ep {
    addr: IpAddr,
    uid: Option<String>,
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
    zone: Option<&'static str>,
}

impl Port {
    fn tcp(&self) -> Option<u16> {
        self.number.filter(|_| self.protocol != Some("UDP"))
    }

    fn wire(&self) -> Value {
        // An empty name is written in both ways that the API knows.
        let name = if self.name.is_empty() && self.app_protocol.is_some() { Value::Null } else { self.name.into() };
        json!({ "name": name, "protocol": self.protocol, "port": self.number, "appProtocol": self.app_protocol })
    }
}

impl Svc {
    fn wire(&self) -> Value {
        json!({
            "metadata": { "namespace": self.id.0, "name": self.id.1 },
            "spec": {
                "type": if self.external { "ExternalName" } else { "ClusterIP" },
                "clusterIP": self.cluster_ip,
                "clusterIPs": [self.cluster_ip],
                "ipFamilies": self.families,
                "ports": self.ports.iter().map(Port::wire).collect::<Vec<_>>(),
            },
        })
    }
}

impl Slc {
    fn wire(&self) -> Value {
        let labels = self.owner.map(|owner| json!({ "kubernetes.io/service-name": owner }));
        json!({
            "metadata": { "namespace": self.id.0, "name": self.id.1, "labels": labels },
            "addressType": if self.v6 { "IPv6" } else { "IPv4" },
            "ports": self.ports.iter().map(Port::wire).collect::<Vec<_>>(),
            "endpoints": self.endpoints.iter().map(Ep::wire).collect::<Vec<_>>(),
        })
    }
}

impl Ep {
    fn wire(&self) -> Value {
        let target = self.uid.as_ref().map(|uid| json!({ "kind": "Pod", "name": format!("pod-{uid}"), "uid": uid }));
        json!({
            // Consumers use the first address only.
            "addresses": [self.addr, "192.0.2.1"],
            "conditions": { "ready": self.ready, "serving": self.serving, "terminating": self.terminating },
            "targetRef": target,
            "zone": self.zone,
        })
    }
}

/// A report of the API server.
#[derive(Clone, Debug)]
enum Step {
    Service(Svc),
    ServiceDeleted(Svc),
    Slice(Slc),
    SliceDeleted(Slc),
    Services(Option<&'static str>, Vec<Svc>),
    Slices(Option<&'static str>, Vec<Slc>),
}

fn watched<T: Resource>(kind: &str, object: Value) -> Event {
    let line = json!({ "type": kind, "object": object }).to_string();
    match watch_event::<T>(line.as_bytes()) {
        Ok(WatchEvent::News(Some(event), _)) => event,
        _ => panic!("not understood: {line}"),
    }
}

fn listed<T: Resource>(namespace: Option<&str>, items: Vec<Value>) -> Event {
    let list = json!({ "metadata": { "resourceVersion": "1" }, "items": items });
    let (models, _) = serde_json::from_value::<List<T>>(list).unwrap().read().unwrap();
    T::listed(namespace.map(Arc::from), models)
}

impl Step {
    fn event(&self) -> Event {
        match self {
            Self::Service(s) => watched::<WireService>("MODIFIED", s.wire()),
            Self::ServiceDeleted(s) => watched::<WireService>("DELETED", s.wire()),
            Self::Slice(s) => watched::<WireSlice>("ADDED", s.wire()),
            Self::SliceDeleted(s) => watched::<WireSlice>("DELETED", s.wire()),
            Self::Services(ns, all) => listed::<WireService>(*ns, all.iter().map(Svc::wire).collect()),
            Self::Slices(ns, all) => listed::<WireSlice>(*ns, all.iter().map(Slc::wire).collect()),
        }
    }
}

/// The model: the objects as last reported, and nothing else.
#[derive(Default)]
struct World {
    services: BTreeMap<Id, Svc>,
    slices: BTreeMap<Id, Slc>,
}

/// What the model expects of one Service port.
#[derive(Debug)]
struct Expected {
    port: Port,
    cluster_ip: &'static str,
    /// Address → the UIDs that slices name for it.
    endpoints: BTreeMap<SocketAddr, BTreeSet<String>>,
    /// They all terminate: nothing is ready.
    draining: bool,
}

impl World {
    fn take(&mut self, step: &Step) {
        let of = |ns: &Option<&'static str>, id: &Id| ns.is_none_or(|n| n == id.0);
        match step {
            Step::Service(s) => drop(self.services.insert(s.id, s.clone())),
            Step::ServiceDeleted(s) => drop(self.services.remove(&s.id)),
            Step::Slice(s) => drop(self.slices.insert(s.id, s.clone())),
            Step::SliceDeleted(s) => drop(self.slices.remove(&s.id)),
            Step::Services(ns, all) => {
                self.services.retain(|id, _| !of(ns, id));
                self.services.extend(all.iter().map(|s| (s.id, s.clone())));
            }
            Step::Slices(ns, all) => {
                self.slices.retain(|id, _| !of(ns, id));
                self.slices.extend(all.iter().map(|s| (s.id, s.clone())));
            }
        }
    }

    fn expected(&self) -> BTreeMap<String, Expected> {
        let mut all = BTreeMap::new();
        for s in self.services.values().filter(|s| !s.external) {
            for port in &s.ports {
                let Some(number) = port.tcp() else { continue };
                let (endpoints, draining) = self.endpoints(s, port.name);
                let expected = Expected { port: port.clone(), cluster_ip: s.cluster_ip, endpoints, draining };
                assert!(all.insert(format!("{}/{}:{number}", s.id.0, s.id.1), expected).is_none());
            }
        }
        all
    }

    fn endpoints(&self, s: &Svc, port_name: &str) -> (BTreeMap<SocketAddr, BTreeSet<String>>, bool) {
        let mut ready = Vec::new();
        let mut draining = Vec::new();
        for slice in self.slices.values().filter(|l| l.id.0 == s.id.0 && l.owner == Some(s.id.1)) {
            for number in slice.ports.iter().filter(|p| p.name == port_name).filter_map(Port::tcp) {
                for e in &slice.endpoints {
                    let found = (SocketAddr::new(e.addr, number), e.uid.clone());
                    match (e.ready, e.serving, e.terminating) {
                        (None | Some(true), _, _) => ready.push(found),
                        (Some(false), Some(true), Some(true)) => draining.push(found),
                        _ => {}
                    }
                }
            }
        }
        let only_draining = ready.is_empty() && !draining.is_empty();
        let usable = if only_draining { draining } else { ready };
        let mut result = BTreeMap::<_, BTreeSet<String>>::new();
        for (addr, uid) in &usable {
            let family = |a: &SocketAddr| if a.is_ipv4() { "IPv4" } else { "IPv6" };
            let has = |f: &str| usable.iter().any(|(a, u)| u == uid && family(a) == f);
            let preferred = s.families.iter().chain(&["IPv4", "IPv6"]).find(|f| has(f)).unwrap();
            if family(addr) == *preferred {
                result.entry(*addr).or_default().insert(uid.clone().unwrap_or_else(|| addr.ip().to_string()));
            }
        }
        (result, only_draining)
    }
}

/// Who is told the changes; insists that each of them is one.
#[derive(Debug, Default, PartialEq)]
struct Listener(BTreeMap<ServicePortId, (ServicePort, Arc<[Endpoint]>)>);

impl Listener {
    fn hear(&mut self, changes: Vec<Change>) {
        let rank = |c: &Change| match c {
            Change::Removed(_) => 0,
            Change::Added(_) | Change::Changed(_) => 1,
            Change::Endpoints { .. } => 2,
        };
        assert!(changes.is_sorted_by_key(rank), "removed first, endpoints last: {changes:?}");
        let mut filled = BTreeSet::new();
        for change in changes {
            match change {
                Change::Removed(id) => assert!(self.0.remove(&id).is_some(), "{id} is removed, but was not there"),
                Change::Added(port) => {
                    let before = self.0.insert(port.id.clone(), (port, Arc::from([])));
                    assert_eq!(before, None, "added twice");
                }
                Change::Changed(port) => {
                    let known = self.0.get_mut(&port.id).expect("a change of a known port");
                    assert_ne!(known.0, port, "nothing has changed");
                    known.0 = port;
                }
                Change::Endpoints { service, endpoints } => {
                    let known = self.0.get_mut(&service).expect("endpoints of a known port");
                    assert_ne!(known.1, endpoints, "the same set twice running");
                    known.1 = endpoints;
                    assert!(filled.insert(service), "two sets in one batch: a set between before and after");
                }
            }
        }
    }

    fn check(&self, expected: &BTreeMap<String, Expected>) {
        let heard: Vec<String> = self.0.keys().map(ServicePortId::to_string).collect();
        assert!(heard.iter().eq(expected.keys()), "targets: {heard:?}, the model has {:?}", expected.keys());
        for ((port, endpoints), (key, model)) in self.0.values().zip(expected.iter()) {
            assert_eq!(&*port.port_name, model.port.name, "{key}");
            assert_eq!(port.app_protocol.as_deref(), model.port.app_protocol, "{key}");
            assert_eq!(port.headless, model.cluster_ip == "None", "{key}");
            assert_eq!(port.cluster_ips, model.cluster_ip.parse::<IpAddr>().into_iter().collect::<Vec<_>>(), "{key}");
            let heard: Vec<SocketAddr> = endpoints.iter().map(|e| e.addr).collect();
            assert!(heard.iter().eq(model.endpoints.keys()), "{key}: {heard:?}, the model has {:?}", model.endpoints);
            for e in endpoints.iter() {
                assert!(model.endpoints[&e.addr].contains(&*e.uid), "{key}: no slice says {e:?}");
            }
        }
    }

    fn addresses(&self, target: &str) -> Option<Vec<String>> {
        let (_, found) = self.0.iter().find(|(id, _)| id.to_string() == target)?;
        Some(found.1.iter().map(|e| e.addr.to_string()).collect())
    }
}

fn one_of<T: Copy>(r: &mut Rng, from: &[T]) -> T {
    from[r.below(from.len())]
}

fn chance(r: &mut Rng, percent: usize) -> bool {
    r.below(100) < percent
}

fn shuffle<T>(r: &mut Rng, list: &mut [T]) {
    (1..list.len()).for_each(|i| list.swap(i, r.below(i + 1)));
}

/// Some port names, each once; numbers differ unless one is UDP, as the API demands.
fn ports(r: &mut Rng, base: u16, spread: usize) -> Vec<Port> {
    let mut names = PORT_NAMES.to_vec();
    shuffle(r, &mut names);
    names.truncate(1 + r.below(3));
    let mut taken = BTreeSet::new();
    let mut port = |name| {
        let (protocol, number) = (one_of(r, &PROTOCOLS), base + r.below(spread) as u16);
        let app_protocol = chance(r, 20).then_some("kubernetes.io/h2c");
        taken.insert((protocol == Some("UDP"), number)).then_some(Port {
            name,
            protocol,
            number: Some(number),
            app_protocol,
        })
    };
    names.into_iter().filter_map(&mut port).collect()
}

fn service(r: &mut Rng, id: Id) -> Svc {
    Svc {
        id,
        external: chance(r, 5),
        cluster_ip: one_of(r, &["10.96.0.1", "10.96.0.1", "10.96.0.2", "None", "fd01::1", ""]),
        families: one_of(r, &FAMILIES),
        ports: ports(r, 80, 3),
    }
}

/// One of six pods; there are few addresses, so that they meet in several slices and go to other pods.
fn endpoint(r: &mut Rng, v6: bool) -> Ep {
    let n = 1 + r.below(6) as u8;
    let condition = |r: &mut Rng| one_of(r, &[None, Some(true), Some(true), Some(false), Some(false)]);
    let v4 = IpAddr::from(Ipv4Addr::new(10, 0, 0, n));
    Ep {
        addr: if v6 { IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n.into())) } else { v4 },
        uid: (!chance(r, 10)).then(|| format!("{n}-{}", usize::from(chance(r, 15)))),
        ready: if chance(r, 30) { Some(true) } else { condition(r) },
        serving: condition(r),
        terminating: condition(r),
        zone: one_of(r, &[None, Some("west")]),
    }
}

fn slice(r: &mut Rng, id: Id) -> Slc {
    let v6 = chance(r, 30);
    let mut ports = ports(r, 8080, 2);
    if let Some(last) = ports.last_mut().filter(|_| chance(r, 5)) {
        last.number = None;
    }
    Slc {
        id,
        owner: if chance(r, 5) { None } else { Some(one_of(r, &SERVICES)) },
        v6,
        ports,
        endpoints: (0..r.below(5)).map(|_| endpoint(r, v6)).collect(),
    }
}

/// What the API server might report next; several reports where an endpoint moves.
fn next(r: &mut Rng, world: &World) -> Vec<Step> {
    let ns = one_of(r, &NAMESPACES);
    let service_id = (ns, one_of(r, &SERVICES));
    let (slice_id, other_slice) = ((ns, one_of(r, &SLICES)), (ns, one_of(r, &SLICES)));
    match r.below(100) {
        0..=17 => vec![Step::Service(service(r, service_id))],
        18..=24 => vec![Step::ServiceDeleted(service(r, service_id))],
        25..=49 => vec![Step::Slice(slice(r, slice_id))],
        50..=59 => vec![Step::SliceDeleted(slice(r, slice_id))],
        60..=69 => vec![changed_in_place(r, world, slice_id)],
        70..=79 => moved(r, world, slice_id, other_slice),
        80..=84 => world.services.get(&service_id).cloned().map(Step::Service).into_iter().collect(),
        85..=92 => vec![relisted_services(r, world)],
        _ => vec![relisted_slices(r, world)],
    }
}

/// The slice as it is, but for one endpoint or for its owner.
fn changed_in_place(r: &mut Rng, world: &World, id: Id) -> Step {
    let Some(mut slice) = world.slices.get(&id).cloned() else { return Step::Slice(slice(r, id)) };
    match r.below(3) {
        0 => slice.owner = Some(one_of(r, &SERVICES)),
        1 => slice.endpoints.push(endpoint(r, slice.v6)),
        _ if slice.endpoints.is_empty() => {}
        _ => {
            let at = r.below(slice.endpoints.len());
            slice.endpoints[at] = endpoint(r, slice.v6);
        }
    }
    Step::Slice(slice)
}

/// An endpoint goes from one slice to another, in either order.
fn moved(r: &mut Rng, world: &World, from: Id, to: Id) -> Vec<Step> {
    let (Some(mut from), Some(mut to)) = (world.slices.get(&from).cloned(), world.slices.get(&to).cloned()) else {
        return vec![];
    };
    if from.id == to.id || from.v6 != to.v6 || from.endpoints.is_empty() {
        return vec![];
    }
    to.endpoints.push(from.endpoints.swap_remove(r.below(from.endpoints.len())));
    let mut steps = vec![Step::Slice(from), Step::Slice(to)];
    shuffle(r, &mut steps);
    steps
}

/// A list after some changes that no event told of.
fn relisted_services(r: &mut Rng, world: &World) -> Step {
    let ns = one_of(r, &[None, Some(NAMESPACES[0]), Some(NAMESPACES[1])]);
    let mut all = Vec::new();
    for id in NAMESPACES.into_iter().filter(|n| ns.is_none_or(|ns| ns == *n)).flat_map(|n| SERVICES.map(|s| (n, s))) {
        match r.below(10) {
            0 => {}
            1 => all.push(service(r, id)),
            _ => all.extend(world.services.get(&id).cloned()),
        }
    }
    shuffle(r, &mut all);
    Step::Services(ns, all)
}

fn relisted_slices(r: &mut Rng, world: &World) -> Step {
    let ns = one_of(r, &[None, Some(NAMESPACES[0]), Some(NAMESPACES[1])]);
    let mut all = Vec::new();
    for id in NAMESPACES.into_iter().filter(|n| ns.is_none_or(|ns| ns == *n)).flat_map(|n| SLICES.map(|s| (n, s))) {
        match r.below(10) {
            0 => {}
            1 => all.push(slice(r, id)),
            _ => all.extend(world.slices.get(&id).cloned()),
        }
    }
    shuffle(r, &mut all);
    Step::Slices(ns, all)
}

/// What led to a failure.
struct Story {
    seed: u64,
    steps: Vec<Step>,
}

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}, after these steps:", self.seed);
            self.steps.iter().enumerate().for_each(|(i, step)| eprintln!("{i}: {step:?}"));
        }
    }
}

fn told(changes: Vec<Change>) -> Listener {
    let mut listener = Listener::default();
    listener.hear(changes);
    listener
}

/// A catalog that learns of the world by two lists, in any order.
fn by_lists(r: &mut Rng, world: &World) -> Catalog {
    let (mut services, mut slices) = (Vec::from_iter(world.services.values()), Vec::from_iter(world.slices.values()));
    shuffle(r, &mut services);
    shuffle(r, &mut slices);
    let mut lists = [
        Step::Services(None, services.into_iter().cloned().collect()),
        Step::Slices(None, slices.into_iter().cloned().collect()),
    ];
    shuffle(r, &mut lists);
    let mut catalog = Catalog::default();
    lists.iter().for_each(|list| drop(catalog.apply(list.event())));
    catalog
}

#[test]
fn after_any_events_in_any_order_the_endpoints_are_those_of_the_model() {
    let (mut reports, mut with_endpoints, mut shared, mut draining) = (0, 0, 0, 0);
    for seed in 0..SEQUENCES {
        let r = &mut Rng::new(seed);
        let mut story = Story { seed, steps: vec![] };
        let (mut world, mut catalog, mut listener) = (World::default(), Catalog::default(), Listener::default());
        for _ in 0..STEPS {
            for step in next(r, &world) {
                story.steps.push(step.clone());
                world.take(&step);
                listener.hear(catalog.apply(step.event()));
                let expected = world.expected();
                listener.check(&expected);
                let sets = || expected.values().map(|e| &e.endpoints);
                reports += 1;
                with_endpoints += usize::from(sets().any(|s| !s.is_empty()));
                shared += usize::from(sets().any(|s| s.values().any(|uids| uids.len() > 1)));
                draining += usize::from(expected.values().any(|e| e.draining));
            }
        }
        assert_eq!(told(catalog.snapshot()), listener, "the snapshot is what was told");
        assert_eq!(by_lists(r, &world).snapshot(), catalog.snapshot(), "the way to a state does not show in it");
        assert_eq!(catalog.left_out(), 0);
        listener.hear(catalog.apply(Step::Slices(None, vec![]).event()));
        assert!(listener.0.values().all(|(_, endpoints)| endpoints.is_empty()));
        listener.hear(catalog.apply(Step::Services(None, vec![]).event()));
        assert_eq!(listener, Listener::default());
    }
    // The chance above is worth nothing if it leads nowhere.
    assert!(reports > 100_000 && with_endpoints > reports / 3, "{with_endpoints} of {reports} with endpoints");
    assert!(shared > 1_000 && draining > 1_000, "{shared} with two pods at an address, {draining} draining");
}

#[test]
fn reports_that_repeat_what_is_known_change_nothing() {
    for seed in 0..500 {
        let r = &mut Rng::new(seed);
        let mut story = Story { seed, steps: vec![] };
        let (mut world, mut catalog) = (World::default(), Catalog::default());
        for _ in 0..STEPS {
            for step in next(r, &world) {
                story.steps.push(step.clone());
                world.take(&step);
                catalog.apply(step.event());
                assert_eq!(catalog.apply(step.event()), vec![]);
            }
        }
        let all = |ns| Step::Services(ns, world.services.values().cloned().collect());
        assert_eq!(catalog.apply(all(None).event()), vec![]);
        assert_eq!(catalog.apply(Step::Slices(None, world.slices.values().cloned().collect()).event()), vec![]);
    }
}

fn web() -> Svc {
    let port = Port { name: "grpc", protocol: Some("TCP"), number: Some(80), app_protocol: None };
    Svc { id: ("blue", "web"), external: false, cluster_ip: "10.96.0.1", families: &["IPv4"], ports: vec![port] }
}

fn slice_of_web(name: &'static str, pods: &[(u8, &str)]) -> Slc {
    let ready = |(n, uid): &(u8, &str)| Ep {
        addr: Ipv4Addr::new(10, 0, 0, *n).into(),
        uid: Some((*uid).to_owned()),
        ready: Some(true),
        serving: None,
        terminating: None,
        zone: None,
    };
    let port = Port { name: "grpc", protocol: Some("TCP"), number: Some(8080), app_protocol: None };
    let endpoints = pods.iter().map(ready).collect();
    Slc { id: ("blue", name), owner: Some("web"), v6: false, ports: vec![port], endpoints }
}

/// A catalog and who listens to it, with these reports heard.
fn after(steps: &[Step]) -> (Catalog, Listener) {
    let (mut catalog, mut listener) = (Catalog::default(), Listener::default());
    steps.iter().for_each(|step| listener.hear(catalog.apply(step.event())));
    (catalog, listener)
}

#[test]
fn a_slice_that_comes_before_its_service_waits_for_it() {
    let (mut catalog, mut listener) = after(&[Step::Slice(slice_of_web("s0", &[(1, "a")]))]);
    assert_eq!(listener, Listener::default());
    listener.hear(catalog.apply(Step::Service(web()).event()));
    assert_eq!(listener.addresses("blue/web:80"), Some(vec!["10.0.0.1:8080".to_owned()]));
}

#[test]
fn a_pod_that_moves_to_another_slice_never_leaves_if_the_new_slice_comes_first() {
    let (with, without) = (slice_of_web("s0", &[(1, "a"), (2, "b")]), slice_of_web("s0", &[(1, "a")]));
    let (mut catalog, _) = after(&[Step::Service(web()), Step::Slice(with)]);
    assert_eq!(catalog.apply(Step::Slice(slice_of_web("s1", &[(2, "b")])).event()), vec![]);
    assert_eq!(catalog.apply(Step::Slice(without).event()), vec![]);
}

#[test]
fn a_pod_that_moves_to_another_slice_comes_back_as_the_same_if_the_old_slice_comes_first() {
    let (with, without) = (slice_of_web("s0", &[(1, "a"), (2, "b")]), slice_of_web("s0", &[(1, "a")]));
    let (mut catalog, mut listener) = after(&[Step::Service(web()), Step::Slice(with)]);
    let before = listener.0.clone();
    listener.hear(catalog.apply(Step::Slice(without).event()));
    assert_eq!(listener.addresses("blue/web:80"), Some(vec!["10.0.0.1:8080".to_owned()]));
    listener.hear(catalog.apply(Step::Slice(slice_of_web("s1", &[(2, "b")])).event()));
    assert_eq!(listener.0, before);
}

#[test]
fn a_list_in_which_a_pod_has_moved_changes_nothing() {
    let (mut catalog, _) = after(&[Step::Service(web()), Step::Slice(slice_of_web("s0", &[(1, "a"), (2, "b")]))]);
    let list = vec![slice_of_web("s1", &[(2, "b")]), slice_of_web("s2", &[(1, "a")])];
    assert_eq!(catalog.apply(Step::Slices(Some("blue"), list).event()), vec![]);
}

#[test]
fn a_deleted_service_leaves_no_target_and_finds_its_slices_when_it_comes_back() {
    let (mut catalog, mut listener) = after(&[Step::Service(web()), Step::Slice(slice_of_web("s0", &[(1, "a")]))]);
    listener.hear(catalog.apply(Step::ServiceDeleted(web()).event()));
    assert_eq!(listener, Listener::default());
    assert_eq!(catalog.snapshot(), vec![]);
    // Slices are removed later, by the garbage collector: that is no news.
    assert_eq!(catalog.apply(Step::Slice(slice_of_web("s0", &[])).event()), vec![]);
    assert_eq!(catalog.apply(Step::Slice(slice_of_web("s0", &[(3, "c")])).event()), vec![]);
    listener.hear(catalog.apply(Step::Service(web()).event()));
    assert_eq!(listener.addresses("blue/web:80"), Some(vec!["10.0.0.3:8080".to_owned()]));
}

#[test]
fn zone_hints_are_followed_only_if_all_have_one_and_one_is_ours() {
    let slice = |hints: &[&[&str]]| {
        let endpoint = |(n, zones): (usize, &&[&str])| {
            let zones: Vec<Value> = zones.iter().map(|z| json!({ "name": z })).collect();
            json!({ "addresses": [format!("10.0.0.{n}")], "hints": { "forZones": zones } })
        };
        watched::<WireSlice>(
            "ADDED",
            json!({
                "metadata": { "namespace": "blue", "name": "s", "labels": { "kubernetes.io/service-name": "web" } },
                "addressType": "IPv4",
                "ports": [{ "name": "grpc", "port": 8080 }],
                "endpoints": hints.iter().enumerate().map(endpoint).collect::<Vec<_>>(),
            }),
        )
    };
    let found = |zone: Option<&str>, hints: &[&[&str]]| {
        let mut catalog = Catalog::default().in_zone(zone.map(Into::into));
        catalog.apply(Step::Service(web()).event());
        let mut listener = Listener::default();
        listener.hear(catalog.snapshot());
        listener.hear(catalog.apply(slice(hints)));
        listener.addresses("blue/web:80").unwrap_or_default().len()
    };
    let hinted: &[&[&str]] = &[&["a"], &["a", "b"], &["b"]];
    assert_eq!((found(Some("a"), hinted), found(Some("b"), hinted)), (2, 2));
    assert_eq!(found(None, hinted), 3, "nobody asked");
    assert_eq!(found(Some("c"), hinted), 3, "none is meant for us");
    assert_eq!(found(Some("a"), &[&["a"], &[]]), 2, "one has no hint");
}

#[test]
fn a_pod_that_replaces_another_at_its_address_is_another_endpoint() {
    let (mut catalog, mut listener) = after(&[Step::Service(web()), Step::Slice(slice_of_web("s0", &[(1, "a")]))]);
    let uids = |listener: &Listener| -> Vec<String> {
        listener.0.values().flat_map(|(_, set)| set.iter().map(|e| e.uid.to_string())).collect()
    };
    assert_eq!(uids(&listener), ["a"]);
    let changes = catalog.apply(Step::Slice(slice_of_web("s0", &[(1, "b")])).event());
    assert_eq!(changes.len(), 1);
    listener.hear(changes);
    assert_eq!(uids(&listener), ["b"]);
}

#[test]
fn an_address_that_two_pods_have_for_a_moment_counts_once() {
    // Slices are written one by one: the old pod may still stand in one when the next has its address in another.
    let old = Step::Slice(slice_of_web("s0", &[(1, "a")]));
    let (mut catalog, mut listener) = after(&[Step::Service(web()), old]);
    listener.hear(catalog.apply(Step::Slice(slice_of_web("s1", &[(1, "b")])).event()));
    assert_eq!(listener.addresses("blue/web:80"), Some(vec!["10.0.0.1:8080".to_owned()]));
    listener.hear(catalog.apply(Step::SliceDeleted(slice_of_web("s0", &[])).event()));
    assert!(listener.0.values().all(|(_, set)| set.len() == 1 && &*set[0].uid == "b"));
}

#[test]
fn what_a_limit_leaves_out_is_counted_and_comes_with_the_next_list() {
    let limits = Limits { services: 1, slices: 1, endpoints_per_service: 2 };
    let (mut catalog, mut listener) = (Catalog::new(limits), Listener::default());
    let other = Svc { id: ("blue", "other"), ..web() };
    let three = slice_of_web("s0", &[(3, "c"), (1, "a"), (2, "b")]);
    for step in [Step::Service(other.clone()), Step::Service(web()), Step::Slice(three.clone())] {
        listener.hear(catalog.apply(step.event()));
    }
    assert_eq!(catalog.left_out(), 1);
    assert_eq!(listener.addresses("blue/web:80"), None);
    listener.hear(catalog.apply(Step::ServiceDeleted(other).event()));
    listener.hear(catalog.apply(Step::Services(None, vec![web()]).event()));
    let two = vec!["10.0.0.1:8080".to_owned(), "10.0.0.2:8080".to_owned()];
    assert_eq!(listener.addresses("blue/web:80"), Some(two.clone()));
    assert_eq!(catalog.apply(Step::Slice(slice_of_web("s1", &[(4, "d")])).event()), vec![]);
    assert_eq!(catalog.left_out(), 2);
    // One that is known may change though the catalog is full.
    listener.hear(catalog.apply(Step::Slice(slice_of_web("s0", &[(2, "b")])).event()));
    assert_eq!(listener.addresses("blue/web:80"), Some(two[1..].to_vec()));
}
