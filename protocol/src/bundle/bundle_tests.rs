//! What a bundle promises: everything is read back, or it is refused.

use super::*;
use crate::indicator::Action;

fn header() -> BundleHeader {
    BundleHeader {
        vedetta_bundle: BUNDLE_FORMAT,
        serial: Serial(3),
        created: Timestamp::default(),
        issuer: "cosc-esempio".into(),
        indicators: 0,
        set: None,
    }
}

fn indicators(values: &[&str]) -> Vec<Indicator> {
    values.iter().map(|value| Indicator::plain(LookFor::guess(value).unwrap())).collect()
}

fn read(bytes: &[u8], limits: BundleLimits) -> Result<Vec<String>, BundleError> {
    let mut reader = BundleReader::new(bytes, limits)?;
    reader.indicators().map(|indicator| indicator.map(|found| found.look_for.to_string())).collect()
}

fn compressed(lines: &str) -> Vec<u8> {
    zstd::encode_all(lines.as_bytes(), 1).unwrap()
}

#[test]
fn what_is_written_is_read_sorted_and_once() {
    let mut bytes = Vec::new();
    let values = ["b.example", "203.0.113.0/24", "a.example", "b.example"];
    let written = BundleWriter::write_all(&mut bytes, indicators(&values), header()).unwrap();
    assert_eq!(written.indicators, 3);
    let read = read(&bytes, BundleLimits::default()).unwrap();
    assert_eq!(read, ["a.example", "b.example", "203.0.113.0/24"]);
}

#[test]
fn a_kind_of_the_future_is_passed_over_and_counted() {
    let lines = format!(
        "{}\n{{\"kind\":\"ja9\",\"value\":\"x\",\"id\":\"1\"}}\n{{\"kind\":\"domain\",\"value\":\"a.example\",\"id\":\"2\"}}\n",
        serde_json::to_string(&BundleHeader { indicators: 2, ..header() }).unwrap()
    );
    let bytes = compressed(&lines);
    let mut reader = BundleReader::new(bytes.as_slice(), BundleLimits::default()).unwrap();
    assert_eq!(reader.by_ref().filter_map(Result::ok).count(), 1);
    assert_eq!(reader.unknown(), 1);
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let mut lines = serde_json::to_string(&BundleHeader { indicators: 1, ..header() }).unwrap();
    lines.push('\n');
    lines.push_str(&" ".repeat(4 << 20));
    let limits = BundleLimits { bytes_max: 1 << 20, ..BundleLimits::default() };
    let refused = read(&compressed(&lines), limits).unwrap_err();
    assert!(matches!(refused, BundleError::TooLarge { .. }), "{refused}");
}

#[test]
fn damage_of_any_kind_is_an_error_not_a_short_set() {
    let mut bytes = Vec::new();
    BundleWriter::write_all(&mut bytes, indicators(&["a.example", "b.example"]), header()).unwrap();
    for cut in 0..bytes.len() {
        assert!(read(&bytes[..cut], BundleLimits::default()).is_err(), "cut at {cut}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        if let Ok(values) = read(&damaged, BundleLimits::default()) {
            assert_eq!(values, ["a.example", "b.example"], "flip at {at}");
        }
    }
}

#[test]
fn a_newer_format_asks_for_an_update() {
    let newer = BundleHeader { vedetta_bundle: 3, ..header() };
    let bytes = compressed(&(serde_json::to_string(&newer).unwrap() + "\n"));
    assert!(matches!(
        read(&bytes, BundleLimits::default()),
        Err(BundleError::Format { format: 3, newest: 2 })
    ));
}

fn lines_of(values: &[&str]) -> Vec<Line> {
    let mut lines: Vec<Line> = indicators(values).into_iter().map(Line::Indicator).collect();
    lines.sort_by(Line::order);
    lines
}

#[test]
fn allow_list_and_revocations_come_back_after_the_indicators() {
    let mut allowed = indicators(&["www.good.example"]);
    allowed[0].action = Action::Allow;
    allowed.extend(indicators(&["evil.example"]));
    let revocations = vec![Revocation::Indicator("indicator--1".into()), Revocation::Alert("A-1".into())];
    let mut bytes = Vec::new();
    let written = BundleWriter::write_lines(&mut bytes, allowed.clone(), revocations, header()).unwrap();
    let mut reader = BundleReader::new(bytes.as_slice(), BundleLimits::default()).unwrap();
    let lines: Vec<Line> = reader.by_ref().collect::<Result<_, _>>().unwrap();
    assert_eq!(
        lines,
        [
            Line::Indicator(allowed[1].clone()),
            Line::Indicator(allowed[0].clone()),
            Line::Revocation(Revocation::Alert("A-1".into())),
            Line::Revocation(Revocation::Indicator("indicator--1".into())),
        ]
    );
    assert_eq!((written.indicators, written.set), (4, Some(reader.set())));
    assert_eq!((reader.lines_read(), reader.compressed_bytes()), (4, bytes.len() as u64));
    let text = String::from_utf8(zstd::decode_all(bytes.as_slice()).unwrap()).unwrap();
    assert!(text.ends_with(
        "{\"revoke\":\"alert\",\"value\":\"A-1\"}\n{\"revoke\":\"indicator\",\"value\":\"indicator--1\"}\n"
    ));
    let mut set = SetHash::default();
    text.lines().skip(1).for_each(|line| set.add(line.as_bytes()));
    assert_eq!(set, reader.set());
}

#[test]
fn lines_that_nobody_holds_make_the_same_bundle() {
    let (mut held, mut streamed) = (Vec::new(), Vec::new());
    let values = ["b.example", "203.0.113.0/24", "a.example"];
    BundleWriter::write_all(&mut held, indicators(&values), header()).unwrap();
    let lines = lines_of(&values);
    BundleWriter::stream(&mut streamed, header(), LEVEL, || lines.iter()).unwrap();
    assert!(held == streamed);
    let unsorted = || lines.iter().rev();
    let refused = BundleWriter::stream(io::sink(), header(), LEVEL, unsorted).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    let calls = std::cell::Cell::new(0);
    let shrinking = || lines.iter().skip(calls.replace(1));
    assert!(BundleWriter::stream(io::sink(), header(), LEVEL, shrinking).is_err());
}

#[test]
fn another_set_than_the_header_promises_is_refused() {
    let mut set = SetHash::default();
    set.add(b"{\"kind\":\"domain\",\"value\":\"a.example\",\"id\":\"2\"}");
    let header = serde_json::to_string(&BundleHeader { indicators: 1, set: Some(set), ..header() }).unwrap();
    let good =
        compressed(&format!("{header}\n{{\"kind\":\"domain\",\"value\":\"a.example\",\"id\":\"2\"}}\n"));
    assert_eq!(read(&good, BundleLimits::default()).unwrap(), ["a.example"]);
    let other =
        compressed(&format!("{header}\n{{\"kind\":\"domain\",\"value\":\"a.example\",\"id\":\"3\"}}\n"));
    let refused = read(&other, BundleLimits::default()).unwrap_err();
    assert!(matches!(refused, BundleError::Set { promised, .. } if promised == set), "{refused}");
}

#[test]
fn more_history_than_eight_mebibytes_is_refused() {
    let text = serde_json::to_string(&header()).unwrap() + "\n";
    let with_window = |log| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(log).unwrap();
        io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    assert!(read(&with_window(23), BundleLimits::default()).is_ok());
    assert!(matches!(read(&with_window(24), BundleLimits::default()), Err(BundleError::Compression(_))));
}

#[test]
fn a_line_as_long_as_the_limit_passes_and_a_longer_one_does_not() {
    let text = serde_json::to_string(&BundleHeader { indicators: 1, ..header() }).unwrap()
        + "\n{\"kind\":\"domain\",\"value\":\"a.example\",\"id\":\"2\"}\n";
    let longest = text.lines().map(str::len).max().unwrap() as u64;
    let limits = |line_bytes_max| BundleLimits { line_bytes_max, ..BundleLimits::default() };
    assert!(read(&compressed(&text), limits(longest + 1)).is_ok());
    assert!(matches!(read(&compressed(&text), limits(longest)), Err(BundleError::TooLarge { .. })));
}
