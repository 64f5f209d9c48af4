//! Requests on connections that were dialled to one pod of a headless Service: whom they mean.
//!
//! If the authority names the Service, the request is balanced over it like any other; else it goes to that very pod.
//! Both kinds may come on one connection. Knows addresses and names; nothing of how the address came to be known.

use std::net::SocketAddr;

use super::call::{CallId, ConnId};
use super::Relay;
use crate::core::authority::names_service;
use crate::core::h2::headers::Headers;
use crate::core::h2::limits::Nanos;

impl Relay {
    /// Like [`Relay::accepted`], for a connection that was dialled to `pod`, one of the target's.
    pub fn accepted_for_pod(&mut self, target: u32, pod: SocketAddr, now: Nanos) -> ConnId {
        self.accepted_at(target, Some(pod), now)
    }

    /// The pod that a request with this authority is for; None if it means the Service.
    pub(super) fn pod_meant(&self, target: u32, pod: SocketAddr, authority: Option<&[u8]>) -> Option<SocketAddr> {
        let name = &self.targets.get(target as usize)?.name;
        (!authority.is_some_and(|a| names_service(a, name, pod.port()))).then_some(pod)
    }

    /// Notes what a call means. HTTP/2 carries the authority in `:authority`, or like HTTP/1.x in `host`.
    pub(super) fn aim(&mut self, call: CallId, target: u32, pod: SocketAddr, fields: &Headers) {
        let authority = fields.get(b":authority").or_else(|| fields.get(b"host"));
        let pod = self.pod_meant(target, pod, authority);
        if let Some(c) = self.calls.get_mut(call) {
            c.pod = pod;
        }
    }

    /// The endpoint at that very address, while it is one of the target's.
    pub(super) fn endpoint_at(&self, target: u32, pod: SocketAddr) -> Option<u32> {
        let pool = &self.targets.get(target as usize)?.pool;
        pool.active().find(|(_, e)| e.info.addr == pod || e.info.also == Some(pod)).map(|(i, _)| i)
    }

    /// The pod has left the Service. What it is now is not known here: its client connects anew and finds out.
    pub(super) fn pod_gone(&mut self, call: CallId, pod: SocketAddr, now: Nanos) {
        let down = self.calls.get(call).and_then(|c| c.down);
        self.fail(call, 14, &format!("the pod at {pod} has left its Service"), now);
        if let Some(leg) = down {
            self.drain_conn(leg.conn, "the pod has left its Service", now);
        }
    }
}
