//! Describes the machine of a measurement, and reads CPU time and memory.

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

/// `USER_HZ`, the same on every current architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// Indices of user and system time in `/proc/PID/stat`, counted after the name. The first pair is the process's own
/// time, the second that of its ended children.
pub(crate) const OWN: [usize; 2] = [11, 12];
pub(crate) const CHILDREN: [usize; 2] = [13, 14];

/// Returns the CPU time in seconds, with a resolution of 10 ms. 0 for a process that has ended (`proc_pid_stat(5)`).
pub(crate) fn cpu_seconds(pid: u32, fields: [usize; 2]) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let all: Vec<&str> =
        text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let ticks = fields.iter().filter_map(|field| all.get(*field)?.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_PER_SECOND
}

/// Returns the seconds in which the machine's CPUs were busy, with a resolution of 10 ms (`proc_stat(5)`).
pub(crate) fn busy_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    busy_ticks(&text) / TICKS_PER_SECOND
}

/// The sum of all fields of the first line without idle time, time of waiting for devices, and guests' time. The last
/// is a part of the user time.
fn busy_ticks(stat: &str) -> f64 {
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8).enumerate();
    fields
        .filter(|(place, _)| ![3, 4].contains(place))
        .filter_map(|(_, ticks)| ticks.parse::<f64>().ok())
        .sum()
}

/// Returns the proportional set size of a process in bytes, which has each shared page by its share. `None` if the
/// process has ended.
pub(crate) fn proportional_bytes(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::busy_ticks;

    #[test]
    fn idle_time_is_not_busy() {
        let stat = "cpu  1 2 4 1000 1000 8 16 32 64 128\ncpu0 1 2 4 1000 1000 8 16 32 64 128\n";
        assert!((busy_ticks(stat) - 63.0).abs() < 1e-9);
    }
}
