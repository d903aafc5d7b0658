//! Embeds the kernel object, if it has been built; without it the probe compiles too, and says so at run time.

use std::env::var_os;
use std::error::Error;
use std::fs::File;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=PROBE_EBPF_OBJECT");
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    println!("cargo::rerun-if-changed=build.rs");
    let object = object_path();
    // Held by `cargo xtask` while it makes the object beside this build.
    let making = object.with_file_name("lock");
    if let Ok(making) = File::open(making) {
        making.lock_shared()?;
    }
    let embedded = PathBuf::from(var_os("OUT_DIR").ok_or("OUT_DIR is not set")?).join("probe-ebpf");
    if object.is_file() {
        println!("cargo::rerun-if-changed={}", object.display());
        std::fs::copy(&object, &embedded)?;
    } else {
        // Cargo cannot watch for a file to appear, but it can watch a folder.
        if let Some(folder) = object.parent() {
            std::fs::create_dir_all(folder)?;
            println!("cargo::rerun-if-changed={}", folder.display());
        }
        std::fs::write(&embedded, [])?;
    }
    Ok(())
}

/// Where `cargo xtask build-ebpf` leaves the object.
fn object_path() -> PathBuf {
    if let Some(path) = var_os("PROBE_EBPF_OBJECT") {
        return PathBuf::from(path);
    }
    // Asked now, not when this script was compiled: the folder may have been moved since.
    let workspace = PathBuf::from(var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..");
    let target = match var_os("CARGO_TARGET_DIR") {
        // A relative one is meant from where cargo was started, which is the workspace.
        Some(target) => workspace.join(target),
        None => workspace.join("target"),
    };
    target.join("bpf").join("probe-ebpf")
}
