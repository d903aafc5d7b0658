//! Installs what a task needs, or prints install instructions.

use anyhow::{Result, bail};
use lab::tree::Tree;
use lab::{programs, signals};

use crate::packages::{self, Missing, Part};
use crate::{terminal, toolchain};

/// Installs what is missing for `parts`. Reports and skips tools of tests, lints or comparisons that cannot be
/// installed.
///
/// # Errors
/// When a requirement of the build or the kernel object cannot be installed. The error has the commands to run.
pub(crate) fn ensure(tree: &Tree, parts: &[Part]) -> Result<()> {
    let missing = packages::missing(parts);
    if missing.is_empty() {
        return Ok(());
    }
    println!("Missing on this machine:");
    for need in &missing {
        println!("  {:<18} {}", need.package, need.why);
    }
    let without_apt = programs::find("apt-get").is_none().then(|| by_hand(&missing));
    let (tools, needed): (Vec<Missing>, Vec<Missing>) = missing.into_iter().partition(can_do_without);
    if let Some(by_hand) = without_apt {
        if !needed.is_empty() {
            bail!("{by_hand}");
        }
        println!("{by_hand}\n  Commands that need them report this again.");
        return Ok(());
    }
    let root = packages::root(terminal::is_interactive());
    let names = |needs: &[Missing]| needs.iter().map(|need| need.package.clone()).collect::<Vec<_>>();
    if !needed.is_empty()
        && let Err(error) = packages::install(tree, &names(&needed), root)
    {
        signals::check()?;
        bail!("{error:#}; {}", by_hand(&needed));
    }
    if !tools.is_empty()
        && let Err(error) = packages::install(tree, &names(&tools), root)
    {
        signals::check()?;
        println!("  {error:#}\n  Commands that need them report this again.");
    }
    let still: Vec<Missing> =
        packages::missing(parts).into_iter().filter(|need| !can_do_without(need)).collect();
    if still.is_empty() { Ok(()) } else { bail!("{}", by_hand(&still)) }
}

/// Whether the lab can be built and run without `need`.
fn can_do_without(need: &Missing) -> bool {
    matches!(
        need.part,
        Part::Tests
            | Part::Store
            | Part::Peers
            | Part::GatewayPeers
            | Part::Faults
            | Part::LoadTool
            | Part::Lints
            | Part::Containers
    )
}

/// Instructions for what this program cannot install.
fn by_hand(missing: &[Missing]) -> String {
    let mut text = String::from("install these yourself:");
    let of = |part: Part| {
        missing.iter().filter(|need| need.part == part).map(|need| need.package.clone()).collect::<Vec<_>>()
    };
    for (part, what) in [
        (Part::Build, "a C compiler"),
        (Part::Tests, "tools the tests use"),
        (Part::Store, "a store"),
        (Part::Peers, "tools for the cost comparison"),
        (Part::GatewayPeers, "servers to compare the gateway with"),
        (Part::Faults, "tools for the fault table"),
        (Part::LoadTool, "k6"),
        (Part::Page, "a browser"),
        (Part::Containers, "a container engine"),
        (Part::Cluster, "parts of a cluster"),
    ] {
        if !of(part).is_empty() {
            text.push_str(&format!("\n  {what}; on Debian: {}", packages::shown(&of(part))));
        }
    }
    if !of(Part::Kernel).is_empty() {
        text.push_str("\n  a compiler for the kernel, either of");
        text.push_str("\n    rustup toolchain install nightly --profile minimal --component rust-src");
        text.push_str("\n      and the development package of the LLVM that `rustc +nightly -vV` names");
        text.push_str(&format!("\n    Debian 12: {}", packages::shown(&of(Part::Kernel))));
        for compiler in toolchain::candidates() {
            if let Some(problem) = compiler.problem() {
                text.push_str(&format!("\n  found, but not usable: {} {problem}", compiler.shown()));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::by_hand;
    use crate::packages::{Missing, Part};

    #[test]
    fn commands_for_other_systems_are_complete() {
        let need = |package: &str, part| Missing { package: package.to_owned(), part, why: "" };
        let text = by_hand(&[need("gcc", Part::Build), need("rustc-web", Part::Kernel)]);
        assert!(text.contains("apt-get install --no-install-recommends gcc"), "{text}");
        assert!(text.contains("rustup toolchain install nightly"), "{text}");
        assert!(text.contains("rustc-web"), "{text}");
    }
}
