//! Describes the machine of a measurement, and reads processes' CPU time.

use std::process::Command;

/// Returns date, kernel and CPU.
pub(crate) fn describe() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let models: Vec<&str> = cpus
        .lines()
        .filter_map(|line| line.strip_prefix("model name"))
        .map(|rest| rest.trim_start_matches([' ', '\t', ':']))
        .collect();
    format!(
        "{}; Linux {}, {} × {}",
        date("+%F %H:%M UTC"),
        read("/proc/sys/kernel/osrelease").trim(),
        models.len(),
        models.first().unwrap_or(&"unknown processor")
    )
}

/// Returns the date in UTC, in the format of `date(1)`.
pub(crate) fn date(format: &str) -> String {
    let output = Command::new("date").args(["-u", format]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// Returns the load average of the last minute.
pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Indices of user and system time in `/proc/PID/stat`, counted after the name. The first pair is the process's own
/// time, the second that of its ended children.
pub(crate) const OWN: [usize; 2] = [11, 12];
pub(crate) const CHILDREN: [usize; 2] = [13, 14];

/// Returns the CPU time in seconds, with a resolution of 10 ms. 0 for a process that has ended (`proc_pid_stat(5)`).
pub(crate) fn cpu_seconds(pid: u32, fields: [usize; 2]) -> f64 {
    /// `USER_HZ`, the same on every current architecture.
    const TICKS_PER_SECOND: f64 = 100.0;
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let all: Vec<&str> =
        text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let ticks = fields.iter().filter_map(|field| all.get(*field)?.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_PER_SECOND
}

/// Returns the bytes that the kernel holds for the maps of a process.
///
/// # Errors
/// When the process has ended, or belongs to another user.
pub(crate) fn map_bytes(pid: u32) -> std::io::Result<u64> {
    let mut bytes = 0;
    for descriptor in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // One that has been closed meanwhile is no map.
        let Ok(info) = std::fs::read_to_string(descriptor?.path()) else { continue };
        let value = |name| info.lines().find_map(|line| line.strip_prefix(name));
        if value("map_type:").is_some() {
            bytes += value("memlock:").and_then(|bytes| bytes.trim().parse::<u64>().ok()).unwrap_or_default();
        }
    }
    Ok(bytes)
}
