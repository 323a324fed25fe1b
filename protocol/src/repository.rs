//! Names of the files of a signed repository (TUF 1.0), as they travel between desk, collector and agents.
//!
//! A name is checked here once, so that no path made by somebody else reaches a file system.

use std::cmp::Ordering;
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::bundle::Serial;
use crate::text::{Hex, text_form};

/// The largest metadata file that is fetched or taken, in bytes.
pub const METADATA_BYTES_MAX: u64 = 1 << 20;
/// The largest bundle that is fetched or taken, in bytes compressed.
pub const BUNDLE_BYTES_MAX: u64 = 1 << 30;
/// The folder of metadata in a repository.
pub const METADATA_FOLDER: &str = "metadata";
/// The folder of bundles in a repository.
pub const TARGETS_FOLDER: &str = "targets";

/// What one version of the targets leaves for the versions of the snapshots and timestamps over it: seconds until 2286.
const VERSIONS_OF_TARGETS: u64 = 10_000_000_000;

/// The version of the next snapshot or timestamp over a version of the targets, whoever signs it: after `before`, and
/// in front the targets' version, then the time in seconds. Desk and collector sign both without asking each other,
/// and still the newer targets always win, over however wrong a clock; the clock only orders what is signed over the
/// same targets, where nothing is lost when a signature counts as older.
pub fn next_online_version(targets: u64, seconds: i64, before: u64) -> NonZeroU64 {
    let seconds = u64::try_from(seconds).unwrap_or(0).min(VERSIONS_OF_TARGETS - 1);
    let by_time = targets.saturating_mul(VERSIONS_OF_TARGETS).saturating_add(seconds);
    NonZeroU64::MIN.saturating_add(by_time.max(before.saturating_add(1)) - 1)
}

/// When a version that [`next_online_version`] gave says that it was signed, in seconds; `None` for a version from
/// before there was one.
pub fn seconds_of_online_version(version: u64) -> Option<i64> {
    if version < VERSIONS_OF_TARGETS {
        return None;
    }
    i64::try_from(version % VERSIONS_OF_TARGETS).ok()
}

/// A file of a repository: `metadata/NAME.json` or `targets/NAME`, with names of `[A-Za-z0-9._-]`,
/// at most 200 bytes, that do not begin with a dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryPath(Box<str>);

/// A path that no repository has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a file of a repository: it must be metadata/NAME.json or targets/NAME")]
pub struct NotARepositoryPath;

impl RepositoryPath {
    /// The path, with `/` between folder and name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many bytes a file of this name may have.
    pub fn bytes_max(&self) -> u64 {
        if self.0.starts_with(METADATA_FOLDER) { METADATA_BYTES_MAX } else { BUNDLE_BYTES_MAX }
    }
}

impl FromStr for RepositoryPath {
    type Err = NotARepositoryPath;

    fn from_str(text: &str) -> Result<Self, NotARepositoryPath> {
        let (folder, name) = text.split_once('/').ok_or(NotARepositoryPath)?;
        let known = match folder {
            METADATA_FOLDER => name.ends_with(".json"),
            TARGETS_FOLDER => true,
            _ => false,
        };
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !known || name.is_empty() || name.starts_with('.') || text.len() > 200 || !name.bytes().all(letter)
        {
            return Err(NotARepositoryPath);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for RepositoryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_form!(RepositoryPath);

/// Who signed a bundle, and which file it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The keys that may sign bundles and how many of them have to, as [`signers`] gives them.
    pub signers: String,
    /// SHA-256 of the full bundle's file, in hexadecimal digits.
    pub sha256: String,
}

/// Stands for a root's keys that may sign bundles and for how many of them have to: SHA-256 in hexadecimal digits.
pub fn signers<'a>(key_ids: impl IntoIterator<Item = &'a [u8]>, threshold: u64) -> String {
    let mut ids: Vec<&[u8]> = key_ids.into_iter().collect();
    ids.sort_unstable();
    ids.dedup();
    let mut digest = Sha256::new_with_prefix(threshold.to_be_bytes());
    for id in ids {
        digest.update((id.len() as u64).to_be_bytes());
        digest.update(id);
    }
    Hex(&digest.finalize()).to_string()
}

/// How a verified bundle stands to the one in force: `Greater` is to be put in force, `Equal` is in force already,
/// `Less` is older. Numbers order the bundles of the same signers only: who stole a key could give the highest number of
/// all, and nothing could follow it. When the root names other signers, the count begins anew with their first bundle.
/// A bundle in force of which nothing is known counts as theirs.
pub fn order(
    (serial, provenance): (Serial, &Provenance),
    (in_force, known): (Serial, Option<&Provenance>),
) -> Ordering {
    match known {
        Some(known) if known.signers != provenance.signers => {
            let is_same = serial == in_force && known.sha256 == provenance.sha256;
            if is_same { Ordering::Equal } else { Ordering::Greater }
        }
        _ => serial.cmp(&in_force),
    }
}

/// The TUF target name of a bundle.
pub fn bundle_target(serial: Serial) -> String {
    format!("bundle-{serial}.jsonl.zst")
}

/// The serial of a bundle by its TUF target name; `None` for other targets, such as one beyond [`Serial::MAX`].
pub fn serial_of_target(name: &str) -> Option<Serial> {
    let serial = name.strip_prefix("bundle-")?.strip_suffix(".jsonl.zst")?.parse().ok().map(Serial);
    serial.filter(|serial| *serial <= Serial::MAX)
}

/// The TUF target name of the delta from one bundle to a later one.
pub fn delta_target(base: Serial, serial: Serial) -> String {
    format!("delta-{base}-{serial}.jsonl.zst")
}

/// The bundles that a delta starts from and leads to, by its TUF target name; `None` for other targets.
pub fn serials_of_delta(name: &str) -> Option<(Serial, Serial)> {
    let (base, serial) = name.strip_prefix("delta-")?.strip_suffix(".jsonl.zst")?.split_once('-')?;
    let (base, serial) = (Serial(base.parse().ok()?), Serial(serial.parse().ok()?));
    (base < serial && delta_target(base, serial) == name).then_some((base, serial))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_in_the_two_folders_pass() {
        for good in ["metadata/timestamp.json", "metadata/1.root.json", "targets/abc.bundle-1.jsonl.zst"] {
            assert!(good.parse::<RepositoryPath>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "timestamp.json",
            "metadata/",
            "metadata/x",
            "metadata/../root.json",
            "targets/../../etc/passwd",
            "targets/.hidden",
            "targets/a/b",
            "/metadata/a.json",
            "metadata\\a.json",
            "targets/a\0b",
            "other/a",
        ] {
            assert!(bad.parse::<RepositoryPath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn newer_targets_win_over_any_clock_and_versions_only_rise() {
        let (now, year) = (1_795_000_000, 31_536_000);
        let check = |targets, seconds, before, expected: u64| {
            assert_eq!(next_online_version(targets, seconds, before).get(), expected);
        };
        check(6, now, 0, 61_795_000_000);
        check(6, now, 61_795_000_000, 61_795_000_001);
        check(6, now - year, 61_795_000_000, 61_795_000_001);
        check(7, now - year, 61_795_000_000 + 31_536_000, 71_763_464_000);
        check(7, -5, 61_795_000_000, 70_000_000_000);
        check(7, i64::MAX, 0, 79_999_999_999);
        check(1, now, 4, 11_795_000_000);
        check(u64::MAX, now, u64::MAX, u64::MAX);
        assert_eq!(seconds_of_online_version(61_795_000_000), Some(now));
        assert_eq!(seconds_of_online_version(12), None);
    }

    #[test]
    fn numbers_order_the_bundles_of_the_same_signers_only() {
        let of = |signers: &str, sha256: &str| Provenance { signers: signers.into(), sha256: sha256.into() };
        let check = |offered: (u64, &str, &str), in_force: (u64, &str, &str), expected| {
            let (offered_by, known) = (of(offered.1, offered.2), of(in_force.1, in_force.2));
            let told = order((Serial(offered.0), &offered_by), (Serial(in_force.0), Some(&known)));
            assert_eq!(told, expected, "{offered:?} {in_force:?}");
        };
        check((6, "a", "x"), (5, "a", "y"), Ordering::Greater);
        check((5, "a", "x"), (5, "a", "y"), Ordering::Equal);
        check((5, "a", "x"), (Serial::MAX.0, "a", "x"), Ordering::Less);
        check((5, "b", "x"), (Serial::MAX.0, "a", "x"), Ordering::Greater);
        check((5, "b", "x"), (5, "a", "y"), Ordering::Greater);
        check((5, "b", "x"), (5, "a", "x"), Ordering::Equal);
        let unknown = |serial| order((Serial(serial), &of("b", "x")), (Serial(5), None));
        assert_eq!([4, 5, 6].map(unknown), [Ordering::Less, Ordering::Equal, Ordering::Greater]);
    }

    #[test]
    fn signers_are_known_whatever_their_order_and_by_how_many_have_to_sign() {
        let signers = |ids: &[&str], threshold| signers(ids.iter().map(|id| id.as_bytes()), threshold);
        assert_eq!(signers(&["a", "b"], 1), signers(&["b", "a", "b"], 1));
        let others = [signers(&["a"], 1), signers(&["a", "b"], 2), signers(&["ab"], 1), signers(&[], 1)];
        assert!(others.iter().all(|other| *other != signers(&["a", "b"], 1)));
    }

    #[test]
    fn a_bundle_is_known_by_its_name() {
        assert_eq!(serial_of_target(&bundle_target(Serial(42))), Some(Serial(42)));
        assert_eq!(serial_of_target(&bundle_target(Serial::MAX)), Some(Serial::MAX));
        assert_eq!(serial_of_target("bundle-9223372036854775808.jsonl.zst"), None);
        assert_eq!(serial_of_target("delta-1-2.jsonl.zst"), None);
    }

    #[test]
    fn a_delta_is_known_by_its_name_and_leads_to_a_later_bundle() {
        let name = delta_target(Serial(41), Serial(42));
        assert_eq!(serials_of_delta(&name), Some((Serial(41), Serial(42))));
        assert!(format!("targets/{name}").parse::<RepositoryPath>().is_ok());
        for other in [
            "bundle-42.jsonl.zst",
            "delta-42-41.jsonl.zst",
            "delta-42-42.jsonl.zst",
            "delta-041-42.jsonl.zst",
            "delta-+41-42.jsonl.zst",
            "delta-41.jsonl.zst",
            "delta-41-42-43.jsonl.zst",
            "delta-41-42.jsonl",
        ] {
            assert_eq!(serials_of_delta(other), None, "{other}");
        }
    }
}
