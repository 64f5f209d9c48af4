//! Lines on standard error: level, time, text. Nothing else in the program prints there; secrets are never handed in.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::Level;

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// What is logged from now on.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Writes a line if its level is logged.
pub fn line(level: Level, text: &str) {
    if level as u8 > LEVEL.load(Ordering::Relaxed) {
        return;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = ["error", "warn", "info", "debug"][level as usize];
    // One write per line, so that lines of several threads do not mix; nobody to tell if it fails.
    let text = format!("{}.{:03} {name} {text}\n", now.as_secs(), now.subsec_millis());
    let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), text.as_bytes());
}
