//! Does a request's authority (HTTP/2 `:authority`, HTTP/1.x `Host`) name a Service?
//!
//! A client that connects to a pod of a headless Service means the Service if it says the Service's name, and that
//! very pod if it says the pod's name or an address (Kubernetes, "DNS for Services and Pods"). One pure function for
//! every protocol. Must not know: who is connected to whom.

/// Does `authority` name the Service of `target` (`namespace/name:port`)? `dialled` is the port the client connected
/// to: a headless Service's names lead to the pods' own port, so the authority may have either, or none.
///
/// The names: `name`, `name.namespace`, `name.namespace.svc`, and that with any cluster domain after it, in any
/// case, with or without the final dot. The short name means the Service because its namespace is the client's.
pub fn names_service(authority: &[u8], target: &str, dialled: u16) -> bool {
    let Some((service, port)) = target.rsplit_once(':') else { return false };
    let Some((namespace, name)) = service.split_once('/') else { return false };
    let (host, said) = match authority.iter().rposition(|c| *c == b':') {
        Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
        None => (authority, None),
    };
    let fits = |said: &[u8]| said == port.as_bytes() || said == dialled.to_string().as_bytes();
    said.is_none_or(fits) && names_host(host, namespace, name)
}

fn names_host(host: &[u8], namespace: &str, name: &str) -> bool {
    let host = host.strip_suffix(b".").unwrap_or(host);
    let mut labels = host.split(|c| *c == b'.');
    let mut wanted = [name, namespace, "svc"].into_iter();
    let same = |label: &[u8], wanted: &str| label.eq_ignore_ascii_case(wanted.as_bytes());
    let first = labels.next().zip(wanted.next()).is_some_and(|(label, name)| same(label, name));
    // Each label that is there must fit; what comes after `svc` is the cluster's domain.
    first && labels.zip(wanted).all(|(label, wanted)| same(label, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = "balance-lab/voting:80";

    fn names(authority: &str) -> bool {
        names_service(authority.as_bytes(), TARGET, 8080)
    }

    #[test]
    fn every_form_of_a_services_name_names_it() {
        for host in [
            "voting",
            "Voting",
            "voting.",
            "voting.balance-lab",
            "voting.balance-lab.svc",
            "voting.balance-lab.svc.cluster.local",
            "voting.balance-lab.svc.cluster.local.",
            "voting.balance-lab.svc.corp.example",
        ] {
            for port in ["", ":80", ":8080"] {
                assert!(names(&format!("{host}{port}")), "{host}{port}");
            }
            assert!(!names(&format!("{host}:81")), "another port of {host}");
        }
    }

    #[test]
    fn a_pods_own_name_an_address_or_another_service_do_not() {
        for authority in [
            "pod-0.voting",
            "pod-0.voting.balance-lab.svc.cluster.local:8080",
            "10-1-2-3.voting.balance-lab.svc",
            "10.1.2.3:8080",
            "[fd00::7]:8080",
            "[::1]",
            "voting.other",
            "voting.other.svc.cluster.local",
            "voting.balance-lab.pod.cluster.local",
            "catalogue",
            "votin",
            "voting2",
            "",
            ".",
            ":8080",
            "..",
            "voting..svc",
            "voting:8080:8080",
            "voting:",
        ] {
            assert!(!names(authority), "{authority:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_name_and_targets_that_are_no_service_name_nothing() {
        assert!(!names_service(b"\xff\xfe:80", TARGET, 80));
        assert!(!names_service(b"static", "static", 80));
        assert!(!names_service(b"voting", "voting:80", 80));
    }
}
