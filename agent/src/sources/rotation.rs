//! Names in a log's folder: which files a pattern means, and what a rotation made of a file.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::file_position::{FilePosition, micros};
use super::line_reader::FileId;
use super::packed::Packing;

/// Whether a path is a pattern.
pub fn is_pattern(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes().iter().any(|byte| matches!(byte, b'*' | b'?')))
}

/// Files that a pattern means now, in the order of their names. Compressed ones are rotated copies.
///
/// # Errors
/// When the folder cannot be read.
pub fn expand(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (pattern.parent(), pattern.file_name()) else { return Ok(Vec::new()) };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let candidate = entry.file_name();
        let candidate = candidate.as_bytes();
        if matches(name.as_bytes(), candidate) && Packing::of(candidate).is_none() {
            let kind = entry.file_type()?;
            // Only a link has to be asked what it leads to.
            let is_file = kind.is_file()
                || kind.is_symlink() && fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file());
            if is_file {
                paths.push(entry.path());
            }
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether a path is what rotation made of another of these paths: that name, followed by numbers or a date.
pub fn is_rotated(path: &Path, others: &HashSet<PathBuf>) -> bool {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return false };
    let name = name.as_bytes();
    (1..name.len()).any(|at| {
        let (base, rest) = name.split_at(at);
        let is_number = |rest: &[u8]| {
            rest.iter().any(u8::is_ascii_digit)
                && rest.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_' | b'T'))
        };
        matches!(rest.first(), Some(b'.' | b'-'))
            && (is_number(rest) || rest == b".old")
            && others.contains(&folder.join(OsStr::from_bytes(base)))
    })
}

/// `*` stands for any bytes, `?` for one.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star = None;
    while from < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(letter) if *letter == b'?' || Some(letter) == name.get(from) => {
                (at, from) = (at + 1, from + 1)
            }
            _ => match star {
                Some((star_at, star_from)) => {
                    star = Some((star_at, star_from + 1));
                    (at, from) = (star_at + 1, star_from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|letter| *letter == b'*')
}

/// A file beside a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Its name now.
    pub path: PathBuf,
    /// Which file it is.
    pub id: FileId,
    /// How it is compressed.
    pub packing: Option<Packing>,
    /// When it was last written.
    pub written: SystemTime,
}

impl Beside {
    /// Whether it was written after a time in microseconds.
    pub fn is_after(&self, time: i64) -> bool {
        micros(self.written).is_some_and(|written| written > time)
    }

    /// Whether it was written before this content began.
    pub fn is_too_old_for(&self, content: &FilePosition) -> bool {
        // What was not empty any more when it was seen first may have been copied before.
        let begun = content.begun_at.filter(|_| content.is_blank());
        begun.is_some_and(|begun| !self.is_after(begun))
            || content.id.born.is_some_and(|born| micros(self.written).is_some_and(|written| written < born))
    }
}

/// Files that a rotation may have made of a log: its name followed by `.` or `-`, or any name with an inode that is
/// looked for. The log may have several homes: its own path and what that leads to. Oldest first.
///
/// # Errors
/// When a folder cannot be read.
pub fn beside(homes: &[PathBuf], wanted: &[FileId]) -> io::Result<Vec<Beside>> {
    let mut found: Vec<Beside> = Vec::new();
    for (number, home) in homes.iter().enumerate() {
        let (Some(folder), Some(name)) = (home.parent(), home.file_name()) else { continue };
        let entries = match fs::read_dir(folder) {
            // What a link led to may be gone.
            Err(_) if number > 0 => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let candidate = entry.file_name();
            let Some(rest) = candidate.as_bytes().strip_prefix(name.as_bytes()) else { continue };
            if rest.starts_with(b".") || rest.starts_with(b"-") || (number > 0 && rest.is_empty()) {
                found.extend(look_at(&entry, None));
            }
        }
        for entry in fs::read_dir(folder)?.flatten() {
            if wanted.is_empty() || (number == 0 && entry.file_name() == name) {
                continue;
            }
            let inode = std::os::unix::fs::DirEntryExt::ino(&entry);
            if wanted.iter().any(|wanted| wanted.inode == inode) {
                found.extend(look_at(&entry, Some(wanted)));
            }
        }
    }
    // Of two files written in the same instant the one with the higher number was rotated before.
    found.sort_by(|a, b| (a.written, &b.path).cmp(&(b.written, &a.path)));
    let mut seen: Vec<FileId> = Vec::new();
    found.retain(|file| {
        let new = !seen.contains(&file.id);
        seen.push(file.id);
        new
    });
    let names: Vec<PathBuf> = found.iter().map(|file| file.path.clone()).collect();
    // While a file is being compressed it is there twice, once unfinished.
    found.retain(|file| file.packing.is_none() || !names.contains(&file.path.with_extension("")));
    Ok(found)
}

fn look_at(entry: &fs::DirEntry, wanted: Option<&[FileId]>) -> Option<Beside> {
    let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
    let id = FileId::of(&metadata);
    if wanted.is_some_and(|wanted| !wanted.iter().any(|wanted| wanted.is(&id))) {
        return None;
    }
    let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let path = entry.path();
    Some(Beside { packing: Packing::of(path.as_os_str().as_bytes()), path, id, written })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str, expected: bool) {
        assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
    }

    #[test]
    fn patterns_mean_what_a_shell_means() {
        check("*.log", "firewall.log", true);
        check("*.log", "firewall.log.1", false);
        check("*.log*", "firewall.log.1", true);
        check("fw-?.log", "fw-1.log", true);
        check("fw-?.log", "fw-12.log", false);
        check("*a*b", "xaxxbxb", true);
        check("*", "", true);
        check("?", "", false);
        check("a**", "a", true);
    }

    #[test]
    fn compressed_copies_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.log", "a.log", "a.log.1.gz", "c.txt"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        fs::create_dir(folder.path().join("d.log")).unwrap();
        std::os::unix::fs::symlink("b.log", folder.path().join("e.log")).unwrap();
        std::os::unix::fs::symlink("d.log", folder.path().join("f.log")).unwrap();
        let found = expand(&folder.path().join("*.log*")).unwrap();
        assert_eq!(found, ["a.log", "b.log", "e.log"].map(|name| folder.path().join(name)));
    }

    #[test]
    fn a_rotated_name_is_a_log_s_name_with_a_number() {
        let others: HashSet<PathBuf> = ["/l/fw.log", "/l/fw"].map(PathBuf::from).into();
        for (name, expected) in [
            ("/l/fw.log.1", true),
            ("/l/fw.log-20261122", true),
            ("/l/fw.log.2026-11-22T10", true),
            ("/l/fw.log.old", true),
            ("/l/fw-2", true),
            ("/l/fw.log", false),
            ("/l/fw.log.extra", false),
            ("/l/other.log.1", false),
            ("/m/fw.log.1", false),
        ] {
            assert_eq!(is_rotated(Path::new(name), &others), expected, "{name}");
        }
    }

    #[test]
    fn what_a_rotation_made_of_a_log_is_found_by_name_and_inode() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["log", "log.1", "log-20261122", "logs", "log.2", "log.2.gz", "log.3.zst", "archived"] {
            fs::write(path(name), "x").unwrap();
        }
        fs::create_dir(path("log.d")).unwrap();
        let archived = FileId::of(&fs::metadata(path("archived")).unwrap());
        let found = beside(&[path("log")], &[archived]).unwrap();
        let mut names: Vec<_> = found.iter().map(|file| file.path.clone()).collect();
        names.sort();
        let expected = ["archived", "log-20261122", "log.1", "log.2", "log.3.zst"].map(path);
        assert_eq!(names, expected);
        // Where a link leads to another folder, both are looked through.
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("real"), "x").unwrap();
        fs::write(other.path().join("real.1"), "x").unwrap();
        let found = beside(&[path("nothing"), other.path().join("real")], &[]).unwrap();
        assert_eq!(found.len(), 2);
    }
}
