//! Checks that crates depend only on lower levels (docs/architecture.md).

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// Levels of the workspace crates, lowest first.
const LEVELS: [&[&str]; 6] = [
    &["protocol", "probe-common"],
    &["hotspot", "lab", "store"],
    &["service"],
    &["gateway", "shard", "load", "probe"],
    &["lab-tests"],
    &["measure"],
];

/// May depend only on the following workspace crates, so that it compiles in seconds.
const XTASK: &str = "xtask";
const OF_XTASK: [&str; 2] = ["lab", "protocol"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// Set for crates of this repository.
    path: Option<String>,
}

/// Returns the violations in the output of `cargo metadata --no-deps`.
///
/// # Errors
/// When `metadata` cannot be parsed.
pub(crate) fn problems(metadata: &str) -> Result<Vec<String>> {
    let metadata: Metadata =
        serde_json::from_str(metadata).context("cargo metadata returned unexpected JSON")?;
    Ok(metadata.packages.iter().flat_map(of_package).collect())
}

fn of_package(package: &Package) -> Vec<String> {
    let ours = package.dependencies.iter().filter(|dependency| dependency.path.is_some());
    if package.name == XTASK {
        let others = ours.filter(|other| !OF_XTASK.contains(&other.name.as_str()));
        let allowed = OF_XTASK.join(" and ");
        return others
            .map(|other| format!("xtask depends on {}: only {allowed} are allowed", other.name))
            .collect();
    }
    let Some(own) = level(&package.name) else {
        return vec![format!("{} has no level: give it one in xtask/src/tidy/dependencies.rs", package.name)];
    };
    ours.filter(|other| level(&other.name).is_none_or(|level| level >= own))
        .map(|other| {
            format!(
                "{} (level {own}) depends on {}: only crates of a lower level are allowed",
                package.name, other.name
            )
        })
        .collect()
}

fn level(name: &str) -> Option<usize> {
    LEVELS.iter().position(|level| level.contains(&name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::problems;

    fn check(name: &str, dependencies: &[(&str, bool)]) -> Vec<String> {
        let dependencies: Vec<_> = dependencies
            .iter()
            .map(|(name, ours)| json!({"name": name, "path": ours.then(|| format!("/x/{name}"))}))
            .collect();
        problems(&json!({"packages": [{"name": name, "dependencies": dependencies}]}).to_string())
            .expect("metadata")
    }

    #[test]
    fn downwards_is_allowed() {
        assert!(check("gateway", &[("protocol", true), ("service", true), ("axum", false)]).is_empty());
        assert!(check("lab-tests", &[("gateway", true), ("probe", true)]).is_empty());
        assert!(check("measure", &[("lab-tests", true), ("load", true)]).is_empty());
    }

    #[test]
    fn sideways_and_upwards_are_breaches() {
        assert_eq!(check("gateway", &[("shard", true)]).len(), 1);
        assert_eq!(check("protocol", &[("service", true)]).len(), 1);
        assert_eq!(check("protocol", &[("hotspot", true)]).len(), 1);
    }

    #[test]
    fn a_registry_crate_of_the_same_name_is_not_ours() {
        assert!(check("protocol", &[("probe", false)]).is_empty());
    }

    #[test]
    fn xtask_depends_on_two_small_crates_alone() {
        assert!(check("xtask", &[("clap", false), ("protocol", true), ("lab", true)]).is_empty());
        assert_eq!(check("xtask", &[("service", true), ("probe", true)]).len(), 2);
    }

    #[test]
    fn a_crate_without_a_level_is_a_breach() {
        let problems = check("newcomer", &[]);
        assert!(problems.iter().any(|problem| problem.contains("newcomer")), "{problems:?}");
        assert_eq!(check("gateway", &[("newcomer", true)]).len(), 1);
    }
}
