//! EndpointSlices of one Service → the endpoints that requests may go to.
//!
//! Rules (Kubernetes API reference, EndpointSlice v1; KEP-752, KEP-1669 for terminating endpoints, KEP-563 for dual stack):
//! - the slices of a Service are one set; an address and port that several slices name counts once, even if they
//!   disagree on the pod (an old one's slice is behind): two entries would give one server two shares;
//! - `ready` that is not stated means true; while nothing is ready, what still serves while terminating is used;
//! - a port is found by its name, in each slice anew: a named target port may have another number there;
//! - a pod with an address of each family is one endpoint, by the family the Service puts first, else IPv4;
//! - zone hints are followed if asked for, and only if all have one and one is for us (KEP-2433);
//! - an endpoint is known by pod UID and address, so an IP that goes to another pod is another endpoint.
//!
//! Must not know: JSON, API versions, sockets, clocks, who is watching.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Namespace and name of an API object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ObjectName {
    /// The name of `name` in `namespace`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Where a request can go: one pod's port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The pod's address and the port it listens on.
    pub addr: SocketAddr,
    /// The pod's address of the other family, if it has both.
    pub also: Option<SocketAddr>,
    /// The UID of the object behind it; the address where the slice names none.
    pub uid: Arc<str>,
    /// The pod's name; the address where the slice names none.
    pub pod: Arc<str>,
    /// The zone it runs in.
    pub zone: Option<Arc<str>>,
    /// The node it runs on.
    pub node: Option<Arc<str>>,
}

/// An address family, as a Service's `ipFamilies` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What an endpoint's conditions come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Takes requests.
    Ready,
    /// Is ending but still serves: better than nothing.
    Draining,
    /// Is not to be used.
    Unusable,
}

impl Standing {
    /// Reads the conditions; `None` is a condition that is not stated: ready then is true, serving is what ready is,
    /// terminating is false.
    pub fn of(ready: Option<bool>, serving: Option<bool>, terminating: Option<bool>) -> Self {
        let ready = ready.unwrap_or(true);
        if ready {
            Self::Ready
        } else if serving.unwrap_or(ready) && terminating.unwrap_or(false) {
            Self::Draining
        } else {
            Self::Unusable
        }
    }
}

/// One EndpointSlice, as far as it matters here. A slice of host names (FQDN) has no endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Its own name.
    pub id: ObjectName,
    /// The Service it belongs to (label `kubernetes.io/service-name`), in its own namespace.
    pub service: Option<Arc<str>>,
    /// Its TCP ports that have a number.
    pub ports: Vec<SlicePort>,
    /// Its endpoints; each is meant with each of the ports.
    pub endpoints: Vec<SliceEndpoint>,
}

/// A port of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// The name of the Service's port; empty if that has none.
    pub name: Arc<str>,
    /// The number the pods of this slice listen on.
    pub port: u16,
}

/// An endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its first address; the API says that consumers use no other.
    pub addr: IpAddr,
    /// May it be used?
    pub standing: Standing,
    /// `targetRef.name`.
    pub pod: Option<Arc<str>>,
    /// `targetRef.uid`.
    pub uid: Option<Arc<str>>,
    /// Its zone.
    pub zone: Option<Arc<str>>,
    /// Its node.
    pub node: Option<Arc<str>>,
    /// `hints.forZones`: where its clients should be.
    pub for_zones: Vec<Arc<str>>,
}

/// The endpoints of a Service's port `port_name`, sorted by address, each once, at most `limit`.
///
/// `families` is the Service's order; a family that it does not name comes last, IPv4 before IPv6. The result does not
/// depend on the order of `slices`. With a `zone` the slices' hints for it are followed.
pub fn effective<'a>(
    slices: impl Iterator<Item = &'a Slice>,
    port_name: &str,
    families: &[Family],
    zone: Option<&str>,
    limit: usize,
) -> Vec<Endpoint> {
    let mut found = candidates(slices, port_name, zone);
    if found.iter().any(|c| c.standing == Standing::Ready) {
        found.retain(|c| c.standing == Standing::Ready);
        keep_zone(&mut found);
    }
    keep_one_family(&mut found, families);
    let mut endpoints: Vec<Endpoint> = found.into_iter().map(|c| c.endpoint).collect();
    // The whole value is the sort key, so that of two slices that disagree on a pod or a zone always the same one wins.
    endpoints.sort_unstable();
    endpoints.dedup_by(|a, b| a.addr == b.addr);
    endpoints.truncate(limit);
    endpoints
}

/// An endpoint that might be used, before the set as a whole is looked at.
struct Candidate {
    endpoint: Endpoint,
    standing: Standing,
    /// The slice names the object behind it, so its addresses can be told to be one pod's.
    identified: bool,
    /// It is meant for our zone; None if it has no hint, or nobody asked.
    ours: Option<bool>,
}

fn candidates<'a>(slices: impl Iterator<Item = &'a Slice>, port_name: &str, zone: Option<&str>) -> Vec<Candidate> {
    let mut found = Vec::new();
    for slice in slices {
        for port in slice.ports.iter().filter(|p| &*p.name == port_name) {
            let usable = slice.endpoints.iter().filter(|e| e.standing != Standing::Unusable);
            found.extend(usable.map(|e| candidate(e, port.port, zone)));
        }
    }
    found
}

fn candidate(from: &SliceEndpoint, port: u16, zone: Option<&str>) -> Candidate {
    let addr = SocketAddr::new(from.addr, port);
    let or_address = |text: &Option<Arc<str>>| text.clone().unwrap_or_else(|| from.addr.to_string().into());
    Candidate {
        endpoint: Endpoint {
            addr,
            also: None,
            uid: or_address(&from.uid),
            pod: or_address(&from.pod),
            zone: from.zone.clone(),
            node: from.node.clone(),
        },
        standing: from.standing,
        identified: from.uid.is_some(),
        ours: zone.filter(|_| !from.for_zones.is_empty()).map(|zone| from.for_zones.iter().any(|z| &**z == zone)),
    }
}

/// Leaves those that are meant for our zone, as kube-proxy does (KEP-2433): only if every one has a hint, so that
/// a set that is half written moves nothing, and only if one of them is for us.
fn keep_zone(found: &mut Vec<Candidate>) {
    if found.iter().all(|c| c.ours.is_some()) && found.iter().any(|c| c.ours == Some(true)) {
        found.retain(|c| c.ours == Some(true));
    }
}

/// Leaves each pod the addresses of one family. Endpoints without a pod cannot be paired: they are taken as one group.
fn keep_one_family(found: &mut Vec<Candidate>, families: &[Family]) {
    let rank = |addr: &SocketAddr| {
        let family = if addr.is_ipv4() { Family::V4 } else { Family::V6 };
        let unnamed = families.len() + usize::from(family == Family::V6);
        families.iter().position(|f| *f == family).unwrap_or(unnamed)
    };
    let group = |c: &Candidate| c.identified.then(|| c.endpoint.uid.clone());
    let ranks = || found.iter().map(|c| rank(&c.endpoint.addr));
    if ranks().min() == ranks().max() {
        return; // One family only, as nearly always.
    }
    let mut best: BTreeMap<Option<Arc<str>>, usize> = BTreeMap::new();
    for c in found.iter() {
        let rank = rank(&c.endpoint.addr);
        best.entry(group(c)).and_modify(|b| *b = rank.min(*b)).or_insert(rank);
    }
    let best = |c: &Candidate| best.get(&group(c)) == Some(&rank(&c.endpoint.addr));
    let others: BTreeMap<(Arc<str>, u16), SocketAddr> = found
        .iter()
        .filter(|c| c.identified && !best(c))
        .map(|c| ((c.endpoint.uid.clone(), c.endpoint.addr.port()), c.endpoint.addr))
        .collect();
    found.retain(best);
    for c in found.iter_mut().filter(|c| c.identified) {
        c.endpoint.also = others.get(&(c.endpoint.uid.clone(), c.endpoint.addr.port())).copied();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_with_two_families_is_one_endpoint_that_knows_its_other_address() {
        let slice = |ip: &str, pods: &[(&str, &str)]| Slice {
            id: ObjectName::new("lab", ip),
            service: Some("voting".into()),
            ports: vec![SlicePort { name: "".into(), port: 8080 }],
            endpoints: pods
                .iter()
                .map(|(addr, uid)| SliceEndpoint {
                    addr: addr.parse().unwrap(),
                    standing: Standing::Ready,
                    pod: None,
                    uid: Some((*uid).into()),
                    zone: None,
                    node: None,
                    for_zones: vec![],
                })
                .collect(),
        };
        let slices = [slice("v4", &[("10.1.0.1", "a"), ("10.1.0.2", "b")]), slice("v6", &[("fd00::1", "a")])];
        let found = |families: &[Family]| -> Vec<(String, Option<String>)> {
            let all = effective(slices.iter(), "", families, None, 10);
            all.iter().map(|e| (e.addr.to_string(), e.also.map(|a| a.to_string()))).collect()
        };
        let (a4, a6, b) = ("10.1.0.1:8080", "[fd00::1]:8080", ("10.1.0.2:8080".to_string(), None));
        assert_eq!(found(&[Family::V4, Family::V6]), [(a4.to_string(), Some(a6.to_string())), b.clone()]);
        assert_eq!(found(&[Family::V6, Family::V4]), [b, (a6.to_string(), Some(a4.to_string()))]);
    }
}
