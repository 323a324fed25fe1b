//! From files to bundles: what goes in, what is refused, and that it is the same each time.

use std::fs::File;

use protocol::BundleReader;
use protocol::bundle::BundleLimits;
use tempfile::TempDir;

use super::*;
use crate::import::read;

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
