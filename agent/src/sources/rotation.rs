//! Names in a log's folder: which files a pattern means, and what a rotation made of a file.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::line_reader::FileId;

/// Endings that log rotation gives to files that are not read again.
const COMPRESSED: [&str; 5] = ["gz", "xz", "zst", "bz2", "lz4"];

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
        if matches(name.as_bytes(), candidate.as_bytes())
            && !is_compressed(&candidate)
            && fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file())
        {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
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

fn is_compressed(name: &OsStr) -> bool {
    Path::new(name).extension().and_then(OsStr::to_str).is_some_and(|ending| COMPRESSED.contains(&ending))
}

/// A rotated file beside a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// Its name now.
    pub path: PathBuf,
    /// Which file it is.
    pub id: FileId,
    /// When it was last written.
    pub written: SystemTime,
}

/// Files in the log's folder that a rotation may have made of it: its name followed by `.` or `-`, or any
/// name with an inode that is looked for. Oldest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn rotated(log: &Path, wanted: &[FileId]) -> io::Result<Vec<Rotated>> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name()) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let candidate = entry.file_name();
        let Ok(metadata) = entry.metadata() else { continue };
        if !metadata.is_file() || candidate == name {
            continue;
        }
        let id = FileId::of(&metadata);
        let rest = candidate.as_bytes().strip_prefix(name.as_bytes());
        let named = rest.is_some_and(|rest| rest.starts_with(b".") || rest.starts_with(b"-"));
        let is_wanted = wanted.iter().any(|wanted| wanted.is(&id));
        if is_wanted || (named && !is_compressed(&candidate)) {
            let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            found.push(Rotated { path: entry.path(), id, written });
        }
    }
    // Of two files written in the same instant the one with the higher number was rotated before.
    found.sort_by(|a, b| (a.written, &b.path).cmp(&(b.written, &a.path)));
    Ok(found)
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
        let found = expand(&folder.path().join("*.log*")).unwrap();
        assert_eq!(found, [folder.path().join("a.log"), folder.path().join("b.log")]);
    }
}
