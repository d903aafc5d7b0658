//! Makes container images of one program each, without a container engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use lab::command;
use serde_json::json;

/// What an image runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Image<'a> {
    /// The name that pods refer to.
    pub(crate) reference: &'a str,
    pub(crate) program: &'a Path,
    pub(crate) user: &'a str,
    pub(crate) environment: &'a [&'a str],
    pub(crate) arguments: &'a [&'a str],
}

/// Files beside the program, as in deploy/Dockerfile.
const FILES: [(&str, &str); 3] = [
    ("etc/nsswitch.conf", "hosts: files dns\n"),
    ("etc/passwd", "root:x:0:0::/:/none\nlab:x:65532:65532::/:/none\n"),
    ("etc/group", "root:x:0:\nlab:x:65532:\n"),
];

impl Image<'_> {
    /// Writes the image as an archive into `folder`, unless it is there and newer than its program.
    ///
    /// # Errors
    /// When the program or a library cannot be copied, or the archive cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf> {
        let name = self.program.file_name().context("a program without a name")?.to_string_lossy();
        let archive = folder.join(format!("{name}.tar"));
        let changed = fs::metadata(self.program).and_then(|data| data.modified());
        let changed = changed.with_context(|| self.program.display().to_string())?;
        if fs::metadata(&archive).and_then(|data| data.modified()).is_ok_and(|made| made > changed) {
            return Ok(archive);
        }
        let work = tempfile::Builder::new().prefix("image-").tempdir_in(folder)?;
        let root = work.path().join("root");
        self.lay_out(&root, &name)?;
        let layer = work.path().join("layer.tar");
        let mut pack = tar(&layer, &root);
        command::capture(pack.args(["--mode", "u+rwX,go+rX", "."]))?;
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sum(&layer)?)] },
            "config": {
                "User": self.user, "Env": self.environment,
                "Entrypoint": [format!("/{name}")], "Cmd": self.arguments,
            },
        });
        let text = work.path().join("config");
        fs::write(&text, config.to_string())?;
        let named = format!("{}.json", sum(&text)?);
        fs::rename(&text, work.path().join(&named))?;
        let manifest = json!([{ "Config": named, "RepoTags": [self.reference], "Layers": ["layer.tar"] }]);
        fs::write(work.path().join("manifest.json"), manifest.to_string())?;
        let unfinished = work.path().join("image");
        command::capture(tar(&unfinished, work.path()).args(["layer.tar", &named, "manifest.json"]))?;
        fs::rename(&unfinished, &archive)?;
        Ok(archive)
    }

    /// Copies the program and the libraries that it is linked with.
    fn lay_out(&self, root: &Path, name: &str) -> Result<()> {
        fs::create_dir_all(root.join("etc"))?;
        for (path, text) in FILES {
            fs::write(root.join(path), text)?;
        }
        fs::copy(self.program, root.join(name)).with_context(|| self.program.display().to_string())?;
        // Fails for a static program, which needs no library.
        let linked = command::capture(Command::new("ldd").arg(self.program)).unwrap_or_default();
        for library in linked.split_whitespace().filter(|word| word.starts_with('/')) {
            let copy = root.join(library.trim_start_matches('/'));
            fs::create_dir_all(copy.parent().context("a library without a folder")?)?;
            fs::copy(library, &copy).with_context(|| library.to_owned())?;
        }
        Ok(())
    }
}

fn tar(archive: &Path, folder: &Path) -> Command {
    let mut tar = Command::new("tar");
    tar.args(["--numeric-owner", "--owner=0", "--group=0", "-cf"]).arg(archive).arg("-C").arg(folder);
    tar
}

fn sum(file: &Path) -> Result<String> {
    let printed = command::capture(Command::new("sha256sum").arg("--").arg(file))?;
    Ok(printed.split_whitespace().next().context("sha256sum printed nothing")?.to_owned())
}
