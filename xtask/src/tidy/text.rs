//! Checks rules on the text of single files.

/// Maximum lines of a source file. A longer one does more than one job.
const MOST_LINES: usize = 500;

const SOURCES: [&str; 8] = ["rs", "js", "mjs", "ts", "py", "sh", "css", "html"];

/// Hosts of package registries, which no file of the repository may name: networks use different mirrors, and the
/// settings of cargo, pip or npm choose one. Each name is split in two, so that this list does not match itself.
const REGISTRIES: [(&str, &str); 13] = [
    ("index.crates", "io"),
    ("static.crates", "io"),
    ("static.rust-lang", "org"),
    ("deb.debian", "org"),
    ("security.debian", "org"),
    ("archive.ubuntu", "com"),
    ("pypi", "org"),
    ("files.pythonhosted", "org"),
    ("registry.npmjs", "org"),
    ("registry-1.docker", "io"),
    ("ghcr", "io"),
    ("quay", "io"),
    ("proxy.golang", "org"),
];

/// Folders that exist only on specific machines.
const MACHINE_FOLDERS: [&str; 5] = ["/root/", "/home/", "/work/", "/farm/", "/Users/"];

/// The only registry that a lock file may refer to.
const INDEX: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// This file contains the forbidden texts.
const THIS_FILE: &str = "xtask/src/tidy/text.rs";

/// Returns the violations in the tracked file `name` with the text `content`.
pub(crate) fn problems(name: &str, content: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let (base, extension) = base_and_extension(name);
    if base == "Cargo.lock" {
        return lock(name, content);
    }
    if base == "mod.rs" {
        problems.push(format!("{name}: name the file after its module, beside the module's folder"));
    }
    if base == "Cargo.toml" && content.contains("[package]") && !has_lints(content) {
        problems.push(format!("{name}: add `[lints]` with `workspace = true`"));
    }
    let lines = content.lines().count();
    if SOURCES.contains(&extension) && lines > MOST_LINES {
        problems.push(format!("{name}: {lines} lines, at most {MOST_LINES} are allowed"));
    }
    if extension == "rs" && name != THIS_FILE {
        problems.extend(guessable_paths(name, content));
    }
    if name != THIS_FILE {
        problems.extend(content.lines().enumerate().flat_map(|(index, line)| {
            forbidden(line).into_iter().map(move |what| format!("{name}:{}: {what}", index + 1))
        }));
    }
    problems
}

/// Reports guessable paths in the shared temporary folder. Another user could create such a file first.
fn guessable_paths(name: &str, content: &str) -> Vec<String> {
    let used = content.lines().enumerate().filter(|(_, line)| line.contains("temp_dir()"));
    used.map(|(index, _)| {
        format!("{name}:{}: names a path that others can guess; use tempfile::tempdir()", index + 1)
    })
    .collect()
}

fn base_and_extension(name: &str) -> (&str, &str) {
    let base = name.rsplit('/').next().unwrap_or(name);
    (base, base.rsplit_once('.').map_or("", |(_, extension)| extension))
}

fn lock(name: &str, content: &str) -> Vec<String> {
    content
        .lines()
        .filter_map(|line| line.strip_prefix("source = "))
        .map(|source| source.trim_matches('"'))
        .filter(|source| *source != INDEX)
        .map(|source| format!("{name}: takes a crate from {source}, only {INDEX} is allowed"))
        .collect()
}

/// Whether a manifest inherits the lints. The root of another workspace must define its own.
fn has_lints(manifest: &str) -> bool {
    let own_workspace = manifest.lines().any(|line| line.trim() == "[workspace]");
    inherits_lints(manifest) || (own_workspace && manifest.contains("[lints.rust]"))
}

/// Whether a manifest has `[lints] workspace = true` in either syntax.
fn inherits_lints(manifest: &str) -> bool {
    let mut section = "";
    manifest.lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            section = line;
        }
        let setting: String = line.chars().filter(|character| !character.is_whitespace()).collect();
        (section == "[lints]" && setting == "workspace=true") || setting == "lints.workspace=true"
    })
}

fn forbidden(line: &str) -> Vec<String> {
    let hosts = REGISTRIES
        .iter()
        .map(|(name, domain)| format!("{name}.{domain}"))
        .filter(|host| line.contains(host.as_str()))
        .map(|host| format!("contains the package source {host}; leave it to the tool's settings"));
    let folders = MACHINE_FOLDERS
        .iter()
        .filter(|folder| starts_a_path(line, folder))
        .map(|folder| format!("contains {folder}…, a path of one machine; use a relative path or an option"));
    hosts.chain(folders).collect()
}

/// Whether `folder` occurs in `line` at the start of a path.
fn starts_a_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || "./-_}$".contains(character))
    })
}

#[cfg(test)]
mod tests {
    use super::problems;

    #[test]
    fn a_clean_file_has_no_problems() {
        assert!(problems("gateway/src/main.rs", "//! The gateway.\nfn main() {}\n").is_empty());
        assert!(problems("docs/x.md", "see ../work/ and https://example.org/home/page").is_empty());
    }

    #[test]
    fn long_sources_and_mod_rs_are_breaches() {
        assert_eq!(problems("a/src/long.rs", &"\n".repeat(501)).len(), 1);
        assert!(problems("a/src/long.rs", &"\n".repeat(500)).is_empty());
        assert!(problems("docs/long.md", &"\n".repeat(501)).is_empty());
        assert_eq!(problems("a/src/part/mod.rs", "").len(), 1);
    }

    #[test]
    fn every_package_inherits_the_lints() {
        assert!(problems("a/Cargo.toml", "[package]\nname = \"a\"\n[lints]\nworkspace = true\n").is_empty());
        assert!(problems("a/Cargo.toml", "[package]\nlints.workspace = true\n").is_empty());
        assert_eq!(problems("a/Cargo.toml", "[package]\n[dependencies]\nworkspace = true\n").len(), 1);
        let apart = "[package]\n[workspace]\n[lints.rust]\n";
        assert!(problems("probe-ebpf/Cargo.toml", apart).is_empty());
        assert_eq!(problems("probe-ebpf/Cargo.toml", "[package]\n[workspace]\n").len(), 1);
        assert!(problems("Cargo.toml", "[workspace]\nmembers = []\n").is_empty());
    }

    #[test]
    fn paths_for_temporary_files_cannot_be_guessed() {
        let shared = "let path = std::env::temp_dir().join(\"lab\");";
        assert_eq!(problems("a/src/x.rs", shared).len(), 1);
        assert!(problems("a/src/x.rs", "let folder = tempfile::tempdir()?;").is_empty());
        assert!(problems("docs/x.md", shared).is_empty());
    }

    #[test]
    fn package_sources_are_not_named() {
        let found = problems("docs/setup.md", &format!("fine\ndeb http://{}.{} x\n", "deb.debian", "org"));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("docs/setup.md:2: "), "{found:?}");
    }

    #[test]
    fn folders_of_one_machine_are_not_named() {
        assert_eq!(problems("a.rs", "let path = \"/root/lab\";").len(), 1);
        assert_eq!(problems("a.yaml", "path: /home/me/lab").len(), 1);
        assert!(problems("a.sh", "cd $HOME/work/lab ${X}/home/y").is_empty());
    }

    #[test]
    fn a_lock_file_takes_crates_from_the_standard_index_alone() {
        let standard = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
        assert!(problems("Cargo.lock", standard).is_empty());
        let mirror = "source = \"sparse+https://mirror.example/index/\"\n";
        assert_eq!(problems("probe-ebpf/Cargo.lock", &format!("{standard}{mirror}")).len(), 1);
    }
}
