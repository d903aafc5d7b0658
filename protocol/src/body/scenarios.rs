//! Declares `/scenarios` of the scenario starter (`load serve`).

use serde::{Deserialize, Serialize};

/// The body of `POST /scenarios`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScenarioRequest {
    /// The scenario's name on the command line of `load run`.
    pub scenario: String,
    /// Seconds of load, 1 … 3,600.
    #[serde(default = "default_duration")]
    pub duration: f64,
    /// Multiplies the scenario's rates, 0.01 … 100.
    #[serde(default = "default_rate_factor")]
    pub rate_factor: f64,
}

const fn default_duration() -> f64 {
    60.0
}

const fn default_rate_factor() -> f64 {
    1.0
}

/// The answer to `GET`, `POST` and `DELETE /scenarios`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScenarioOverview {
    /// The running scenario.
    pub running: Option<RunningScenario>,
    /// The scenario that ended last.
    pub last: Option<ScenarioEnd>,
    /// The scenarios that can be started.
    pub scenarios: Vec<OfferedScenario>,
}

/// A running scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunningScenario {
    /// The request that started it.
    #[serde(flatten)]
    pub request: ScenarioRequest,
    /// Unix seconds of the start.
    pub started_at: f64,
    /// Seconds since the start.
    pub elapsed_seconds: f64,
}

/// How a scenario ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioEnd {
    /// The scenario's name.
    pub scenario: String,
    /// The outcome of the run.
    pub outcome: ScenarioOutcome,
    /// One sentence for people.
    pub detail: String,
}

/// The outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScenarioOutcome {
    /// The run ended within its thresholds.
    Done,
    /// The run was refused, had no gateway, or exceeded a threshold.
    Failed,
    /// The run was stopped by request.
    Stopped,
}

/// A scenario that can be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedScenario {
    /// The scenario's name.
    pub name: String,
    /// One sentence for people.
    pub about: String,
}
