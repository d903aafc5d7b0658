//! Skips tests that cannot run here, or fails them in CI.

use std::fmt::Display;

/// Returns the requirement `needed` of the test `name`. If it is missing, reports the test as skipped, with the
/// reason.
///
/// # Panics
/// When the requirement is missing and `CI=true`. In CI a skipped test must not look like a success.
pub fn unless<T, E: Display>(name: &str, needed: Result<T, E>) -> Option<T> {
    let requested = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    unless_requested(name, needed, requested)
}

/// Like [`unless`], for tests that CI may skip unless they were requested.
///
/// # Panics
/// When the requirement is missing and the test was requested.
pub fn unless_requested<T, E: Display>(name: &str, needed: Result<T, E>, requested: bool) -> Option<T> {
    match needed {
        Ok(needed) => Some(needed),
        Err(why) => {
            assert!(!requested, "{name}: {why}");
            println!("SKIPPED {name}: {why}");
            None
        }
    }
}
