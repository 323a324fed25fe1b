//! Whatever a saved position says, nothing panics, and no byte is read as part of two lines.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::*;

/// A position that any bytes may have made, near what the file really holds.
fn any_position(id: FileId) -> impl Strategy<Value = serde_json::Value> {
    let id = serde_json::to_value(id).unwrap();
    let other = serde_json::json!({"device": 1, "inode": 2, "born": null});
    let number = || prop_oneof![3 => 0..40_u64, 1 => Just(u64::MAX), 1 => any::<u64>()];
    let crc = || {
        let known = [&b""[..], b"one\n", b"one\ntwo\n", b"one\ntwo\nthree\n"].map(crc32fast::hash);
        prop_oneof![4 => (0..known.len()).prop_map(move |at| known[at]), 1 => any::<u32>()]
    };
    let head = (prop_oneof![Just(0), Just(4), Just(8), Just(14), any::<u16>()], crc());
    let small = || prop_oneof![4 => 0..3_u32, 1 => Just(u32::MAX)];
    let fields = (any::<bool>(), small(), number(), number(), crc(), head, small(), any::<bool>());
    fields.prop_map(move |(mine, truncations, offset, lines, marker, (bytes, crc), given, open)| {
        let id = if mine { &id } else { &other };
        serde_json::json!({
            "id": id, "truncations": truncations, "offset": offset, "lines": lines, "marker": marker,
            "head": {"bytes": bytes, "crc": crc}, "given": given, "open": open,
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn whatever_was_saved_no_byte_is_read_as_two_lines(
        choices in proptest::collection::vec((any::<bool>(), any::<proptest::sample::Index>()), 0..6),
        (rotated, packed) in any::<(bool, bool)>(),
        junk in proptest::collection::vec(any::<u8>(), 0..64),
        seed in any::<u64>(),
    ) {
        // Anything else than a position is refused, and nothing panics.
        let _ = serde_json::from_slice::<PathPosition>(&junk);
        let log = Log::new();
        let text = "one\ntwo\nthree\nfour";
        append(&log.path, text);
        let id = FileId::of(&fs::metadata(&log.path).unwrap());
        if rotated {
            log.rotate();
            append(&log.path, "five\n");
        }
        let new = FileId::of(&fs::metadata(&log.path).unwrap());
        if rotated && packed {
            gzip(&log.folder.path().join("syslog.1"));
        }
        let mut runner = proptest::test_runner::TestRunner::new_with_rng(
            ProptestConfig::default(),
            proptest::test_runner::TestRng::from_seed(
                proptest::test_runner::RngAlgorithm::ChaCha,
                &[seed.to_le_bytes(); 4].concat(),
            ),
        );
        let files: Vec<serde_json::Value> = choices
            .iter()
            .map(|(old, _)| any_position(if *old { id } else { new }).new_tree(&mut runner).unwrap().current())
            .collect();
        let saved: PathPosition = serde_json::from_value(serde_json::json!({ "files": files })).unwrap();
        let mut follower = resume(&log.path, &saved);
        let (lines, places, _) = read_all(&mut follower);
        let given: usize = lines.iter().map(|line| line.len() + 1).sum();
        prop_assert!(given <= text.len() + 6, "{lines:?}");
        let mut once = places.clone();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(once.len(), places.len(), "two lines have the same place: {:?}", lines);
        // It goes on from there like from any other position.
        append(&log.path, "\nsix\n");
        let (lines, ..) = read_all(&mut follower);
        prop_assert_eq!(lines.last().map(String::as_str), Some("six"));
    }
}
