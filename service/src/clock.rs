//! Returns the time in the formats of the wire contract.

use std::time::SystemTime;

/// The current time in unix seconds, with a resolution of a microsecond; 0 for a clock before 1970.
#[must_use]
pub fn unix_seconds() -> f64 {
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    // An f64 represents today's unix time to a quarter of a microsecond.
    (since_epoch.as_secs_f64() * 1e6).round() / 1e6
}

/// The current time in unix milliseconds; 0 for a clock before 1970.
#[must_use]
pub fn unix_milliseconds() -> u64 {
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_systems_time_in_whole_microseconds() {
        let before = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64() - 1e-6;
        let now = unix_seconds();
        let after = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64() + 1e-6;
        assert!(before <= now && now <= after, "{before} {now} {after}");
        assert!((now * 1e6 - (now * 1e6).round()).abs() < 0.5, "{now}");
    }
}
