//! Damage: whatever happens to the bytes of an index, it is refused, or answers as it did before.
//!
//! `VEDETTA_ORACLE_DAMAGES` says how many bytes are changed, each in several ways.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::bundle::Line;
use protocol::index::{Index, Layers, Plan, ReadAt};
use protocol::{Observable, Timestamp};

use super::index::{built, check, plan, set_of, with_value};
use super::model::closeness;
use super::random::Random;
use super::{made, spelled};

const DAMAGES: usize = 300;
/// Bytes that opening may take beside those of the file, however the file lies about itself.
const OPEN_BYTES_MAX: u64 = 256 << 10;

fn damages() -> usize {
    std::env::var("VEDETTA_ORACLE_DAMAGES").map_or(DAMAGES, |damages| damages.parse().unwrap())
}

/// An index and values with what it says about them.
struct Whole {
    lines: Vec<Line>,
    bytes: Vec<u8>,
    values: Vec<(Observable, Option<u16>)>,
}

impl Whole {
    fn new(seed: u64, size: usize) -> Self {
        let mut random = Random::new(seed);
        let lines = made::lines(&mut random, size);
        // Each index has a secret of its own, as those of sensors have.
        let plan = Plan { secret: [seed as u8; 32], ..plan(None) };
        let bytes = built(plan, (&lines, &[]), set_of(&lines));
        let mut values = Vec::new();
        while values.len() < 12 {
            let spelled = spelled::spelled(&mut random, &lines);
            values.extend(spelled.observable().map(|seen| (seen, spelled.port)));
        }
        Self { lines, bytes, values }
    }

    /// Opens damaged bytes; each answer must be the right one or an error.
    fn check(&self, damaged: Vec<u8>, about: &str) -> bool {
        let length = damaged.len() as u64;
        let (mut opened, at) = (None, Timestamp::from_seconds(1_700_000_000, 0));
        let used = allocation_counter::measure(|| opened = Index::open(Box::new(damaged)).ok());
        assert!(used.bytes_max <= 2 * length + OPEN_BYTES_MAX, "{about}: {used:?}");
        let Some(index) = opened else { return false };
        let Ok(layers) = Layers::new(Arc::new(index), None) else { return false };
        assert_eq!(layers.set(), set_of(&self.lines), "{about}");
        let mut all_right = true;
        for (seen, port) in &self.values {
            if with_value(seen, *port, |value| layers.look_up(value, at)).is_err() {
                all_right = false;
                continue;
            }
            check(&layers, &self.lines, (seen, *port), at)
                .unwrap_or_else(|wrong| assert!(wrong.contains("damaged"), "{about}, {seen:?}: {wrong}"));
        }
        let stored: Result<Vec<Line>, _> = layers.stored().unwrap().collect();
        match stored {
            Ok(stored) => assert_eq!(stored, self.lines, "{about}"),
            Err(_) => all_right = false,
        }
        all_right
    }
}

#[test]
fn a_changed_byte_is_noticed_or_does_not_matter() {
    let mut random = Random::new(1);
    let whole = Whole::new(3, 120);
    assert!(whole.check(whole.bytes.clone(), "undamaged"));
    let (mut noticed, damages) = (0, damages());
    for _ in 0..damages {
        let at = random.below(whole.bytes.len());
        let mut damaged = whole.bytes.clone();
        damaged[at] = match random.below(4) {
            0 => 0,
            1 => 0xff,
            2 => random.number() as u8,
            _ => damaged[at] ^ (1 << random.below(8)),
        };
        noticed += usize::from(!whole.check(damaged, &format!("byte {at}")));
    }
    assert!(noticed > damages / 4, "only {noticed} of {damages} noticed");
}

#[test]
fn a_cut_or_longer_file_is_refused() {
    let whole = Whole::new(4, 60);
    let step = (whole.bytes.len() / damages().max(1)).max(1);
    let lengths =
        (0..whole.bytes.len()).step_by(step).chain(whole.bytes.len().saturating_sub(300)..whole.bytes.len());
    for length in lengths {
        assert!(!whole.check(whole.bytes[..length].to_vec(), &format!("cut at {length}")));
    }
    for more in [1, 2, 4095, 4096, 4097, 10_000] {
        for filling in [0, 0xff] {
            let mut longer = whole.bytes.clone();
            longer.resize(longer.len() + more, filling);
            assert!(!whole.check(longer, &format!("{more} bytes longer")));
        }
    }
    let twice = [&whole.bytes[..], &whole.bytes].concat();
    assert!(!whole.check(twice, "twice"));
}

#[test]
fn parts_that_change_places_are_noticed_or_do_not_matter() {
    let mut random = Random::new(2);
    let (whole, other) = (Whole::new(5, 200), Whole::new(6, 200));
    for number in 0..damages() {
        let length = *random.pick(&[1, 2, 4, 8, 64, 512, 4096, 4096, 4096]);
        let mut damaged = whole.bytes.clone();
        let border = if random.one_in(2) { length } else { 1 };
        let place = |random: &mut Random, bytes: &[u8]| {
            random.below(bytes.len().saturating_sub(length) / border + 1) * border
        };
        let (from, to) = (place(&mut random, &damaged), place(&mut random, &damaged));
        if random.one_in(2) {
            let piece = whole.bytes[from..(from + length).min(whole.bytes.len())].to_vec();
            let kept = damaged[to..(to + piece.len()).min(damaged.len())].to_vec();
            damaged[to..to + kept.len()].copy_from_slice(&piece[..kept.len()]);
            damaged[from..from + kept.len()].copy_from_slice(&kept);
        } else {
            let from = place(&mut random, &other.bytes);
            let piece = &other.bytes[from..(from + length).min(other.bytes.len())];
            let end = (to + piece.len()).min(damaged.len());
            damaged[to..end].copy_from_slice(&piece[..end - to]);
        }
        whole.check(damaged, &format!("{number}: {length} bytes of {from} and {to}"));
    }
}

/// A disk that is sound while the index is opened, and then is not.
struct Failing {
    bytes: Vec<u8>,
    failed: Arc<AtomicBool>,
    garbage: Option<u8>,
}

impl ReadAt for Failing {
    fn size(&self) -> io::Result<u64> {
        self.bytes.size()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        match (self.failed.load(Ordering::Relaxed), self.garbage) {
            (false, _) => self.bytes.read_at(offset, into),
            (true, Some(byte)) => {
                into.fill(byte);
                Ok(())
            }
            (true, None) => Err(io::Error::other("the disk is gone")),
        }
    }
}

#[test]
fn a_disk_that_fails_later_gives_errors_and_no_answers() {
    let whole = Whole::new(7, 300);
    let at = Timestamp::from_seconds(1_700_000_000, 0);
    for garbage in [None, Some(0), Some(0xff), Some(b'{')] {
        let failed = Arc::new(AtomicBool::new(false));
        let disk = Failing { bytes: whole.bytes.clone(), failed: Arc::clone(&failed), garbage };
        let layers = Layers::new(Arc::new(Index::open(Box::new(disk)).unwrap()), None).unwrap();
        failed.store(true, Ordering::Relaxed);
        let mut errors = 0;
        for (seen, port) in &whole.values {
            match with_value(seen, *port, |value| layers.look_up(value, at)) {
                Ok(_) => check(&layers, &whole.lines, (seen, *port), at).unwrap(),
                Err(_) => errors += 1,
            }
        }
        assert!(errors > 0, "nothing was read");
        assert!(layers.stored().unwrap().any(|stored| stored.is_err()));
    }
}

/// Replaces one number of a layout after the other, so that only comparisons with bounds stand in the way.
fn forged(value: &serde_json::Value, with: &mut dyn FnMut(serde_json::Value)) {
    use serde_json::Value;
    match value {
        Value::Number(number) => {
            let number = number.as_u64().unwrap_or_default();
            let near = [number.wrapping_add(1), number.wrapping_sub(1), number.wrapping_mul(2), number / 2];
            let far = [0, 255, 4095, 1 << 20, 1 << 32, 1 << 40, u64::MAX / 64, u64::MAX - 4095, u64::MAX];
            near.into_iter().chain(far).for_each(|number| with(number.into()));
        }
        Value::Array(all) => {
            for (at, one) in all.iter().enumerate() {
                forged(one, &mut |changed| {
                    let mut all = all.clone();
                    all[at] = changed;
                    with(Value::Array(all));
                });
            }
            let twice = [&all[..], all].concat();
            [Vec::new(), twice].into_iter().for_each(|all| with(Value::Array(all)));
        }
        Value::Object(all) => {
            for (key, one) in all {
                forged(one, &mut |changed| {
                    let mut all = all.clone();
                    all.insert(key.clone(), changed);
                    with(Value::Object(all));
                });
            }
        }
        _ => {}
    }
}

#[test]
fn a_layout_that_lies_with_the_right_checksum_is_refused_or_gives_no_false_hit() {
    let whole = Whole::new(8, 100);
    let (body, footer) = whole.bytes.split_at(whole.bytes.len() - 16);
    let from = usize::try_from(u64::from_le_bytes(footer[..8].try_into().unwrap())).unwrap();
    let layout: serde_json::Value = serde_json::from_slice(&body[from..]).unwrap();
    let (mut lies, mut opened_lies) = (0, 0);
    forged(&layout, &mut |lie| {
        lies += 1;
        let json = serde_json::to_vec(&lie).unwrap();
        let mut bytes = [&body[..from], &json, &footer[..8]].concat();
        bytes.extend(u32::try_from(json.len()).unwrap().to_le_bytes());
        bytes.extend(crc32fast::hash(&json).to_le_bytes());
        opened_lies += usize::from(check_lie(&whole, bytes));
    });
    assert!(lies > 300 && opened_lies > 0, "{opened_lies} of {lies} opened");
}

/// What a forged index says of a value is a line of the set that covers it, or an error.
fn check_lie(whole: &Whole, bytes: Vec<u8>) -> bool {
    let (mut opened, at) = (None, Timestamp::from_seconds(1_700_000_000, 0));
    let length = bytes.len() as u64;
    let used = allocation_counter::measure(|| opened = Index::open(Box::new(bytes)).ok());
    assert!(used.bytes_max <= 2 * length + OPEN_BYTES_MAX, "{used:?}");
    let Some(layers) = opened.and_then(|index| Layers::new(Arc::new(index), None).ok()) else { return false };
    for (seen, port) in &whole.values {
        let used = allocation_counter::measure(|| {
            let Ok(judged) = with_value(seen, *port, |value| layers.judge(value, at)) else { return };
            for one in judged {
                assert!(closeness(&one.indicator.look_for, seen, *port).is_some(), "{one:?} on {seen:?}");
                assert!(whole.lines.contains(&Line::Indicator(one.indicator)));
            }
        });
        assert!(used.bytes_max <= OPEN_BYTES_MAX, "{used:?}");
    }
    let stored = layers.stored().map(|stored| stored.take_while(Result::is_ok).count()).unwrap_or_default();
    assert!(stored <= whole.lines.len());
    true
}
