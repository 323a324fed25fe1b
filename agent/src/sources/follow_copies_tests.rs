//! A log that is copied and truncated, again and again, while nobody reads: every copy is read under the places that
//! its lines had in the log, and what was not copied is told for each content.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::*;

/// The log with a program that rotates it; its files are a second apart.
struct Copied {
    log: Log,
    now: SystemTime,
    rotations: usize,
}

/// Which copies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pack {
    Nothing,
    Older,
    All,
}

impl Copied {
    fn new() -> Self {
        Self { log: Log::new(), now: SystemTime::now() + Duration::from_secs(10), rotations: 0 }
    }

    fn path(&self) -> &Path {
        &self.log.path
    }

    fn numbered(&self, number: usize, ending: &str) -> PathBuf {
        self.log.folder.path().join(format!("syslog.{number}{ending}"))
    }

    fn stamp(&mut self, path: &Path) {
        self.now += Duration::from_secs(1);
        File::options().append(true).open(path).unwrap().set_modified(self.now).unwrap();
    }

    /// Writes lines that begin like those of every other content.
    fn write(&mut self, text: &str) {
        append(&self.log.path, &format!("gateway app: {text} {}\n", "of some length ".repeat(9)));
        self.stamp(&self.log.path.clone());
    }

    fn copy(&mut self, pack: Pack) {
        for number in (1..9).rev() {
            for ending in ["", ".gz"] {
                let _ = fs::rename(self.numbered(number, ending), self.numbered(number + 1, ending));
            }
        }
        let copy = self.numbered(1, "");
        fs::copy(&self.log.path, &copy).unwrap();
        self.stamp(&copy);
        let packed = match pack {
            Pack::Nothing => return,
            Pack::Older => self.numbered(2, ""),
            Pack::All => copy,
        };
        if packed.exists() {
            let written = fs::metadata(&packed).unwrap().modified().unwrap();
            gzip(&packed);
            let packed = packed.with_added_extension("gz");
            File::options().append(true).open(packed).unwrap().set_modified(written).unwrap();
        }
    }

    fn truncate(&mut self) {
        self.rotations += 1;
        fs::write(&self.log.path, "").unwrap();
        self.stamp(&self.log.path.clone());
    }

    /// A content that is read while it is written, but for its end, which is not copied; gives what was read.
    fn live(&mut self, follower: &mut Follower, pack: Pack) -> BTreeSet<(String, u64)> {
        let number = self.rotations;
        let mut seen = BTreeSet::new();
        for line in ["first", "second"] {
            self.write(&format!("{number} {line}"));
            let (lines, places, _) = read_all(follower);
            seen.extend(lines.into_iter().zip(places));
        }
        assert_eq!(seen.len(), 2, "content {number}");
        self.copy(pack);
        self.write(&format!("{number} lost"));
        self.truncate();
        seen
    }
}

/// The position after the truncation was noticed, before anything more is read.
fn begun(follower: &mut Follower) -> PathPosition {
    assert!(follower.turn(&mut Block::default(), &mut |line| panic!("{line:?}")).begun);
    let position = follower.position();
    assert!(position.files.last().unwrap().is_blank());
    read_all(follower);
    position
}

/// What is read after a restart, and of which contents gaps are told.
fn restarted(log: &Copied, saved: &PathPosition) -> (BTreeSet<(String, u64)>, BTreeSet<u32>) {
    let (lines, places, gaps) = read_all(&mut resume(log.path(), saved));
    let read: BTreeSet<(String, u64)> = lines.iter().cloned().zip(places).collect();
    assert_eq!(read.len(), lines.len(), "a line was read twice");
    (read, gaps.iter().map(|gap| gap.generation).collect())
}

/// What was put down before the agent went down.
#[derive(Clone, Copy, Debug)]
enum Saved {
    /// Some of the content.
    Read,
    /// Only that it was begun, when nothing was there.
    Blank,
    /// The same of two contents.
    Blanks,
}

#[test]
fn every_copy_that_was_made_while_nobody_read_is_read_in_its_place() {
    for pack in [Pack::Nothing, Pack::Older, Pack::All] {
        for kind in [Saved::Read, Saved::Blank, Saved::Blanks] {
            for down in 0..4 {
                check_outage(pack, kind, down);
            }
        }
    }
}

fn check_outage(pack: Pack, kind: Saved, down: u32) {
    let mut log = Copied::new();
    append(log.path(), "");
    // It is never down, and knows what there was and where.
    let mut follower = begin(log.path(), Beginning::Start);
    log.live(&mut follower, pack);
    let mut saved = begun(&mut follower);
    let mut expected = BTreeSet::new();
    match kind {
        Saved::Blank => {}
        Saved::Read => {
            log.write("put down");
            assert_eq!(read(&mut follower).0.len(), 1);
            saved = follower.position();
        }
        Saved::Blanks => {
            expected.extend(log.live(&mut follower, pack));
            saved = saved.with_begun(&begun(&mut follower));
            assert!(saved.files.iter().rev().take(2).all(FilePosition::is_blank), "{saved:?}");
        }
    }
    for _ in 0..down {
        expected.extend(log.live(&mut follower, pack));
        begun(&mut follower);
    }
    log.write("last");
    let (lines, places, gaps) = read_all(&mut follower);
    assert_eq!(gaps, [], "nothing was lost since the last time");
    expected.extend(lines.into_iter().zip(places));
    let (found, told) = restarted(&log, &saved);
    assert_eq!(found, expected, "{pack:?} {kind:?} down {down}");
    let now = follower.position().files.last().unwrap().truncations;
    let told: BTreeSet<u32> = told.into_iter().filter(|generation| *generation > 0).collect();
    assert_eq!(told, (1..now).collect(), "{pack:?} {kind:?} down {down}");
}

#[test]
fn a_copy_of_what_was_not_truncated_yet_is_not_read() {
    for bytes in [0, 100, usize::MAX] {
        let mut log = Copied::new();
        append(log.path(), "");
        let mut follower = begin(log.path(), Beginning::Start);
        log.live(&mut follower, Pack::Nothing);
        let saved = begun(&mut follower);
        log.write("one");
        log.write("two");
        let (lines, places, _) = read_all(&mut follower);
        let text = fs::read(log.path()).unwrap();
        fs::rename(log.numbered(1, ""), log.numbered(2, "")).unwrap();
        fs::write(log.numbered(1, ""), &text[..bytes.min(text.len())]).unwrap();
        log.stamp(&log.numbered(1, ""));
        let (found, _) = restarted(&log, &saved);
        assert_eq!(found, lines.into_iter().zip(places).collect(), "{bytes} bytes were copied");
    }
}

#[test]
fn content_that_is_truncated_before_it_is_read_is_not_taken_for_the_next() {
    for empty in [false, true] {
        let mut log = Copied::new();
        append(log.path(), "");
        let mut follower = begin(log.path(), Beginning::Start);
        log.live(&mut follower, Pack::Nothing);
        if empty {
            begun(&mut follower);
        }
        log.write("unread");
        if !empty {
            // Noticed when something is there again, of which nothing is read yet.
            assert!(follower.turn(&mut Block::default(), &mut |line| panic!("{line:?}")).begun);
        }
        log.copy(Pack::Nothing);
        log.truncate();
        log.write("next");
        let (lines, places, gaps) = read_all(&mut follower);
        assert!(lines.len() == 2 && lines[0].contains("unread") && lines[1].contains("next"), "{lines:?}");
        assert_ne!(places[0], places[1]);
        assert!(gaps.iter().any(|gap| gap.generation == 1), "{gaps:?}");
    }
}

#[test]
fn what_is_older_need_not_be_there_for_a_copy_to_be_found() {
    for count in 1..3_u32 {
        let mut log = Copied::new();
        append(log.path(), "");
        let mut follower = begin(log.path(), Beginning::Start);
        log.live(&mut follower, Pack::Nothing);
        let saved = begun(&mut follower);
        let mut expected = BTreeSet::new();
        for _ in 0..count {
            expected.extend(log.live(&mut follower, Pack::Nothing));
            begun(&mut follower);
        }
        fs::remove_file(log.numbered(1 + count as usize, "")).unwrap();
        let (found, told) = restarted(&log, &saved);
        assert_eq!(found, expected);
        assert!((1..=count).all(|generation| told.contains(&generation)), "{told:?}");
    }
}

#[test]
fn where_nothing_shows_whether_it_was_truncated_again_a_gap_is_told() {
    let mut log = Copied::new();
    append(log.path(), "");
    let mut follower = begin(log.path(), Beginning::Start);
    log.live(&mut follower, Pack::Nothing);
    let mut saved = begun(&mut follower);
    log.live(&mut follower, Pack::Nothing);
    fs::remove_file(log.numbered(2, "")).unwrap();
    // As an earlier version put it down.
    saved.files.iter_mut().for_each(|file| file.begun_at = None);
    assert!(restarted(&log, &saved).1.contains(&1));
}
