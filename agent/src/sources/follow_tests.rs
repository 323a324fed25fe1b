//! One path through rotations, truncations and restarts: every line once and in order.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::*;

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// Reads until nothing is left; gives each line and its place.
fn read(follower: &mut Follower) -> (Vec<String>, Vec<u64>, u64) {
    let (mut lines, mut places, mut gaps) = (Vec::new(), Vec::new(), 0);
    loop {
        let turn = follower.turn(&mut |line| {
            lines.push(String::from_utf8(line.bytes.to_vec()).unwrap());
            places.push(line.place);
        });
        match turn {
            Ok(turn) => {
                gaps += turn.gaps;
                if !turn.more {
                    return (lines, places, gaps);
                }
            }
            Err(FollowError::Missing(_)) => return (lines, places, gaps),
            Err(error) => panic!("{error}"),
        }
    }
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
    let mut follower = Follower::begin(&log.path, Beginning::Start).unwrap();
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
    let mut follower = Follower::begin(&log.path, Beginning::End).unwrap();
    assert!(matches!(follower.turn(&mut |_| {}), Err(FollowError::Missing(_))));
    let saved = follower.position();
    drop(follower);
    append(&log.path, "first\n");
    let mut follower = Follower::resume(&log.path, &saved).unwrap();
    assert_eq!(read(&mut follower).0, ["first"]);
}

#[test]
fn at_the_very_first_start_old_lines_are_left_alone() {
    let log = Log::new();
    append(&log.path, "old\n");
    let mut follower = Follower::begin(&log.path, Beginning::End).unwrap();
    append(&log.path, "new\n");
    assert_eq!(read(&mut follower).0, ["new"]);
}

#[test]
fn rotations_while_the_agent_was_down_are_read_in_order() {
    let log = Log::new();
    append(&log.path, "a\n");
    let mut follower = Follower::begin(&log.path, Beginning::Start).unwrap();
    assert_eq!(read(&mut follower).0, ["a"]);
    let saved = follower.position();
    drop(follower);
    append(&log.path, "b\n");
    for text in ["c\n", "d\n", "e\n"] {
        log.rotate();
        append(&log.path, text);
    }
    let mut follower = Follower::resume(&log.path, &saved).unwrap();
    let (lines, _, gaps) = read(&mut follower);
    assert_eq!((lines, gaps), (vec!["b".into(), "c".into(), "d".into(), "e".into()], 0));
}

#[test]
fn a_log_that_was_taken_away_while_the_agent_was_down_is_a_gap() {
    let log = Log::new();
    append(&log.path, "a\n");
    let mut follower = Follower::begin(&log.path, Beginning::Start).unwrap();
    read(&mut follower);
    let saved = follower.position();
    drop(follower);
    // The new file is made first, so that its inode is another one.
    let other = log.folder.path().join("other");
    append(&other, "b\n");
    fs::rename(other, &log.path).unwrap();
    let mut follower = Follower::resume(&log.path, &saved).unwrap();
    let (lines, _, gaps) = read(&mut follower);
    assert_eq!((lines, gaps), (vec!["b".to_owned()], 1));
}

#[test]
fn copytruncate_is_noticed_and_counted() {
    let log = Log::new();
    append(&log.path, "a long first line\n");
    let mut follower = Follower::begin(&log.path, Beginning::Start).unwrap();
    let (_, before, _) = read(&mut follower);
    fs::copy(&log.path, log.folder.path().join("copy")).unwrap();
    fs::write(&log.path, "").unwrap();
    append(&log.path, "b\n");
    let (lines, after, gaps) = read(&mut follower);
    assert_eq!((lines, gaps), (vec!["b".to_owned()], 1));
    assert_ne!(before, after, "two lines have the same place");
}

#[test]
fn a_folder_or_a_pipe_is_refused() {
    let log = Log::new();
    nix::unistd::mkfifo(&log.path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(Follower::begin(&log.path, Beginning::Start), Err(FollowError::NotAFile(_))));
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
        let mut follower = Follower::begin(&log.path, Beginning::Start).unwrap();
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
                Step::Kill => follower = Follower::resume(&log.path, &saved).unwrap(),
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
