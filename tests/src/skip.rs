//! Tests that this machine cannot run: named as skipped, and failed in CI.

use std::fmt::Display;

/// What the test `name` needs. Where it is absent, the test is reported as skipped, with the reason.
///
/// # Panics
/// When it is absent and `CI=true`: a skipped test must not look green there.
pub fn unless<T, E: Display>(name: &str, needed: Result<T, E>) -> Option<T> {
    let asked_for = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    unless_asked_for(name, needed, asked_for)
}

/// The same for tests that may be absent in CI too, but not where they were asked for.
///
/// # Panics
/// When it is absent and the test was asked for.
pub fn unless_asked_for<T, E: Display>(name: &str, needed: Result<T, E>, asked_for: bool) -> Option<T> {
    match needed {
        Ok(needed) => Some(needed),
        Err(why) => {
            assert!(!asked_for, "{name}: {why}");
            println!("SKIPPED {name}: {why}");
            None
        }
    }
}
