//! Target of the place up to which a log was read: whatever was saved, the log is read on, and no line of it twice or
//! under another line's place.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use agent::sources::follow::{Beginning, Follower, PathPosition};
use agent::sources::line_reader::{Block, FileId, FilePosition};
use serde_json::{Value, json};

use super::input::Input;

/// Both are long enough to be known by their content alone, and their last line has no end.
const ROTATED: &str =
    "first of the old file\nfrom 203.0.113.5\nfrom 203.0.113.6 to 192.0.2.7\n\nlast of the old";
const CURRENT: &str =
    "first of the new file\nwww.evil.example\nfrom 2001:db8::5 to 2001:db8::6\n\nlast of the new";
const LATER: &str = "written later";
/// More than is needed to begin, read and close two files.
const TURNS_MAX: usize = 32;
const HOUR: Duration = Duration::from_secs(3600);

/// What the first byte says of the files.
const IS_ROTATED: u8 = 1;
const IS_PACKED: u8 = 2;
const IS_LATE: u8 = 4;
const GIVES_PARTIAL: u8 = 8;

/// A log in a folder of its own.
struct Log {
    folder: tempfile::TempDir,
    path: PathBuf,
    /// The file under the log's name, and the one that had it before.
    ids: [Option<FileId>; 2],
}

impl Log {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("syslog");
        Self { folder, path, ids: [None; 2] }
    }

    fn append(&mut self, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        self.ids[0] = Some(FileId::of(&file.metadata().unwrap()));
    }

    fn rotate(&mut self) {
        fs::rename(&self.path, self.rotated()).unwrap();
        self.ids = [None, self.ids[0]];
    }

    fn rotated(&self) -> PathBuf {
        self.folder.path().join("syslog.1")
    }

    /// As the first byte says.
    fn of(flags: u8) -> Self {
        let mut log = Self::new();
        if flags & IS_ROTATED != 0 {
            log.append(ROTATED);
            log.rotate();
            let mut name = log.rotated();
            if flags & IS_PACKED != 0 {
                let packed = zstd::encode_all(ROTATED.as_bytes(), 1).unwrap();
                fs::write(name.with_extension("1.zst"), packed).unwrap();
                fs::remove_file(&name).unwrap();
                name = name.with_extension("1.zst");
            }
            log.append(CURRENT);
            // The clock of files is coarse: what is to be later is so for certain.
            let now = SystemTime::now();
            let written = if flags & IS_LATE != 0 { now + HOUR } else { now - HOUR };
            File::options().write(true).open(name).unwrap().set_modified(written).unwrap();
        } else {
            log.append(CURRENT);
        }
        log
    }

    /// In what is saved inode 1 stands for the current file and 2 for the rotated one. All other files are on one
    /// device, and a link leads to this folder.
    fn put_in(&self, saved: &mut PathPosition) {
        for file in &mut saved.files {
            let known = file.id.inode.checked_sub(1).and_then(|at| self.ids.get(usize::try_from(at).ok()?));
            let other = FileId { device: 1, ..file.id };
            file.id = known.copied().flatten().unwrap_or(other);
        }
        if !saved.target.is_empty() {
            let name = String::from_utf8_lossy(&saved.target).replace(['/', '\0'], "_");
            saved.target = self.folder.path().join(name).into_os_string().into_encoded_bytes();
        }
    }

    /// The other way round.
    fn take_out(&self, mut saved: PathPosition) -> PathPosition {
        for file in &mut saved.files {
            let known = self.ids.iter().position(|id| *id == Some(file.id)).unwrap();
            file.id = FileId { device: 1, inode: known as u64 + 1, born: None };
            // A time of today.
            file.begun_at = None;
        }
        saved
    }
}

/// Whether each content of a file is there once and the last of a file is its newest, as the program saves them: what
/// comes after it is numbered on from there, and the number is in the place of each line.
fn tells_contents_apart(saved: &PathPosition) -> bool {
    saved.files.iter().enumerate().all(|(at, file)| {
        let later: Vec<u32> = saved.files[at + 1..]
            .iter()
            .filter(|later| later.id.is(&file.id))
            .map(|later| later.truncations)
            .collect();
        let is_newer = later.last().is_none_or(|last| *last > file.truncations);
        is_newer && !later.contains(&file.truncations) && file.truncations < u32::MAX
    })
}

/// Reads until nothing is left; gives the place and text of each line.
fn read_all(follower: &mut Follower) -> Vec<(u64, String)> {
    let mut lines = Vec::new();
    let mut block = Block::default();
    for _ in 0..TURNS_MAX {
        let turn = follower.turn(&mut block, &mut |line| {
            lines.push((line.place, String::from_utf8(line.bytes.to_vec()).unwrap()));
            true
        });
        assert!(turn.trouble.is_none(), "{:?}", turn.trouble);
        if !turn.more {
            return lines;
        }
    }
    panic!("there is always more to read");
}

/// A flag for each thing that may be with the files, and JSON of what was saved.
pub fn tail_positions(bytes: &[u8]) {
    let mut input = Input(bytes);
    let flags = input.byte();
    let Ok(mut saved) = serde_json::from_slice::<PathPosition>(input.0) else { return };
    let mut log = Log::of(flags);
    log.put_in(&mut saved);
    let has_places = tells_contents_apart(&saved);
    let partial_after = if flags & GIVES_PARTIAL != 0 { Duration::ZERO } else { HOUR };
    let mut follower = Follower::resume(&log.path, saved, partial_after);
    let mut lines = read_all(&mut follower);
    log.append(&format!("\n{LATER}\n"));
    lines.extend(read_all(&mut follower));
    assert_eq!(lines.last().map(|(_, text)| text.as_str()), Some(LATER), "it does not go on");

    let mut texts = HashMap::new();
    for (place, text) in &lines {
        let is_rest = |all: &str| all.split('\n').any(|line| line.ends_with(text.as_str()));
        assert!([ROTATED, CURRENT, LATER].into_iter().any(is_rest), "{text} is no line");
        let other = texts.insert(place, text);
        assert!(
            !has_places || other.is_none_or(|other| other == text),
            "{other:?} and {text} have one place"
        );
    }
    let given: usize = lines.iter().map(|(_, text)| text.len() + 1).sum();
    let there =
        if flags & IS_ROTATED != 0 { ROTATED.len() + 1 } else { 0 } + CURRENT.len() + 1 + LATER.len() + 1;
    assert!(given <= there, "more than there is: {lines:?}");
}

/// What the program saves of a log that is rotated and truncated.
fn saved() -> Vec<(&'static str, PathPosition)> {
    let mut log = Log::new();
    let mut all = Vec::new();
    let half = |text: &'static str| text.split_at(text.len() / 2);
    log.append(half(ROTATED).0);
    let (mut follower, _) = Follower::begin(&log.path, Beginning::Start, HOUR);
    read_all(&mut follower);
    let before = follower.position();
    log.append(half(ROTATED).1);
    log.rotate();
    log.append(half(CURRENT).0);
    all.push(("rotated_unread", log.take_out(before)));
    follower.turn(&mut Block::default(), &mut |_| false);
    read_all(&mut follower);
    all.push(("rotated", log.take_out(follower.position())));
    log.append(half(CURRENT).1);
    read_all(&mut follower);
    all.push(("read", log.take_out(follower.position())));
    let (mut other, _) = Follower::begin(&log.path, Beginning::End, HOUR);
    read_all(&mut other);
    all.push(("from_end", log.take_out(other.position())));
    let mut truncated = log.take_out(follower.position());
    let file = truncated.files.pop().unwrap();
    let again = FilePosition { truncations: 1, ..file.begun() };
    truncated.files.extend([FilePosition { open: false, ..file }, again]);
    all.push(("truncated", truncated.clone()));
    let newest = truncated.files.last_mut().unwrap();
    *newest = FilePosition { truncations: 1, ..file };
    all.push(("truncated_and_read", truncated));
    all
}

/// Positions as the program saves them, cut, and with numbers that it never writes.
pub fn positions() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let mut seed = |name: String, flags: u8, saved: &[u8]| seeds.push((name, [&[flags][..], saved].concat()));
    for ((name, position), other) in saved().into_iter().zip((0..16).step_by(2)) {
        let text = serde_json::to_vec(&position).unwrap();
        seed(name.into(), IS_ROTATED, &text);
        seed(format!("{name}_with_flags"), IS_ROTATED | other, &text);
        seed(format!("{name}_of_one_file"), GIVES_PARTIAL, &text);
        seed(format!("{name}_cut"), IS_ROTATED, &text[..text.len() * 2 / 3]);
        let odd = [
            ("offset", json!(u64::MAX)),
            ("lines", json!(u64::MAX)),
            ("truncations", json!(u32::MAX)),
            ("given", json!(u32::MAX)),
            ("head", json!({"bytes": u16::MAX, "crc": 0})),
            ("id", json!({"device": 1, "inode": 3, "born": i64::MIN})),
            ("open", json!(true)),
            ("begun_at", json!(0)),
        ];
        for (field, value) in odd {
            let mut changed: Value = serde_json::from_slice(&text).unwrap();
            let newest = changed["files"].as_array_mut().and_then(|files| files.last_mut()).unwrap();
            newest[field] = value;
            seed(format!("{name}_odd_{field}"), IS_ROTATED | IS_LATE, changed.to_string().as_bytes());
        }
    }
    seed("nothing".into(), 0, br#"{"files":[]}"#);
    seed(
        "link".into(),
        IS_ROTATED,
        &serde_json::to_vec(&json!({"files": [], "target": b"syslog.1"})).unwrap(),
    );
    seeds
}
