//! Downloads and unpacks Debian's cloud kernels.
//!
//! They come from the mirror in this machine's package sources and stay in the target directory. apt uses its own
//! configuration in the target directory. The system's package lists do not change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};

use lab::tree::Tree;
use lab::{command, programs};

/// A bootable kernel.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) file: PathBuf,
    /// Name and version of the package.
    pub(super) package: String,
}

/// Suites on Debian mirrors since 2021. A package source with one of them is a Debian mirror.
const SUITES: [&str; 7] = ["bullseye", "bookworm", "trixie", "forky", "sid", "stable", "oldstable"];

/// Debian's signing keys. A system with other package sources has this file too.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Returns the newest kernel of `version`, from the target directory or the mirror.
///
/// # Errors
/// When this machine is not Debian on x86-64, or the mirror does not have the kernel.
pub(super) fn image(tree: &Tree, version: &str, suite: &str) -> Result<Image> {
    let folder = tree.target.join("kernels").join(version);
    let (file, stamp) = (folder.join("vmlinuz"), folder.join("package"));
    if let (true, Ok(package)) = (file.is_file(), fs::read_to_string(&stamp)) {
        return Ok(Image { file, package });
    }
    if programs::find("apt-get").is_none() || std::env::consts::ARCH != "x86_64" {
        bail!("other kernels need apt-get and x86-64, because they are Debian's cloud kernels");
    }
    println!("Fetching Linux {version} from {suite} (20 to 40 MB, once).");
    let apt = Apt::new(&tree.target.join("kernels").join("apt"), &mirror()?, suite)?;
    command::capture(apt.command("apt-get").arg("update")).context("cannot read the mirror's lists")?;
    let name = apt.newest(version, suite)?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    command::capture(apt.command("apt-get").args(["download", &name]).current_dir(&folder))
        .with_context(|| format!("cannot fetch {name}"))?;
    let package = unpack(&folder)?;
    // Write the note last. Its presence means that the folder is complete.
    fs::write(&stamp, &package).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(Image { file, package })
}

/// The address of the first Debian mirror that this machine's apt uses.
fn mirror() -> Result<String> {
    let targets = command::capture(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(RELEASE) $(COMPONENT) $(REPO_URI)",
        "Created-By: Packages",
    ]))
    .context("cannot read this machine's package sources")?;
    mirror_in(&targets)
        .map(str::to_owned)
        .ok_or_else(|| anyhow!("none of this machine's package sources is a mirror of Debian"))
}

fn mirror_in(targets: &str) -> Option<&str> {
    targets.lines().find_map(|line| {
        let (suite, rest) = line.split_once(' ')?;
        let (component, address) = rest.split_once(' ')?;
        (SUITES.contains(&suite) && component == "main").then_some(address)
    })
}

/// apt with its own lists, caches and settings.
struct Apt {
    settings: PathBuf,
}

impl Apt {
    fn new(base: &Path, mirror: &str, suite: &str) -> Result<Self> {
        let folder = base.join(suite);
        for part in ["state/lists/partial", "cache/archives/partial"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
        }
        let write = |name: &str, text: String| -> Result<PathBuf> {
            let file = folder.join(name);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
            Ok(file)
        };
        let keys = if Path::new(KEYS).is_file() { format!("[signed-by={KEYS}] ") } else { String::new() };
        let list = write("sources.list", format!("deb {keys}{mirror} {suite} main\n"))?;
        let settings = write("apt.conf", settings(&folder, &list))?;
        Ok(Self { settings })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-q").arg("-c").arg(&self.settings).env("LC_ALL", "C");
        command
    }

    /// The package name of the newest cloud kernel of `version`.
    fn newest(&self, version: &str, suite: &str) -> Result<String> {
        let pattern =
            format!("^linux-image-{}\\.[0-9][^ ]*-cloud-amd64-unsigned$", version.replace('.', "\\."));
        let found = command::capture(self.command("apt-cache").args(["search", "--names-only", &pattern]))?;
        found
            .lines()
            .filter_map(|line| line.split(' ').next())
            .max_by_key(|name| numbers(name))
            .map(str::to_owned)
            .ok_or_else(|| anyhow!("{suite} has no cloud kernel {version}"))
    }
}

/// apt settings. apt reads them after the system's, so the system's proxy settings stay in effect.
fn settings(folder: &Path, list: &Path) -> String {
    let folder = folder.display();
    format!(
        "Dir::Etc::sourcelist \"{}\";\n\
         Dir::Etc::sourceparts \"-\";\n\
         Dir::State \"{folder}/state\";\n\
         Dir::State::lists \"{folder}/state/lists\";\n\
         Dir::Cache \"{folder}/cache\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
         Acquire::Languages \"none\";\n\
         APT::Update::Error-Mode \"any\";\n\
         // apt's own user need not be able to read the target directory.\n\
         APT::Sandbox::User \"root\";\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n",
        list.display()
    )
}

/// The numbers in `name`, as a sort key: `6.1.0-47` comes before `6.1.0-50`.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|character: char| !character.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// Extracts the kernel from the package in `folder` and removes everything else. Returns the package's name and
/// version.
fn unpack(folder: &Path) -> Result<String> {
    let package = only(folder, |name| name.ends_with(".deb"))?;
    let contents = folder.join("contents");
    command::capture(Command::new("dpkg-deb").arg("--extract").args([&package, &contents]))?;
    let kernel = only(&contents.join("boot"), |name| name.starts_with("vmlinuz-"))?;
    let file = folder.join("vmlinuz");
    fs::rename(&kernel, &file).with_context(|| format!("cannot move {}", kernel.display()))?;
    let named = command::capture(
        Command::new("dpkg-deb").args(["--show", "--showformat", "${Package} ${Version}"]).arg(&package),
    )?;
    fs::remove_dir_all(&contents).with_context(|| format!("cannot remove {}", contents.display()))?;
    fs::remove_file(&package).with_context(|| format!("cannot remove {}", package.display()))?;
    Ok(named)
}

/// The first file in `folder` whose name satisfies `asked`.
fn only(folder: &Path, requested: impl Fn(&str) -> bool) -> Result<PathBuf> {
    fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|name| requested(&name.to_string_lossy())))
        .with_context(|| format!("{} does not have the expected content", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::{mirror_in, numbers};

    #[test]
    fn the_mirror_is_a_debian_source() {
        let targets = "cloud-tools main http://a.example/tools/\n\
                       bookworm-security main http://b.example/security/\n\
                       bookworm contrib http://c.example/debian/\n\
                       bookworm main http://d.example/debian/\n";
        assert_eq!(mirror_in(targets), Some("http://d.example/debian/"));
        assert_eq!(mirror_in("noble main http://e.example/\n"), None);
    }

    #[test]
    fn versions_are_in_order() {
        assert!(numbers("linux-image-6.1.0-9-cloud-amd64") < numbers("linux-image-6.1.0-50-cloud-amd64"));
        assert!(numbers("linux-image-6.12.9+deb12-cloud") < numbers("linux-image-6.12.95+deb12-cloud"));
    }
}
