//! From files to bundles: what goes in, what is refused, and that it is the same each time.

use std::fs::File;

use protocol::BundleReader;
use protocol::bundle::{BundleLimits, Line};
use tempfile::TempDir;

use super::*;
use crate::import::{Purpose, read};

const NOW: i64 = 1_790_000_000_000_000;

fn imported(name: &str, text: &str) -> Imported {
    let mut imported = Imported::default();
    read::contents(text.as_bytes(), name, &mut imported).unwrap();
    imported
}

fn options() -> Options {
    Options { issuer: "cosc-esempio".into(), serial: Some(7), ..Options::default() }
}

fn written(name: &str, text: &str, options: &Options) -> Result<(BundleHeader, Vec<Indicator>)> {
    let home = TempDir::new().unwrap();
    let out = home.path().join("bundle.jsonl.zst");
    let made = write(&imported(name, text), options, Timestamp::from_micros(NOW), &out);
    assert_eq!(made.is_ok(), out.exists(), "a bundle is there when and only when it was made");
    let made = made?;
    let mut reader = BundleReader::new(File::open(&out).unwrap(), BundleLimits::default()).unwrap();
    assert_eq!(*reader.header(), made.header);
    let indicators = reader.indicators().map(Result::unwrap).collect();
    Ok((made.header, indicators))
}

fn refused(name: &str, text: &str, options: &Options) -> String {
    format!("{:#}", written(name, text, options).unwrap_err())
}

#[test]
fn options_win_over_the_files_and_files_over_defaults() {
    let text = "value,threat,severity,tlp,valid_until\nevil.example,Esempio,high,green,2027-01-01\n203.0.113.5,,,,\n";
    let (header, indicators) = written("list.csv", text, &options()).unwrap();
    assert_eq!((header.serial, header.indicators, header.issuer.as_str()), (Serial(7), 2, "cosc-esempio"));
    let domain = indicators.iter().find(|it| it.look_for.kind() == "domain").unwrap();
    assert_eq!(
        (domain.threat.as_str(), domain.severity, domain.tlp),
        ("Esempio", Severity::High, Tlp::Green)
    );
    assert_eq!((domain.valid_until.is_some(), domain.source.as_str()), (true, "list.csv"));
    let said = Options {
        threat: Some("Altro".into()),
        severity: Some(Severity::Low),
        tlp: Some(Tlp::Clear),
        alert: Some("A-1".into()),
        valid_days: Some(2),
        ..options()
    };
    let (_, indicators) = written("list.csv", text, &said).unwrap();
    for it in indicators {
        assert_eq!(
            (it.threat.as_str(), it.severity, it.tlp, it.alert.as_str()),
            ("Altro", Severity::Low, Tlp::Clear, "A-1")
        );
        assert_eq!(it.valid_until, Some(Timestamp::from_micros(NOW).plus_seconds(2 * 86_400)));
    }
}

#[test]
fn a_value_has_the_same_identifier_in_every_bundle() {
    let first = written("a.txt", "evil.example\n203.0.113.5\n", &options()).unwrap().1;
    let second = written("b.txt", "203.0.113.5\nEVIL[.]example\n", &Options { serial: Some(8), ..options() })
        .unwrap()
        .1;
    let ids = |indicators: &[Indicator]| indicators.iter().map(|it| it.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&first), ids(&second));
    assert!(first[0].id.starts_with("indicator--"));
    assert_ne!(first[0].id, first[1].id);
}

#[test]
fn doubtful_values_stay_out_unless_asked_for() {
    let text = "http://evil.example/a\n";
    assert_eq!(written("l.txt", text, &options()).unwrap().0.indicators, 1);
    let all = Options { with_doubtful: true, ..options() };
    assert_eq!(written("l.txt", text, &all).unwrap().0.indicators, 2);
}

#[test]
fn tlp_red_never_leaves_the_desk() {
    let red = "value,tlp\nevil.example,TLP:RED\ngood.example,clear\n";
    assert!(refused("l.csv", red, &options()).contains("l.csv:2: evil.example is TLP:RED"));
    let hidden = Options { tlp: Some(Tlp::Amber), ..options() };
    assert!(refused("l.csv", red, &hidden).contains("TLP:RED"));
    assert!(
        refused("l.txt", "evil.example\n", &Options { tlp: Some(Tlp::Red), ..options() })
            .contains("--tlp red")
    );
}

#[test]
fn an_empty_bundle_is_an_error() {
    assert!(refused("l.txt", "10.0.0.1\n", &options()).contains("nothing to look for is left"));
    assert!(refused("l.txt", "\n", &options()).contains("nothing to look for is left"));
}

#[test]
fn the_number_is_given_or_found_in_the_repository() {
    let without = Options { serial: None, ..options() };
    assert!(refused("l.txt", "evil.example\n", &without).contains("--serial N"));
    assert!(
        refused("l.txt", "evil.example\n", &Options { serial: Some(0), ..options() }).contains("1 or more")
    );
    let home = TempDir::new().unwrap();
    let first = Options { serial: None, repository: Some(home.path().join("new")), ..options() };
    assert_eq!(written("l.txt", "evil.example\n", &first).unwrap().0.serial, Serial(1));
}

#[test]
fn texts_from_files_are_cut_and_options_are_checked() {
    let long = "é".repeat(300);
    let (_, indicators) =
        written("l.csv", &format!("value,threat\nevil.example,{long}\n"), &options()).unwrap();
    assert_eq!(indicators[0].threat.len(), TEXT_BYTES_MAX);
    let bad = Options { issuer: "a\u{1b}b".into(), ..options() };
    assert!(refused("l.txt", "evil.example\n", &bad).contains("--issuer"));
}

/// Values to look for and values that silence, as two files.
fn with_allowed(text: &str, allowed: &str) -> Imported {
    let mut imported = imported("list.txt", text);
    let mut other = Imported::new(Purpose::Allow);
    read::contents(allowed.as_bytes(), "ours.txt", &mut other).unwrap();
    imported.allow(other).unwrap();
    imported
}

fn lines(imported: &Imported, options: &Options) -> Result<(Written, Vec<Line>, Vec<u8>)> {
    let home = TempDir::new().unwrap();
    let out = home.path().join("bundle.jsonl.zst");
    let made = write(imported, options, Timestamp::from_micros(NOW), &out)?;
    let bytes = fs::read(&out).unwrap();
    let lines = BundleReader::new(bytes.as_slice(), BundleLimits::default()).unwrap().map(Result::unwrap);
    let lines = lines.collect();
    Ok((made, lines, bytes))
}

#[test]
fn an_allow_list_silences_and_is_no_alerts() {
    let imported =
        with_allowed("evil.example\nupdates.example\n", "updates.example\n192.0.2.0/24 # ours\n10.0.0.0/8\n");
    let said = Options { alert: Some("A-1".into()), valid_days: Some(2), ..options() };
    let (made, lines, _) = lines(&imported, &said).unwrap();
    assert_eq!((made.allowed, made.silenced, made.kinds.values().sum::<u64>()), (3, 1, 2));
    let rows: Vec<_> = lines
        .iter()
        .map(|line| match line {
            Line::Indicator(it) => {
                (it.look_for.to_string(), it.action, it.alert.clone(), it.valid_until.is_some())
            }
            Line::Revocation(_) => panic!("nothing is revoked"),
        })
        .collect();
    let row = |value: &str, action, alert: &str, ends| (value.to_owned(), action, alert.to_owned(), ends);
    for expected in [
        row("evil.example", Action::Detect, "A-1", true),
        row("updates.example", Action::Detect, "A-1", true),
        row("updates.example", Action::Allow, "", false),
        row("192.0.2.0/24", Action::Allow, "", false),
        row("10.0.0.0/8", Action::Allow, "", false),
    ] {
        assert!(rows.contains(&expected), "{expected:?} in {rows:?}");
    }
}

#[test]
fn revocations_are_written_and_stay_when_a_bundle_is_made_again() {
    let id = identifier(&LookFor::guess("evil.example").unwrap());
    let revoked = vec![Revocation::Alert("A-0".into()), Revocation::Indicator(id.clone())];
    let first = Options { revoked: revoked.clone(), ..options() };
    let (made, before, bytes) =
        lines(&with_allowed("evil.example\nother.example\n", "updates.example\n"), &first).unwrap();
    assert_eq!((made.revocations, made.silenced), (2, 1));
    let mut again = Imported::default();
    read::contents(&bytes, "before.jsonl.zst", &mut again).unwrap();
    assert_eq!(again.revocations, revoked);
    let (_, after, _) = lines(&again, &Options { serial: Some(8), ..options() }).unwrap();
    let marks = |lines: &[Line]| {
        let mark = |line: &Line| match line {
            Line::Indicator(it) => format!("{:?} {} {}", it.action, it.look_for, it.id),
            Line::Revocation(revocation) => format!("{revocation:?}"),
        };
        lines.iter().map(mark).collect::<Vec<_>>()
    };
    assert_eq!(marks(&after), marks(&before));
    // And by way of the lines that import prints.
    let mut printed = Vec::new();
    report::json(&again, &mut printed).unwrap();
    let mut again = Imported::default();
    read::contents(&printed, "before.jsonl", &mut again).unwrap();
    assert_eq!(marks(&lines(&again, &options()).unwrap().1), marks(&before));
}

#[test]
fn what_is_revoked_must_be_named_rightly() {
    for (revoked, words) in [
        (Revocation::Indicator("evil.example".into()), "--allow"),
        (Revocation::Indicator("indicator--7".into()), "indicator--1b9d6bcd"),
        (Revocation::Alert(String::new()), "--revoke-alert"),
    ] {
        let said = Options { revoked: vec![revoked], ..options() };
        assert!(refused("l.txt", "evil.example\n", &said).contains(words), "{words}");
    }
}

#[test]
fn a_bundle_that_would_look_for_nothing_says_why_and_what_to_do() {
    let why = |imported: &Imported, options: &Options| format!("{:#}", lines(imported, options).unwrap_err());
    let told = why(&with_allowed("evil.example\n10.0.0.1\n0.0.0.0/0\n", "evil.example\n"), &options());
    for words in [
        "nothing to look for is left",
        "absurd: 1 a network this large",
        "1 a private address",
        "1 are revoked",
    ] {
        assert!(told.contains(words), "{words} in {told}");
    }
    let revoked =
        Options { revoked: vec![Revocation::Alert("A-1".into())], alert: Some("A-1".into()), ..options() };
    assert!(why(&imported("l.txt", "evil.example\n"), &revoked).contains("import --json"));
}

#[test]
fn what_is_absurd_is_counted_by_reason() {
    let text = "evil.example\n10.0.0.1\n10.0.0.2\n10.0.0.2\nco.uk\ninvoice.exe\n";
    let (made, ..) = lines(&imported("l.txt", text), &options()).unwrap();
    assert!(made.absurd.starts_with("2 a private address"), "{}", made.absurd);
    assert!(
        made.absurd.contains("; 1 a public suffix") && !made.absurd.contains("file name"),
        "{}",
        made.absurd
    );
}

#[test]
fn the_bundle_before_is_told_with_its_lines() {
    let home = TempDir::new().unwrap();
    let [keys, folder, out] = ["keys", "repository", "bundle"].map(|name| home.path().join(name));
    let said = Options { serial: None, repository: Some(folder.clone()), ..options() };
    let make =
        |text: &str| write(&imported("l.txt", text), &said, Timestamp::from_micros(NOW), &out).unwrap();
    let made = make("a.example\nb.example\nc.example\n");
    assert_eq!((made.header.serial, made.before), (Serial(1), None));
    crate::keys::generate(&keys, None).unwrap();
    crate::sign::sign_bundle(&keys, &folder, &out).unwrap();
    let made = make("a.example\n");
    assert_eq!((made.header.serial, made.before), (Serial(2), Some((Serial(1), 3))));
}

#[test]
fn an_allow_list_is_not_red_either() {
    let mut imported = imported("l.txt", "evil.example\n");
    let mut other = Imported::new(Purpose::Allow);
    read::contents(b"value,tlp\nupdates.example,red\n", "ours.csv", &mut other).unwrap();
    imported.allow(other).unwrap();
    assert!(lines(&imported, &options()).unwrap_err().to_string().contains("updates.example is TLP:RED"));
}
