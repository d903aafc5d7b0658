//! Reads the version and the boot id of the running kernel.

/// The running kernel's release, such as `6.18.4-1-amd64`; empty when it cannot be read.
pub(crate) fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// The id of this boot, the same in every container of the host; empty when it cannot be read.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Parses the major and minor version of a release.
pub(crate) fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_understood() {
        for (release, version) in [
            ("6.18.44-fc-v657", Some((6, 18))),
            ("5.10.0-32-cloud-amd64", Some((5, 10))),
            ("6.1", Some((6, 1))),
            ("6.12-rc3", Some((6, 12))),
            ("", None),
            ("linux", None),
        ] {
            assert_eq!(kernel_version(release), version, "{release}");
        }
    }
}
