//! One path through rotations, truncations and restarts: every line once and in order.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::SystemTime;

use proptest::prelude::*;

use super::*;

#[path = "follow_copies_tests.rs"]
mod copies;
#[path = "follow_model_tests.rs"]
mod model;
#[path = "follow_saved_tests.rs"]
mod saved;

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

const PARTIAL_AFTER: Duration = Duration::from_secs(3600);

fn begin(path: &Path, beginning: Beginning) -> Follower {
    let (follower, trouble) = Follower::begin(path, beginning, PARTIAL_AFTER);
    assert!(trouble.is_none(), "{trouble:?}");
    follower
}

fn resume(path: &Path, saved: &PathPosition) -> Follower {
    // What is saved is what a file of the state gives back.
    let saved = serde_json::from_str(&serde_json::to_string(saved).unwrap()).unwrap();
    Follower::resume(path, saved, PARTIAL_AFTER)
}

/// Reads until nothing is left; gives each line and its place.
fn read_all(follower: &mut Follower) -> (Vec<String>, Vec<u64>, Vec<Gap>) {
    let (mut lines, mut places, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
    let mut block = Block::default();
    loop {
        let turn = follower.turn(&mut block, &mut |line| {
            lines.push(String::from_utf8(line.bytes.to_vec()).unwrap());
            places.push(line.place);
            true
        });
        gaps.extend(turn.gaps);
        match turn.trouble {
            None | Some(FollowError::Missing(_)) => {}
            Some(error) => panic!("{error}"),
        }
        if !turn.more {
            return (lines, places, gaps);
        }
    }
}

fn read(follower: &mut Follower) -> (Vec<String>, Vec<u64>, usize) {
    let (lines, places, gaps) = read_all(follower);
    (lines, places, gaps.len())
}

struct Log {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Log {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("syslog");
        Self { folder, path }
    }

    fn rotate(&self) {
        for number in (1..9).rev() {
            let from = self.folder.path().join(format!("syslog.{number}"));
            if from.exists() {
                fs::rename(from, self.folder.path().join(format!("syslog.{}", number + 1))).unwrap();
            }
        }
        if self.path.exists() {
            fs::rename(&self.path, self.folder.path().join("syslog.1")).unwrap();
        }
    }
}

#[test]
fn the_renamed_file_is_read_to_its_end_before_the_new_one() {
    let log = Log::new();
    append(&log.path, "a\n");
    let mut follower = begin(&log.path, Beginning::Start);
    assert_eq!(read(&mut follower).0, ["a"]);
    append(&log.path, "b\n");
    log.rotate();
    append(&log.path, "d\n");
    append(&log.folder.path().join("syslog.1"), "c\n");
    assert_eq!(read(&mut follower).0, ["b", "c", "d"]);
    // A writer that has not noticed yet.
    append(&log.folder.path().join("syslog.1"), "late\n");
    append(&log.path, "e\n");
    assert_eq!(read(&mut follower).0, ["late", "e"]);
}

#[test]
fn a_file_that_begins_while_nobody_reads_is_read_from_its_start() {
    let log = Log::new();
    let mut follower = begin(&log.path, Beginning::End);
    let turn = follower.turn(&mut Block::default(), &mut |_| true);
    assert!(matches!(turn.trouble, Some(FollowError::Missing(_))));
    let saved = follower.position();
    drop(follower);
    append(&log.path, "first\n");
    let mut follower = resume(&log.path, &saved);
    assert_eq!(read(&mut follower).0, ["first"]);
}

#[test]
fn at_the_very_first_start_old_lines_are_left_alone() {
    let log = Log::new();
    append(&log.path, "old\n");
    let mut follower = begin(&log.path, Beginning::End);
    append(&log.path, "new\n");
    assert_eq!(read(&mut follower).0, ["new"]);
}

#[test]
fn rotations_while_the_agent_was_down_are_read_in_order() {
    let log = Log::new();
    append(&log.path, "a\n");
    let mut follower = begin(&log.path, Beginning::Start);
    assert_eq!(read(&mut follower).0, ["a"]);
    let saved = follower.position();
    drop(follower);
    append(&log.path, "b\n");
    for text in ["c\n", "d\n", "e\n"] {
        log.rotate();
        append(&log.path, text);
    }
    let mut follower = resume(&log.path, &saved);
    let (lines, _, gaps) = read(&mut follower);
    assert_eq!((lines, gaps), (vec!["b".into(), "c".into(), "d".into(), "e".into()], 0));
}

#[test]
fn a_log_that_was_taken_away_while_the_agent_was_down_is_a_gap() {
    let log = Log::new();
    append(&log.path, "a\n");
    let mut follower = begin(&log.path, Beginning::Start);
    read(&mut follower);
    let saved = follower.position();
    drop(follower);
    // The new file is made first, so that its inode is another one.
    let other = log.folder.path().join("other");
    append(&other, "b\n");
    fs::rename(other, &log.path).unwrap();
    let mut follower = resume(&log.path, &saved);
    let (lines, _, gaps) = read(&mut follower);
    assert_eq!((lines, gaps), (vec!["b".to_owned()], 1));
}

#[test]
fn copytruncate_is_noticed_and_counted() {
    let log = Log::new();
    append(&log.path, "a long first line\n");
    let mut follower = begin(&log.path, Beginning::Start);
    let (_, before, _) = read(&mut follower);
    fs::copy(&log.path, log.folder.path().join("copy")).unwrap();
    fs::write(&log.path, "").unwrap();
    append(&log.path, "b\n");
    let (lines, after, gaps) = read(&mut follower);
    assert_eq!((lines, gaps), (vec!["b".to_owned()], 1));
    assert_ne!(before, after, "two lines have the same place");
}

fn gzip(path: &Path) {
    let packed = File::create(path.with_added_extension("gz")).unwrap();
    let written = fs::metadata(path).unwrap().modified().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
    gzip.write_all(&fs::read(path).unwrap()).unwrap();
    gzip.finish().unwrap().set_modified(written).unwrap();
    fs::remove_file(path).unwrap();
}

#[test]
fn what_a_copy_holds_that_was_not_read_is_read_from_it_once() {
    for (down, packed) in [(false, false), (true, false), (false, true), (true, true)] {
        let log = Log::new();
        let copy = log.folder.path().join("syslog.1");
        append(&log.path, "read\n");
        let mut follower = begin(&log.path, Beginning::Start);
        let (_, places, _) = read(&mut follower);
        append(&log.path, "copied\nlast\n");
        fs::copy(&log.path, &copy).unwrap();
        append(&log.path, "never copied\n");
        if down {
            follower = resume(&log.path, &follower.position());
        }
        if packed {
            gzip(&copy);
        }
        fs::write(&log.path, "").unwrap();
        append(&log.path, "b\n");
        let (lines, after, gaps) = read_all(&mut follower);
        assert_eq!(lines, ["copied", "last", "b"], "down {down}, packed {packed}");
        assert_eq!(after[0], places[0] + 5, "a line of the copy has another place than in the file");
        assert_eq!(after[1], places[0] + 12);
        assert_eq!(gaps, [Gap { generation: 0, from: 17, seen: 17 }]);
        // It is not read again, whatever becomes of it.
        let mut follower = resume(&log.path, &follower.position());
        if !packed {
            gzip(&copy);
        }
        log.rotate();
        append(&log.path, "c\n");
        assert_eq!(read_all(&mut follower).0, ["c"], "down {down}, packed {packed}");
    }
}

#[test]
fn without_a_copy_the_gap_says_what_is_lost_for_certain() {
    let log = Log::new();
    append(&log.path, "read\n");
    let mut follower = begin(&log.path, Beginning::Start);
    read(&mut follower);
    append(&log.path, "refused\nmore\n");
    let turn = follower.turn(&mut Block::default(), &mut |_| false);
    assert!(turn.paused);
    fs::write(&log.path, "b\n").unwrap();
    let (lines, _, gaps) = read_all(&mut follower);
    assert_eq!(lines, ["b"]);
    assert_eq!(gaps, [Gap { generation: 0, from: 13, seen: 18 }]);
    assert_eq!(gaps[0].to(), Some(18));
}

#[test]
fn a_reader_that_was_ahead_of_the_copy_takes_nothing_from_it() {
    let log = Log::new();
    append(&log.path, &format!("first line\nsecond line{}\n", " and more".repeat(50)));
    let mut follower = begin(&log.path, Beginning::Start);
    fs::copy(&log.path, log.folder.path().join("syslog.1")).unwrap();
    append(&log.path, "third line\n");
    assert_eq!(read(&mut follower).0.len(), 3);
    fs::write(&log.path, "").unwrap();
    let (lines, _, gaps) = read_all(&mut follower);
    assert!(lines.is_empty(), "{lines:?}");
    assert_eq!(gaps, [Gap { generation: 0, from: 484, seen: 484 }]);
}

#[test]
fn a_copy_that_ends_before_what_was_read_is_not_taken_for_the_next() {
    let log = Log::new();
    append(&log.path, &format!("first line\nsecond line{}\n", " and more".repeat(50)));
    let mut follower = begin(&log.path, Beginning::Start);
    fs::copy(&log.path, log.folder.path().join("syslog.1")).unwrap();
    append(&log.path, "third line\n");
    read(&mut follower);
    fs::write(&log.path, "").unwrap();
    assert!(follower.turn(&mut Block::default(), &mut |_| true).begun);
    let saved = follower.position();
    assert!(saved.files.last().unwrap().is_blank());
    append(&log.path, "fourth line\n");
    let (lines, places, _) = read(&mut follower);
    assert_eq!(lines, ["fourth line"]);
    let (again, same, gaps) = read(&mut resume(&log.path, &saved));
    assert_eq!((again, same, gaps), (lines, places, 0));
}

#[test]
fn files_that_were_rotated_and_compressed_while_nobody_read_are_read_on() {
    let log = Log::new();
    append(&log.path, "a\n");
    let mut follower = begin(&log.path, Beginning::Start);
    let (_, places, _) = read(&mut follower);
    let saved = follower.position();
    drop(follower);
    append(&log.path, "b\n");
    for (number, text) in ["c\n", "d\n", "e\n"].iter().enumerate() {
        for older in (1..=number).rev() {
            let name = |number| log.folder.path().join(format!("syslog.{number}.gz"));
            fs::rename(name(older), name(older + 1)).unwrap();
        }
        log.rotate();
        gzip(&log.folder.path().join("syslog.1"));
        append(&log.path, text);
    }
    let mut follower = resume(&log.path, &saved);
    let (lines, after, gaps) = read(&mut follower);
    assert_eq!((lines, gaps), (vec!["b".into(), "c".into(), "d".into(), "e".into()], 0));
    assert_eq!(after[0], places[0] + 2);
    let mut follower = resume(&log.path, &follower.position());
    assert_eq!(read(&mut follower), (vec![], vec![], 0), "compressed files were read twice");
}

#[test]
fn a_file_that_was_begun_and_compressed_keeps_its_places() {
    let log = Log::new();
    append(&log.path, "a\n");
    let mut follower = begin(&log.path, Beginning::Start);
    read(&mut follower);
    let safe = follower.position();
    log.rotate();
    append(&log.path, "");
    // Told before anything of it is read.
    let turn = follower.turn(&mut Block::default(), &mut |line| panic!("{line:?}"));
    assert!(turn.begun);
    let saved = safe.with_begun(&follower.position());
    append(&log.path, "b\nc\n");
    let (lines, places, _) = read(&mut follower);
    assert_eq!(lines, ["b", "c"]);
    // Killed before that was saved.
    log.rotate();
    gzip(&log.folder.path().join("syslog.1"));
    append(&log.path, "d\n");
    let mut follower = resume(&log.path, &saved);
    let (lines, again, gaps) = read(&mut follower);
    assert_eq!((lines, gaps), (vec!["b".into(), "c".into(), "d".into()], 0));
    assert_eq!(again[..2], places[..], "read again, a line has another place");
}

#[test]
fn what_was_begun_is_kept_wherever_it_stands_in_time() {
    let file = |inode| FilePosition::new(FileId { device: 1, inode, born: None });
    let read = |inode| FilePosition { offset: 5, ..file(inode) };
    let of = |files: &[FilePosition]| PathPosition { files: files.to_vec(), target: Vec::new() };
    // A copy that was found between two files that are known.
    let merged = of(&[read(1), read(2)]).with_begun(&of(&[read(1), read(3), read(2)]));
    assert_eq!(merged, of(&[read(1), file(3), read(2)]));
    // What was marked before a file was begun does not forget it, nor what was closed long ago.
    let closed = FilePosition { open: false, ..read(9) };
    let merged = of(&[read(1)]).with_begun(&of(&[closed, file(1), file(2)]));
    assert_eq!(merged, of(&[read(1), file(2)]));
}

#[test]
fn files_that_were_closed_and_forgotten_between_two_marks_are_not_read_again() {
    const ROTATIONS: usize = REMEMBERED_MAX + 1;
    let log = Log::new();
    let written = |ago: usize| {
        let at = SystemTime::now() - u32::try_from(ago).unwrap() * 2 * ROTATED_QUIET;
        File::options().append(true).open(&log.path).unwrap().set_modified(at).unwrap();
    };
    append(&log.path, "0\n");
    written(ROTATIONS + 1);
    let mut follower = begin(&log.path, Beginning::Start);
    read(&mut follower);
    let mut safe = follower.position();
    for number in 1..=ROTATIONS {
        append(&log.path, "more\n");
        written(ROTATIONS + 1 - number);
        log.rotate();
        append(&log.path, &format!("{number}\n"));
    }
    let mut lines = 0;
    loop {
        let turn = follower.turn(&mut Block::default(), &mut |_| {
            lines += 1;
            true
        });
        if turn.begun {
            safe = safe.with_begun(&follower.position());
        }
        if !turn.more {
            break;
        }
    }
    assert_eq!(lines, 2 * ROTATIONS);
    let position = follower.position();
    let is_gone = |file: &&FilePosition| !position.files.iter().any(|known| known.is_of(file));
    assert!(safe.files.iter().any(|file| file.open && is_gone(&file)), "none was forgotten: {safe:?}");
    // What is marked is saved when its hits are safe.
    safe = position.with_forgotten(&safe).with_begun(&safe);
    assert_eq!(read(&mut resume(&log.path, &safe)), (Vec::new(), Vec::new(), 0));
}

#[test]
fn what_cannot_be_unpacked_is_a_gap_and_is_named() {
    let log = Log::new();
    append(&log.path, "a\n");
    let mut follower = begin(&log.path, Beginning::Start);
    read(&mut follower);
    let saved = follower.position();
    append(&log.path, "b\n");
    log.rotate();
    fs::rename(log.folder.path().join("syslog.1"), log.folder.path().join("syslog.1.xz")).unwrap();
    // Its inode would tell it; a compressed file has another one.
    let packed = log.folder.path().join("syslog.1.xz");
    fs::write(log.folder.path().join("new"), "packed").unwrap();
    fs::rename(log.folder.path().join("new"), &packed).unwrap();
    append(&log.path, "c\n");
    let mut follower = resume(&log.path, &saved);
    let (lines, _, gaps) = read_all(&mut follower);
    assert_eq!(lines, ["c"]);
    assert_eq!(gaps, [Gap { generation: 0, from: 2, seen: 2 }]);
}

#[test]
fn a_link_that_leads_elsewhere_is_a_rotation() {
    let log = Log::new();
    let target = |name: &str| log.folder.path().join("elsewhere").join(name);
    fs::create_dir(log.folder.path().join("elsewhere")).unwrap();
    append(&target("one"), "a\n");
    let swap = |to: &Path| {
        let new = log.folder.path().join("new");
        std::os::unix::fs::symlink(to, &new).unwrap();
        fs::rename(new, &log.path).unwrap();
    };
    swap(&target("one"));
    let mut follower = begin(&log.path, Beginning::Start);
    assert_eq!(read(&mut follower).0, ["a"]);
    append(&target("one"), "b\n");
    append(&target("two"), "d\n");
    swap(&target("two"));
    append(&target("one"), "c\n");
    assert_eq!(read(&mut follower).0, ["b", "c", "d"]);
    // Also while nobody reads.
    let saved = follower.position();
    append(&target("two"), "e\n");
    append(&target("three"), "f\n");
    swap(&target("three"));
    let mut follower = resume(&log.path, &saved);
    let (lines, _, gaps) = read(&mut follower);
    assert_eq!((lines, gaps), (vec!["e".to_owned(), "f".to_owned()], 0));
}

#[test]
fn a_link_that_anybody_could_make_is_not_followed() {
    let log = Log::new();
    fs::write(log.folder.path().join("secret"), "secret\n").unwrap();
    std::os::unix::fs::symlink("secret", &log.path).unwrap();
    let writable = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(log.folder.path(), writable).unwrap();
    // The folder's owner may link what he likes, and so may root.
    let (follower, trouble) = Follower::begin(&log.path, Beginning::Start, PARTIAL_AFTER);
    assert!(trouble.is_none() && !follower.is_anybodys_link());
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::lchown(&log.path, Some(65_534), Some(65_534)).unwrap();
        let (_, trouble) = Follower::begin(&log.path, Beginning::Start, PARTIAL_AFTER);
        assert!(matches!(trouble, Some(FollowError::Link(_))), "{trouble:?}");
    }
}

#[test]
fn the_last_line_of_a_rotated_file_needs_no_end() {
    let log = Log::new();
    append(&log.path, "a\nwithout end");
    let mut follower = begin(&log.path, Beginning::Start);
    assert_eq!(read(&mut follower).0, ["a"]);
    let copy = log.folder.path().join("syslog.1");
    fs::copy(&log.path, &copy).unwrap();
    fs::write(&log.path, "").unwrap();
    append(&log.path, "b\n");
    let (lines, _, gaps) = read_all(&mut follower);
    assert_eq!(lines, ["without end", "b"]);
    assert_eq!(gaps, [Gap { generation: 0, from: 13, seen: 13 }]);
}

#[test]
fn a_line_without_end_is_given_when_its_writer_is_silent() {
    let log = Log::new();
    append(&log.path, "a\nwithout end");
    let (mut follower, _) = Follower::begin(&log.path, Beginning::Start, Duration::ZERO);
    let (lines, places, _) = read(&mut follower);
    assert_eq!(lines, ["a", "without end"]);
    let mut follower = Follower::resume(&log.path, follower.position(), Duration::ZERO);
    assert!(read(&mut follower).0.is_empty(), "it was given twice");
    append(&log.path, ", now with it\n");
    let (lines, again, _) = read(&mut follower);
    assert_eq!((lines, again), (vec!["without end, now with it".to_owned()], vec![places[1]]));
}

#[test]
fn names_that_are_no_text_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(std::ffi::OsStr::from_bytes(b"citt\xe0"));
    append(&path, "a\n");
    let mut follower = begin(&path, Beginning::Start);
    assert_eq!(read(&mut follower).0, ["a"]);
    let saved = follower.position();
    fs::rename(&path, folder.path().join(std::ffi::OsStr::from_bytes(b"citt\xe0.1"))).unwrap();
    append(&path, "b\n");
    assert_eq!(read(&mut resume(&path, &saved)).0, ["b"]);
}

#[test]
fn what_an_earlier_version_saved_is_taken_up() {
    let log = Log::new();
    append(&log.path, "a\nb\n");
    let id = FileId::of(&fs::metadata(&log.path).unwrap());
    let id = serde_json::to_string(&id).unwrap();
    let marker = crc32fast::hash(b"a\n");
    let saved =
        format!(r#"{{"files":[{{"id":{id},"truncations":3,"offset":2,"lines":1,"marker":{marker}}}]}}"#);
    log.rotate();
    append(&log.path, "c\n");
    let mut follower = resume(&log.path, &serde_json::from_str(&saved).unwrap());
    let (lines, _, gaps) = read(&mut follower);
    assert_eq!((lines, gaps), (vec!["b".to_owned(), "c".to_owned()], 0));
}

#[test]
fn a_folder_or_a_pipe_is_refused() {
    let log = Log::new();
    nix::unistd::mkfifo(&log.path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (_, trouble) = Follower::begin(&log.path, Beginning::Start, PARTIAL_AFTER);
    assert!(matches!(trouble, Some(FollowError::NotAFile(_))));
}

#[derive(Clone, Debug)]
enum Step {
    Write(u8),
    WritePart,
    Rotate,
    Read,
    /// The agent is killed: it goes on at the position that was saved last.
    Kill,
    Save,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u8..6).prop_map(Step::Write),
        2 => Just(Step::WritePart),
        2 => Just(Step::Rotate),
        5 => Just(Step::Read),
        1 => Just(Step::Kill),
        3 => Just(Step::Save),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn every_line_is_read_and_a_line_read_again_has_the_same_place(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let log = Log::new();
        append(&log.path, "line 0\n");
        let mut follower = begin(&log.path, Beginning::Start);
        let mut saved = follower.position();
        let (mut next, mut part, mut rotations) = (1_u64, false, 0);
        let mut seen: BTreeSet<(String, u64)> = BTreeSet::new();
        let mut take = |follower: &mut Follower| {
            let (lines, places, gaps) = read(follower);
            assert_eq!(gaps, 0);
            seen.extend(lines.into_iter().zip(places));
        };
        for step in steps {
            match step {
                Step::Write(count) => {
                    for _ in 0..count {
                        append(&log.path, &format!("{}{next}\n", if part { "" } else { "line " }));
                        part = false;
                        next += 1;
                    }
                }
                Step::WritePart if !part => {
                    append(&log.path, "line ");
                    part = true;
                }
                Step::Rotate if !part && rotations < 7 => {
                    rotations += 1;
                    log.rotate();
                }
                Step::WritePart | Step::Rotate => {}
                Step::Read => take(&mut follower),
                Step::Save => saved = follower.position(),
                Step::Kill => follower = resume(&log.path, &saved),
            }
        }
        append(&log.path, &format!("{}{next}\n", if part { "" } else { "line " }));
        next += 1;
        take(&mut follower);
        let lines: Vec<&String> = seen.iter().map(|(line, _)| line).collect();
        let written: BTreeSet<String> = (0..next).map(|number| format!("line {number}")).collect();
        let read: BTreeSet<String> = lines.iter().map(|line| (*line).clone()).collect();
        prop_assert_eq!(&read, &written, "lines lost or made up");
        prop_assert_eq!(lines.len(), read.len(), "a line has two places");
        let places: BTreeSet<u64> = seen.iter().map(|(_, place)| *place).collect();
        prop_assert_eq!(places.len(), seen.len(), "two lines have the same place");
    }
}
