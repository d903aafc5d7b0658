//! Embeds the kernel object in the probe.
//!
//! The probe also compiles without an object. It then reports the missing object at run time.

use std::env::var_os;
use std::error::Error;
use std::fs::File;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=PROBE_EBPF_OBJECT");
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    println!("cargo::rerun-if-changed=build.rs");
    let object = object_path();
    // `cargo xtask` holds this lock while it builds the object in parallel with this build.
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

/// The path where `cargo xtask build-ebpf` writes the object.
fn object_path() -> PathBuf {
    if let Some(path) = var_os("PROBE_EBPF_OBJECT") {
        return PathBuf::from(path);
    }
    // Read the variable at run time, because the folder may have moved since this script was compiled.
    let workspace = PathBuf::from(var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..");
    let target = match var_os("CARGO_TARGET_DIR") {
        // A relative path is relative to the workspace, where cargo was started.
        Some(target) => workspace.join(target),
        None => workspace.join("target"),
    };
    target.join("bpf").join("probe-ebpf")
}
