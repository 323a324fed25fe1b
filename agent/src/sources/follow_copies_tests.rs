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
    /// How much of each content was copied.
    copied: Vec<u64>,
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
        let now = SystemTime::now() + Duration::from_secs(10);
        Self { log: Log::new(), now, rotations: 0, copied: Vec::new() }
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

    /// Content that is read while it is written, but for its end, which is not copied; gives what was read.
    fn live(&mut self, follower: &mut Follower, pack: Pack) -> BTreeSet<(String, u64)> {
        let number = self.rotations;
        let mut seen = BTreeSet::new();
        for line in ["first", "second"] {
            self.write(&format!("{number} {line}"));
            let (lines, places, _) = read_all(follower);
            seen.extend(lines.into_iter().zip(places));
        }
        assert_eq!(seen.len(), 2, "content {number}");
        self.copied.push(fs::metadata(&self.log.path).unwrap().len());
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

/// What was put down, and of what came later only that it was begun when nothing was there.
fn with_blank(saved: &PathPosition, newer: &PathPosition) -> PathPosition {
    let known = |file: &FilePosition| saved.files.iter().any(|known| known.is_of(file));
    let later = newer.files.iter().filter(|file| !known(file) && file.is_blank()).copied();
    PathPosition { files: saved.files.iter().copied().chain(later).collect(), target: Vec::new() }
}

/// What is read after a restart, and of which contents gaps are told.
fn restarted(log: &Copied, saved: &PathPosition) -> (BTreeSet<(String, u64)>, BTreeSet<u32>) {
    let (lines, places, gaps) = read_all(&mut resume(log.path(), saved));
    let read: BTreeSet<(String, u64)> = lines.iter().cloned().zip(places).collect();
    assert_eq!(read.len(), lines.len(), "a line was read twice");
    for gap in &gaps {
        let copied = log.copied.get(gap.generation as usize);
        assert!(
            copied.is_none_or(|copied| gap.from >= *copied),
            "what was copied is told to be lost: {gaps:?}"
        );
    }
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
    /// The same of one content, and some of the next.
    BlankAndRead,
}

#[test]
fn every_copy_that_was_made_while_nobody_read_is_read_in_its_place() {
    for pack in [Pack::Nothing, Pack::Older, Pack::All] {
        for kind in [Saved::Read, Saved::Blank, Saved::Blanks, Saved::BlankAndRead] {
            for down in 0..4 {
                check_outage(pack, kind, down);
            }
        }
    }
}

/// How many contents come and go between what was put down and the restart.
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
        Saved::BlankAndRead => {
            expected.extend(log.live(&mut follower, pack));
            begun(&mut follower);
            log.write("put down");
            assert_eq!(read(&mut follower).0.len(), 1);
            saved.files.retain(|file| file.truncations == 1);
            let newer = follower.position();
            saved.files.extend(newer.files.iter().filter(|file| file.truncations != 1).copied());
        }
        Saved::Read => {
            log.write("put down");
            assert_eq!(read(&mut follower).0.len(), 1);
            saved = follower.position();
        }
        Saved::Blanks => {
            expected.extend(log.live(&mut follower, pack));
            saved = with_blank(&saved, &begun(&mut follower));
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
    log.copied.clear();
    assert!(restarted(&log, &saved).1.contains(&1));
}

#[test]
fn of_two_copies_that_little_is_known_of_one_may_be_missing() {
    for (missing, is_seen) in [(2, false), (2, true), (1, true)] {
        let mut log = Copied::new();
        append(log.path(), "");
        let mut follower = begin(log.path(), Beginning::Start);
        log.live(&mut follower, Pack::Nothing);
        let saved = begun(&mut follower);
        let first = log.live(&mut follower, Pack::Nothing);
        let mut saved = with_blank(&saved, &begun(&mut follower));
        log.write("seen");
        let seen = read_all(&mut follower);
        if is_seen {
            // That something was there is put down at once.
            saved = saved.with_begun(&follower.position());
        }
        let mut second = log.live(&mut follower, Pack::Nothing);
        second.extend(seen.0.into_iter().zip(seen.1));
        begun(&mut follower);
        fs::remove_file(log.numbered(missing, "")).unwrap();
        log.copied[3 - missing] = 0;
        let (found, told) = restarted(&log, &saved);
        assert_eq!(found, if missing == 1 { first } else { second }, "copy {missing} is missing");
        assert!(told.is_superset(&BTreeSet::from([1, 2])), "copy {missing} is missing: {told:?}");
    }
}

#[test]
fn a_log_that_was_empty_at_the_first_look_may_be_truncated_before_the_next() {
    for pack in [Pack::Nothing, Pack::All] {
        let mut log = Copied::new();
        // A copy from before that, in the same instant, is not for this program.
        log.write("older");
        log.copy(pack);
        log.truncate();
        let older = log.numbered(1, if pack == Pack::All { ".gz" } else { "" });
        File::options().append(true).open(&older).unwrap().set_modified(log.now).unwrap();
        let mut follower = begin(log.path(), Beginning::Start);
        let saved = follower.position();
        for content in ["first", "second"] {
            log.write(content);
            log.copy(pack);
            log.truncate();
        }
        log.write("third");
        let (lines, places, gaps) = read_all(&mut follower);
        let words: Vec<_> = lines.iter().map(|line| line.split(' ').nth(2).unwrap()).collect();
        assert_eq!(words, ["first", "second", "third"]);
        assert_eq!(gaps.iter().map(|gap| gap.generation).collect::<Vec<_>>(), [0, 1]);
        let (again, same, _) = read_all(&mut resume(log.path(), &saved));
        assert_eq!((again, same), (lines, places), "after a restart");
    }
}

#[test]
fn content_that_is_noticed_when_it_is_copied_already_is_found() {
    let mut log = Copied::new();
    append(log.path(), "");
    let mut follower = begin(log.path(), Beginning::Start);
    log.live(&mut follower, Pack::Nothing);
    log.write("copied");
    log.copy(Pack::Nothing);
    log.write("late");
    // Noticed when the copy is older than the log.
    assert!(follower.turn(&mut Block::default(), &mut |line| panic!("{line:?}")).begun);
    let saved = follower.position();
    let expected: BTreeSet<_> = {
        let (lines, places, _) = read_all(&mut follower);
        lines.into_iter().zip(places).filter(|(line, _)| !line.contains("late")).collect()
    };
    assert_eq!(expected.len(), 1);
    log.truncate();
    let (found, told) = restarted(&log, &saved);
    assert_eq!((found, told.contains(&1)), (expected, true));
}

#[test]
fn a_copy_that_ends_within_the_first_bytes_that_were_seen_is_found_by_its_place() {
    for (pack, turns) in [(Pack::Nothing, 1), (Pack::Nothing, 2), (Pack::All, 1), (Pack::All, 2)] {
        let mut log = Copied::new();
        append(log.path(), "");
        let mut follower = begin(log.path(), Beginning::Start);
        append(log.path(), "one\ntwo\n");
        log.stamp(&log.log.path.clone());
        log.copy(Pack::Nothing);
        append(log.path(), "late\n");
        log.stamp(&log.log.path.clone());
        let mut lines = Vec::new();
        let mut take = |line: crate::sources::line_reader::WholeLine<'_>| {
            lines.push((String::from_utf8(line.bytes.to_vec()).unwrap(), line.place));
            false
        };
        for _ in 0..turns {
            follower.turn(&mut Block::default(), &mut take);
        }
        log.truncate();
        if pack == Pack::All {
            gzip(&log.numbered(1, ""));
        }
        append(log.path(), "three\n");
        let (more, places, gaps) = read_all(&mut follower);
        lines.extend(more.into_iter().zip(places));
        let texts: Vec<_> = lines.iter().map(|(line, _)| line.as_str()).collect();
        assert_eq!(texts, ["one", "two", "three"], "{pack:?} {turns}");
        assert!(gaps.iter().any(|gap| (gap.generation, gap.from) == (0, 8)), "{pack:?} {turns} {gaps:?}");
    }
}

#[test]
fn looking_for_copies_costs_no_more_than_those_that_can_be_sought() {
    let mut log = Copied::new();
    append(log.path(), "");
    let mut follower = begin(log.path(), Beginning::Start);
    let mut saved = follower.position();
    for older in (1..=400).rev() {
        let path = log.numbered(100 + older, "");
        append(&path, &format!("gateway app: older {older} {}\n", "of some length ".repeat(9)));
        let written = log.now - Duration::from_secs(older as u64 + 60);
        File::options().append(true).open(path).unwrap().set_modified(written).unwrap();
    }
    for _ in 0..3 {
        log.live(&mut follower, Pack::Nothing);
        saved = with_blank(&saved, &begun(&mut follower));
    }
    log.write("last");
    read_all(&mut follower);
    let opened = |contents: &[FilePosition], current: FilePosition| {
        let homes = [log.path().to_path_buf()];
        let unseen = Unseen::Copies(current.id, current.truncations + 1);
        let search = Search { homes: &homes, contents, current: Some(current), unseen };
        take_up(&search).unwrap()
    };
    // All that was read is known.
    let read = follower.position();
    let current = *read.files.last().unwrap();
    let taken = opened(&read.files, current);
    assert!(taken.readers.is_empty() && taken.opened <= 3, "{taken:?}");
    // Nothing but that three contents were begun.
    assert_eq!(saved.files.iter().filter(|file| file.is_blank()).count(), 4, "{saved:?}");
    let taken = opened(&saved.files, current);
    assert_eq!(taken.readers.len(), 3);
    assert!(taken.opened <= 5 * 3, "{} files were opened", taken.opened);
}

#[test]
fn an_empty_log_that_is_rotated_keeps_its_places_and_a_gap_is_told() {
    for pack in [Pack::Nothing, Pack::All] {
        let mut log = Copied::new();
        append(log.path(), "");
        let mut follower = begin(log.path(), Beginning::Start);
        log.live(&mut follower, pack);
        let saved = begun(&mut follower);
        for _ in 0..2 {
            log.copy(pack);
            log.truncate();
        }
        log.write("first");
        let (lines, places, gaps) = read_all(&mut follower);
        assert_eq!((lines.len(), gaps.len()), (1, 1), "{pack:?} {gaps:?}");
        let (again, same, gaps) = read_all(&mut resume(log.path(), &saved));
        assert_eq!((again, same), (lines, places), "{pack:?}");
        assert!(gaps.iter().any(|gap| gap.generation == 1), "{pack:?} {gaps:?}");
    }
}
