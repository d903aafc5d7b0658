//! Writes initramfs archives (`cpio`, "newc" format).
//!
//! The kernel documents the format in `Documentation/driver-api/early-userspace/buffer-format.rst`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive under construction.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<PathBuf>,
    /// Number of entries, used as inode number. Entries with equal inode numbers would be hard links.
    entries: u32,
}

impl Archive {
    /// Adds an executable file and its parent folders.
    pub(super) fn file(&mut self, path: &Path, content: &[u8]) {
        self.parents(path);
        self.entry(path, PROGRAM, content, (0, 0));
    }

    /// Adds a character device with these device numbers.
    pub(super) fn device(&mut self, path: &Path, major: u32, minor: u32) {
        self.parents(path);
        self.entry(path, CHARACTER_DEVICE, &[], (major, minor));
    }

    /// Completes the archive and returns its bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry(Path::new("TRAILER!!!"), 0, &[], (0, 0));
        self.bytes
    }

    fn parents(&mut self, path: &Path) {
        let mut missing: Vec<PathBuf> = path
            .ancestors()
            .skip(1)
            .filter(|folder| folder.file_name().is_some() && !self.folders.contains(*folder))
            .map(Path::to_path_buf)
            .collect();
        while let Some(folder) = missing.pop() {
            self.entry(&folder, FOLDER, &[], (0, 0));
            self.folders.insert(folder);
        }
    }

    fn entry(&mut self, path: &Path, mode: u32, content: &[u8], (major, minor): (u32, u32)) {
        self.entries += 1;
        let name = path.to_string_lossy();
        let name = name.trim_start_matches('/');
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let links = if mode == FOLDER { 2 } else { 1 };
        // inode, mode, user, group, links, mtime, size, device (2), device number (2), name length, checksum
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            length(content.len()),
            0,
            0,
            major,
            minor,
            length(name.len() + 1),
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Pads to a multiple of four bytes, as headers and contents require.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Archive;

    struct Entry {
        name: String,
        mode: u32,
        device: (u32, u32),
        content: Vec<u8>,
    }

    fn read(mut bytes: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            let text = std::str::from_utf8(&bytes[..110]).expect("a head of ASCII");
            assert_eq!(&text[..6], "070701");
            let field = |index: usize| {
                u32::from_str_radix(&text[6 + index * 8..14 + index * 8], 16).expect("eight hex digits")
            };
            let (size, name) = (field(6) as usize, field(11) as usize);
            let content = (110 + name).next_multiple_of(4);
            let end = (content + size).next_multiple_of(4);
            assert_eq!(bytes[110 + name - 1], 0, "the name ends with a zero");
            entries.push(Entry {
                name: String::from_utf8(bytes[110..110 + name - 1].to_vec()).expect("a name"),
                mode: field(1),
                device: (field(9), field(10)),
                content: bytes[content..content + size].to_vec(),
            });
            bytes = &bytes[end..];
        }
        entries
    }

    #[test]
    fn folders_come_once_and_before_what_is_in_them() {
        let mut archive = Archive::default();
        archive.file(Path::new("/a/b/one"), b"12345");
        archive.file(Path::new("/a/two"), b"");
        archive.device(Path::new("/dev/console"), 5, 1);
        let entries = read(&archive.finish());
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["a", "a/b", "a/b/one", "a/two", "dev", "dev/console", "TRAILER!!!"]);
        assert_eq!((entries[2].mode, entries[2].content.as_slice()), (0o100_755, b"12345".as_slice()));
        assert_eq!((entries[5].mode, entries[5].device), (0o020_600, (5, 1)));
    }
}
