//! Whether a feature works.

use serde::Serialize;

/// A feature of the probe, as `/status` and `probe_feature_enabled` show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Feature {
    /// Its name.
    pub feature: &'static str,
    /// Whether it works.
    pub enabled: bool,
    /// A short word why not; "ok" if it does.
    pub reason: &'static str,
    /// What to do, if it does not.
    pub remedy: Option<&'static str>,
}
