//! The core is pure: no sockets, clocks, threads, files, global chance or environment in `src/core`.

use std::fs;
use std::path::{Path, PathBuf};

const FORBIDDEN: [&str; 14] = [
    "std::net::Tcp",
    "std::net::Udp",
    "std::time",
    "std::thread",
    "std::fs",
    "std::env",
    "std::io",
    "std::process",
    "std::sync::Mutex",
    "mio",
    "socket2",
    "Instant",
    "SystemTime",
    "RandomState",
];

fn files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

fn sources() -> Vec<PathBuf> {
    let mut all = vec![];
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    all
}

#[test]
fn the_core_uses_nothing_from_outside() {
    let core: Vec<_> = sources().into_iter().filter(|p| p.components().any(|c| c.as_os_str() == "core")).collect();
    assert!(core.len() > 20);
    for path in core {
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|l| !l.trim_start().starts_with("//")) {
            for word in FORBIDDEN {
                assert!(!line.contains(word), "{}: {word} in {line:?}", path.display());
            }
        }
    }
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} has no opening", path.display());
    }
}
