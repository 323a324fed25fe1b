//! What a delta promises: applied to the lines of its base it gives those of the bundle it leads to, or it is refused.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::btree_map;
use proptest::prelude::*;

use super::*;
use crate::bundle::{BUNDLE_FORMAT, BundleHeader, BundleWriter, Revocation};
use crate::indicator::{Action, Indicator, LookFor, Severity};

/// Number of a value, and what is said about it.
type Set = BTreeMap<u8, u8>;

fn bundle(serial: u64, set: &Set) -> Vec<u8> {
    let value = |number: &u8| match number % 4 {
        0 => format!("host{number}.example"),
        1 => format!("192.0.2.{number}"),
        2 => format!("http://h.example/{number}"),
        _ => format!("2001:db8:{number:x}::/48"),
    };
    let indicator = |(number, said): (&u8, &u8)| {
        let mut indicator = Indicator::plain(LookFor::guess(&value(number)).unwrap());
        indicator.severity = if said % 2 == 0 { Severity::Low } else { Severity::High };
        indicator.action = if said % 3 == 0 { Action::Allow } else { Action::Detect };
        indicator
    };
    let revoked = set.iter().filter(|(_, said)| **said % 5 == 0);
    let revocations = revoked.map(|(number, _)| Revocation::Alert(format!("A-{number}"))).collect();
    let header = BundleHeader {
        vedetta_bundle: BUNDLE_FORMAT,
        serial: Serial(serial),
        created: Timestamp::from_seconds(1_700_000_000, 0),
        issuer: "cosc-esempio".into(),
        indicators: 0,
        set: None,
    };
    let mut bytes = Vec::new();
    BundleWriter::write_lines(&mut bytes, set.iter().map(indicator).collect(), revocations, header).unwrap();
    bytes
}

fn reader(bytes: &[u8]) -> BundleReader<'_> {
    BundleReader::new(bytes, BundleLimits::default()).unwrap()
}

fn delta(base: &[u8], next: &[u8]) -> (DeltaHeader, Vec<u8>) {
    let mut bytes = Vec::new();
    let header = DeltaWriter::write(&mut bytes, &mut reader(base), &mut reader(next), 1000).unwrap();
    (header, bytes)
}

fn read(bytes: &[u8], limits: BundleLimits) -> Result<Vec<Change>, DeltaError> {
    DeltaReader::new(bytes, limits)?.collect()
}

/// The lines of a bundle, and their set.
fn raw_lines(bytes: &[u8]) -> (BTreeSet<Vec<u8>>, SetHash) {
    let mut reader = reader(bytes);
    let mut lines = BTreeSet::new();
    while reader.next().transpose().unwrap().is_some() {
        lines.insert(reader.raw().to_vec());
    }
    (lines, reader.set())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_base_and_the_changes_are_the_next_bundle(
        old in btree_map(any::<u8>(), any::<u8>(), 0..40),
        new in btree_map(any::<u8>(), any::<u8>(), 0..40),
        kept in any::<u8>(),
    ) {
        let mut new = new;
        new.extend(old.iter().filter(|(number, _)| **number > kept));
        let (base, next) = (bundle(1, &old), bundle(2, &new));
        let (header, bytes) = delta(&base, &next);
        let (mut lines, mut set) = raw_lines(&base);
        prop_assert_eq!(header.base_set, set);
        for change in read(&bytes, BundleLimits::default()).unwrap() {
            prop_assert_eq!(&Line::read(&change.raw).unwrap(), &change.line);
            match change.added {
                true => { set.add(&change.raw); prop_assert!(lines.insert(change.raw)) }
                false => { set.remove(&change.raw); prop_assert!(lines.remove(&change.raw)) }
            }
        }
        prop_assert_eq!((lines, set), raw_lines(&next));
        prop_assert_eq!(header.set, set);
    }

    #[test]
    fn any_bytes_are_a_delta_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes, BundleLimits::default());
        let _ = read(&zstd::encode_all(bytes.as_slice(), 1).unwrap(), BundleLimits::default());
    }
}

fn small() -> (Vec<u8>, Vec<Change>) {
    let (_, bytes) = delta(&bundle(1, &[(4, 1), (5, 1)].into()), &bundle(3, &[(5, 2), (6, 1)].into()));
    let changes = read(&bytes, BundleLimits::default()).unwrap();
    assert_eq!(changes.len(), 4);
    (bytes, changes)
}

#[test]
fn damage_of_any_kind_is_an_error_not_other_changes() {
    let (bytes, changes) = small();
    for cut in 0..bytes.len() {
        assert!(read(&bytes[..cut], BundleLimits::default()).is_err(), "cut at {cut}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        if let Ok(found) = read(&damaged, BundleLimits::default()) {
            assert!(found == changes, "flip at {at}");
        }
    }
}

fn changed(edit: impl Fn(String) -> String) -> Result<Vec<Change>, DeltaError> {
    let text = String::from_utf8(zstd::decode_all(small().0.as_slice()).unwrap()).unwrap();
    read(&zstd::encode_all(edit(text).as_bytes(), 1).unwrap(), BundleLimits::default())
}

#[test]
fn lines_that_lead_elsewhere_than_the_header_says_are_refused() {
    assert!(changed(|text| text).is_ok());
    let refused = changed(|text| text.replacen("\n-", "\n+", 1)).unwrap_err();
    assert!(matches!(refused, BundleError::Set { .. }), "{refused}");
    let refused = changed(|text| text.replacen("\n-", "\n ", 1)).unwrap_err();
    assert!(matches!(refused, BundleError::Line { line: 2, .. }), "{refused}");
    let refused = changed(|text| text.replacen("\n-{", "\n-", 1)).unwrap_err();
    assert!(matches!(refused, BundleError::Line { line: 2, .. }), "{refused}");
    let refused = changed(|text| text.replacen("\"changes\":4", "\"changes\":3", 1)).unwrap_err();
    assert!(matches!(refused, BundleError::Count { promised: 3, .. }), "{refused}");
    let refused = changed(|text| text + "\n").unwrap_err();
    assert!(matches!(refused, BundleError::Count { promised: 4, .. }), "{refused}");
    let refused = changed(|text| text.replacen("\"vedetta_delta\":1", "\"vedetta_delta\":2", 1)).unwrap_err();
    assert!(matches!(refused, BundleError::Format { format: 2, newest: 1 }), "{refused}");
    let refused = changed(|text| text.replacen("vedetta_delta", "vedetta_bundle", 1)).unwrap_err();
    assert!(matches!(refused, BundleError::Header(_)), "{refused}");
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let text = String::from_utf8(zstd::decode_all(small().0.as_slice()).unwrap()).unwrap();
    let bomb = zstd::encode_all((text + &" ".repeat(4 << 20)).as_bytes(), 1).unwrap();
    for limits in [
        BundleLimits { bytes_max: 1 << 20, line_bytes_max: 8 << 20, ..BundleLimits::default() },
        BundleLimits::default(),
        BundleLimits { indicators_max: 3, ..BundleLimits::default() },
    ] {
        let refused = read(&bomb, limits).unwrap_err();
        assert!(matches!(refused, BundleError::TooLarge { .. } | BundleError::Count { .. }), "{refused}");
    }
}

#[test]
fn a_kind_of_the_future_is_carried_along() {
    let future = br#"{"kind":"ja9","value":{"a":1},"id":"1"}"#;
    let (mut set, text) = (SetHash::default(), String::from_utf8_lossy(future));
    set.add(future);
    let header = DeltaHeader {
        vedetta_delta: 1,
        serial: Serial(2),
        base: Serial(1),
        base_set: SetHash::default(),
        set,
        created: Timestamp::default(),
        issuer: "cosc-esempio".into(),
        changes: 1,
    };
    let lines = format!("{}\n+{text}\n", serde_json::to_string(&header).unwrap());
    let changes = read(&zstd::encode_all(lines.as_bytes(), 1).unwrap(), BundleLimits::default()).unwrap();
    assert_eq!(changes, [Change { added: true, line: None, raw: future.to_vec() }]);
}

fn no_delta(base: &[u8], next: &[u8], changes_max: u64) -> NoDelta {
    DeltaWriter::write(io::sink(), &mut reader(base), &mut reader(next), changes_max).unwrap_err()
}

#[test]
fn what_cannot_be_compared_gives_no_delta() {
    let (one, two) = (bundle(1, &Set::new()), bundle(2, &[(1, 1), (2, 1)].into()));
    assert!(matches!(no_delta(&two, &one, 9), NoDelta::NotLater { .. }));
    assert!(matches!(no_delta(&one, &one, 9), NoDelta::NotLater { .. }));
    assert!(matches!(no_delta(&one, &two, 1), NoDelta::TooMany { limit: 1 }));
    let by_hand = |lines: &str| {
        let header =
            r#"{"vedetta_bundle":1,"serial":2,"created":"2026-11-22T10:00:00Z","issuer":"x","indicators":2}"#;
        zstd::encode_all(format!("{header}\n{lines}").as_bytes(), 1).unwrap()
    };
    let [a, b] =
        ["a", "b"].map(|n| format!("{{\"kind\":\"domain\",\"value\":\"{n}.example\",\"id\":\"{n}\"}}\n"));
    assert!(matches!(
        no_delta(&one, &by_hand(&format!("{b}{a}")), 9),
        NoDelta::Unsorted { serial: Serial(2) }
    ));
    assert!(matches!(no_delta(&one, &by_hand(&format!("{a}{a}")), 9), NoDelta::Unsorted { .. }));
    let unknown = "{\"kind\":\"ja9\",\"value\":\"x\",\"id\":\"1\"}\n";
    assert!(matches!(no_delta(&one, &by_hand(&format!("{a}{unknown}")), 9), NoDelta::Unknown { .. }));
    assert!(matches!(
        no_delta(&one, &by_hand(&a), 9),
        NoDelta::Bundle { error: BundleError::Count { .. }, .. }
    ));
}
