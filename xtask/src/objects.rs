//! Builds the kernel objects of commits, for `cargo xtask bench objects`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use lab::command;
use lab::tree::Tree;

use crate::build_ebpf;

/// Digits of a commit's hash on pages.
const SHORT: usize = 7;

/// Builds the object of each `--object NAME=COMMIT` and adds its path as `--built COMMIT=PATH`. Hashes replace the names
/// of commits, because those move. A file takes precedence over a commit.
///
/// # Errors
/// When the programs of a commit do not compile.
pub(crate) fn with_built(tree: &Tree, given: &[OsString]) -> Result<Vec<OsString>> {
    let mut arguments = given.to_vec();
    for Given { place, before, object } in objects(given) {
        if Path::new(object).is_file() {
            continue;
        }
        let commit = format!("{object}^{{commit}}");
        let mut git = git(tree);
        git.args(["rev-parse", "--verify", "--quiet", "--end-of-options", &commit]);
        // What is no commit is left to the program, which refuses it.
        let Ok(hash) = command::capture(&mut git) else { continue };
        let hash = hash.trim();
        let built = build(tree, hash)?;
        let short = hash.get(..SHORT).unwrap_or(hash);
        if let Some(argument) = arguments.get_mut(place) {
            *argument = format!("{before}{short}").into();
        }
        arguments.extend(["--built".into(), format!("{short}={}", built.display()).into()]);
    }
    Ok(arguments)
}

/// An object in the arguments.
#[derive(Debug, PartialEq, Eq)]
struct Given<'a> {
    /// The index of its argument.
    place: usize,
    /// The argument's text before the object.
    before: &'a str,
    object: &'a str,
}

/// Finds the objects in `--object NAME=OBJECT` and `--object=NAME=OBJECT`.
fn objects(given: &[OsString]) -> impl Iterator<Item = Given<'_>> {
    const OPTION: &str = "--object";
    given.iter().enumerate().filter_map(move |(place, argument)| {
        let argument = argument.to_str()?;
        let is_value =
            place.checked_sub(1).and_then(|place| given.get(place)).is_some_and(|last| last == OPTION);
        let pair = if is_value { argument } else { argument.strip_prefix(OPTION)?.strip_prefix('=')? };
        let (_, object) = pair.split_once('=')?;
        Some(Given { place, before: argument.strip_suffix(object)?, object })
    })
}

/// Builds the object of a commit, by its full hash, unless an earlier run has done so.
fn build(tree: &Tree, hash: &str) -> Result<PathBuf> {
    let folder = tree.target.join("bpf").join("commits");
    let object = folder.join(hash);
    if object.is_file() {
        return Ok(object);
    }
    let scratch = folder.join(format!("{hash}.build"));
    let source = scratch.join("source");
    fs::create_dir_all(&source).with_context(|| format!("cannot make {}", source.display()))?;
    let archive = scratch.join("source.tar");
    command::capture(git(tree).args(["archive", "--format=tar", "--output"]).arg(&archive).arg(hash))?;
    command::capture(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&source))?;
    let (compiler, linker) = build_ebpf::linker(tree)?;
    let built = build_ebpf::compile(&Tree { root: source, target: scratch.clone() }, &compiler, &linker)
        .with_context(|| format!("the kernel programs of {hash} cannot be built"))?;
    // Renamed, so that an interrupted build leaves no object.
    fs::rename(&built, &object)
        .with_context(|| format!("the build left no object at {}", built.display()))?;
    fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    Ok(object)
}

fn git(tree: &Tree) -> Command {
    let mut git = Command::new("git");
    git.current_dir(&tree.root);
    git
}

#[cfg(test)]
mod tests {
    use super::{Given, objects};

    #[test]
    fn objects_are_found_in_both_forms_of_the_option() {
        let given = ["--rounds", "3", "--object", "before=HEAD~1", "--object=after=a/b=c", "--objects=x=y"];
        let given = given.map(Into::into);
        let expected = [
            Given { place: 3, before: "before=", object: "HEAD~1" },
            Given { place: 4, before: "--object=after=", object: "a/b=c" },
        ];
        assert_eq!(objects(&given).collect::<Vec<_>>(), expected);
    }
}
