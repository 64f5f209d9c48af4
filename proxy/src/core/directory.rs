//! Where a redirected connection was going → whose it is: the Services' cluster IPs, and the pods of headless ones.
//!
//! Rules:
//! - a cluster IP with one of the Service's ports means that Service;
//! - a pod of exactly one headless Service means that very pod, unless a request names the Service (`authority`);
//!   a pod of several is not to be told apart and is left alone;
//! - anything else is none of ours: a pod by its address, another namespace, the world.
//!
//! Must not know: sockets, endpoints' load, what is spoken.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

/// Whose a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// A Service's: the target's number.
    Service(u32),
    /// A headless Service's pod, with the address that was dialled.
    Pod(u32, SocketAddr),
    /// Nobody's that is known: passed through to that address.
    Elsewhere(SocketAddr),
}

#[derive(Default)]
struct Known {
    service: Box<str>,
    virtuals: Vec<SocketAddr>,
    headless: bool,
    pods: Vec<SocketAddr>,
}

/// What is known of targets' addresses.
#[derive(Default)]
pub struct Directory {
    targets: HashMap<u32, Known>,
    virtuals: HashMap<SocketAddr, u32>,
    /// Pods of headless Services, with the targets that have them.
    pods: HashMap<SocketAddr, Vec<u32>>,
}

impl Directory {
    /// A target is there, or has changed. `service`: its Service's name, the same for all its ports.
    pub fn set_service(&mut self, target: u32, service: &str, port: u16, ips: &[IpAddr], headless: bool) {
        let pods = self.targets.get_mut(&target).map(|k| std::mem::take(&mut k.pods)).unwrap_or_default();
        self.unlink(target, &pods);
        let virtuals: Vec<SocketAddr> = ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        for addr in &virtuals {
            // A Service that took over another's address in one breath: the news of the later one counts.
            self.virtuals.insert(*addr, target);
        }
        self.targets.insert(target, Known { service: service.into(), virtuals, headless, pods: vec![] });
        self.set_pods(target, pods);
    }

    /// The target's pods are now these, in every address they have.
    pub fn set_pods(&mut self, target: u32, pods: Vec<SocketAddr>) {
        let Some(known) = self.targets.get_mut(&target) else { return };
        let old = std::mem::replace(&mut known.pods, pods);
        if !known.headless {
            return;
        }
        let new = known.pods.clone();
        self.unlink_pods(target, &old);
        for addr in new {
            self.pods.entry(addr).or_default().push(target);
        }
    }

    /// The target is no more.
    pub fn remove(&mut self, target: u32) {
        let pods = self.targets.get_mut(&target).map(|k| std::mem::take(&mut k.pods)).unwrap_or_default();
        self.unlink(target, &pods);
        self.targets.remove(&target);
    }

    /// Whose a connection to `addr` is.
    pub fn find(&self, addr: SocketAddr) -> Route {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        if let Some(target) = self.virtuals.get(&addr) {
            return Route::Service(*target);
        }
        let owners = self.pods.get(&addr).map_or(&[][..], Vec::as_slice);
        let services: HashSet<&str> = owners.iter().filter_map(|t| self.targets.get(t)).map(|k| &*k.service).collect();
        match owners.iter().min() {
            Some(target) if services.len() == 1 => Route::Pod(*target, addr),
            _ => Route::Elsewhere(addr),
        }
    }

    fn unlink(&mut self, target: u32, pods: &[SocketAddr]) {
        let virtuals = self.targets.get_mut(&target).map(|k| std::mem::take(&mut k.virtuals)).unwrap_or_default();
        for addr in virtuals {
            if self.virtuals.get(&addr) == Some(&target) {
                self.virtuals.remove(&addr);
            }
        }
        self.unlink_pods(target, pods);
    }

    fn unlink_pods(&mut self, target: u32, pods: &[SocketAddr]) {
        for addr in pods {
            if let Some(owners) = self.pods.get_mut(addr) {
                owners.retain(|t| *t != target);
                if owners.is_empty() {
                    self.pods.remove(addr);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn a_cluster_ip_of_either_family_means_its_service_by_port() {
        let mut d = Directory::default();
        d.set_service(1, "ns/voting", 80, &ips(&["10.96.0.7", "fd00::7"]), false);
        d.set_service(2, "ns/voting", 81, &ips(&["10.96.0.7", "fd00::7"]), false);
        d.set_pods(1, vec![at("10.1.0.1:8080")]);
        assert_eq!(d.find(at("10.96.0.7:80")), Route::Service(1));
        assert_eq!(d.find(at("[fd00::7]:81")), Route::Service(2));
        assert_eq!(d.find(at("[::ffff:10.96.0.7]:80")), Route::Service(1));
        for other in ["10.96.0.7:82", "10.96.0.8:80", "10.1.0.1:8080"] {
            assert_eq!(d.find(at(other)), Route::Elsewhere(at(other)));
        }
    }

    #[test]
    fn a_pod_of_one_headless_service_is_that_pod_of_two_is_left_alone() {
        let mut d = Directory::default();
        let pod = at("10.1.0.1:8080");
        d.set_service(0, "ns/normal", 80, &ips(&["10.96.0.7"]), false);
        d.set_pods(0, vec![pod]);
        assert_eq!(d.find(pod), Route::Elsewhere(pod));
        d.set_service(1, "ns/headless", 80, &[], true);
        d.set_pods(1, vec![pod]);
        assert_eq!(d.find(pod), Route::Pod(1, pod));
        // Another port of the same Service that ends at the same place.
        d.set_service(2, "ns/headless", 81, &[], true);
        d.set_pods(2, vec![pod]);
        assert_eq!(d.find(pod), Route::Pod(1, pod));
        d.set_service(3, "ns/other", 80, &[], true);
        d.set_pods(3, vec![pod]);
        assert_eq!(d.find(pod), Route::Elsewhere(pod));
        d.set_pods(3, vec![]);
        assert_eq!(d.find(pod), Route::Pod(1, pod));
        d.remove(1);
        assert_eq!(d.find(pod), Route::Pod(2, pod));
        d.remove(2);
        assert_eq!(d.find(pod), Route::Elsewhere(pod));
    }

    #[test]
    fn a_service_that_changes_leaves_nothing_behind() {
        let mut d = Directory::default();
        let pod = at("10.1.0.1:8080");
        d.set_service(1, "ns/a", 80, &[], true);
        d.set_pods(1, vec![pod]);
        d.set_service(1, "ns/a", 80, &ips(&["10.96.0.7"]), false);
        assert_eq!(d.find(pod), Route::Elsewhere(pod));
        assert_eq!(d.find(at("10.96.0.7:80")), Route::Service(1));
        d.set_service(1, "ns/a", 80, &[], true);
        assert_eq!(d.find(pod), Route::Pod(1, pod));
        assert_eq!(d.find(at("10.96.0.7:80")), Route::Elsewhere(at("10.96.0.7:80")));
        d.remove(1);
        assert!(d.targets.is_empty() && d.virtuals.is_empty() && d.pods.is_empty());
    }

    #[test]
    fn an_address_that_moves_between_services_belongs_to_the_new_one_in_either_order() {
        let mut d = Directory::default();
        d.set_service(1, "ns/a", 80, &ips(&["10.96.0.7"]), false);
        d.set_service(2, "ns/b", 80, &ips(&["10.96.0.7"]), false);
        d.remove(1);
        assert_eq!(d.find(at("10.96.0.7:80")), Route::Service(2));
    }
}
