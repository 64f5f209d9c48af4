//! What other threads tell a worker, and the copy of its numbers that it gives them.
//!
//! The worker owns everything and shares nothing: no lock and no atomic on the data path.

use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::Sender;
use std::sync::Arc;

use super::watch::Watcher;
use crate::core::balance::tuning::Tuning;
use crate::core::detect::Hint;
use crate::core::relay::{EndpointInfo, EndpointStats, Explained, Totals};

/// Something a worker is to do.
pub enum Message {
    /// The discovery has news; applied in order.
    Updates(Vec<Update>),
    /// Send a copy of the numbers there.
    Snapshot(Sender<Snapshot>),
    /// Send the last picks there: of targets whose name contains this text, at most so many.
    Why(Option<String>, usize, Sender<Why>),
    /// Tell this one of calls as they end.
    Watch(Watcher),
    /// SIGTERM: take no more, finish, end.
    Drain,
    /// A second SIGTERM: end now.
    Stop,
}

/// News of the discovery. `key` names a target: `namespace/name:port`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Update {
    /// A service port is there, or listens elsewhere: where clients' connections for it come in.
    Target {
        /// The target.
        key: Arc<str>,
        /// Listening addresses; None: they stay as they are.
        listen: Option<Vec<SocketAddr>>,
        /// What the Service says of the protocol.
        hint: Hint,
        /// What redirected connections to it are known by.
        place: Place,
    },
    /// Its endpoints are now these.
    Endpoints {
        /// The target.
        key: Arc<str>,
        /// All of them.
        endpoints: Vec<EndpointInfo>,
    },
    /// It is no more.
    Gone {
        /// The target.
        key: Arc<str>,
    },
}

/// A service port as clients dial it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its Service: `namespace/name`.
    pub service: Box<str>,
    /// The Service's port.
    pub port: u16,
    /// Its virtual addresses.
    pub ips: Vec<IpAddr>,
    /// It has none: clients dial pods.
    pub headless: bool,
}

/// A copy of a worker's numbers.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Targets by number.
    pub targets: Vec<TargetSnapshot>,
    /// Route names by number.
    pub routes: Vec<Arc<str>>,
    /// The rest.
    pub totals: Totals,
    /// Calls under way.
    pub calls: usize,
    /// Bytes held for peers.
    pub held: usize,
    /// Connections that are passed through, and those ever.
    pub opaque: (usize, u64),
}

/// A worker's last picks.
#[derive(Clone, Debug)]
pub struct Why {
    /// The worker's clock, ns.
    pub now: u64,
    /// The constants they were made with.
    pub tuning: Tuning,
    /// Newest first.
    pub picks: Vec<Explained>,
}

/// One target.
#[derive(Clone, Debug)]
pub struct TargetSnapshot {
    /// `namespace/name:port`.
    pub name: Arc<str>,
    /// Endpoints, those included that have left lately.
    pub endpoints: Vec<EndpointSnapshot>,
    /// Calls that found none.
    pub unserved: EndpointStats,
}

/// One endpoint.
#[derive(Clone, Debug)]
pub struct EndpointSnapshot {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its pod's name, or its address.
    pub pod: Arc<str>,
    /// Requests open.
    pub in_flight: u32,
    /// Latency estimate, seconds; None before the first answer.
    pub latency: Option<f64>,
    /// What a request more would cost, seconds.
    pub cost: f64,
    /// Open connections to it.
    pub connections: usize,
    /// It gets new requests.
    pub active: bool,
    /// Its calls.
    pub stats: EndpointStats,
}
