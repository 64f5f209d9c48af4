//! CPU time and memory of this process, from /proc. Knows nothing else.

use std::fs;

/// Resident memory in bytes; None where /proc is not to be read.
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// User and system time in seconds. The kernel gives both in ticks of 1/100 s to user space on every architecture.
pub fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in brackets and may hold blanks.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / 100.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_has_memory_and_time() {
        assert!(super::resident_bytes().is_some_and(|b| b > 100_000));
        assert!(super::cpu_seconds().is_some_and(|s| s >= 0.0));
    }
}
