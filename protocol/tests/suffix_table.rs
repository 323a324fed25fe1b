//! Makes the table of public suffixes from the data of the crate `psl`, and holds the table and `psl` alike.
//!
//! After an update of `psl`: `cargo test -p vedetta-protocol --test suffix_table -- --ignored`, and commit the table.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the steps around the tests are tests as well"
)]

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use vedetta_protocol::Domain;
use vedetta_protocol::suffix::{is_shared, public_suffix};

fn table_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/suffix_table.txt")
}

/// The rules that `psl` was generated from, which its package carries along.
fn rules() -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let answer = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let psl = packages.iter().find(|package| package["name"] == "psl").unwrap();
    let manifest = Path::new(psl["manifest_path"].as_str().unwrap());
    let text = std::fs::read_to_string(manifest.with_file_name("data").join("rules.txt")).unwrap();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The table as `protocol::suffix` reads it.
fn table(rules: &[String]) -> String {
    let mut marks: BTreeMap<String, [bool; 3]> = BTreeMap::new();
    for rule in rules {
        let (name, mark) = match (rule.strip_prefix('!'), rule.strip_prefix("*.")) {
            (Some(name), _) => (name, 2),
            (None, Some(name)) => (name, 1),
            (None, None) => (rule.as_str(), 0),
        };
        assert!(!name.contains('*'), "{rule}: a star elsewhere, which the table cannot say");
        let name = Domain::parse(name).unwrap_or_else(|error| panic!("{rule}: {error}"));
        marks.entry(name.as_str().to_owned()).or_default()[mark] = true;
    }
    let line = |(name, marks): (String, [bool; 3])| {
        let mark = match marks {
            [true, false, false] => "",
            [false, true, false] => "*",
            [true, true, false] => "+",
            [false, false, true] => "!",
            _ => panic!("{name}: an exception and a rule at once"),
        };
        format!("{name}{mark}\n")
    };
    marks.into_iter().map(line).collect()
}

#[test]
fn the_table_is_made_of_the_rules_of_this_psl() {
    let checked_in = std::fs::read_to_string(table_path()).unwrap();
    assert!(
        checked_in == table(&rules()),
        "psl was updated and the table was not: cargo test -p vedetta-protocol --test suffix_table -- --ignored"
    );
}

#[test]
fn table_and_psl_say_the_same_about_every_rule_and_the_names_around_it() {
    let mut compared = 0;
    let rules = rules();
    let is_rule: HashSet<&str> = rules.iter().map(String::as_str).collect();
    // A name that a star counts and that has names with rules below: `psl` forgets the star on its way down, while by
    // the list's own algorithm the longest rule that fits wins.
    let psl_forgets = |name: &str| {
        let star = |name: &str| is_rule.contains(format!("*.{name}").as_str());
        let by_star = name.split_once('.').is_some_and(|(_, parent)| star(parent));
        by_star && star(name) && !is_rule.contains(name)
    };
    for rule in &rules {
        let rule = rule.trim_start_matches('!').trim_start_matches("*.");
        let around = ["", "a.", "b.a.", "c.b.a.", "www.", "city."].map(|below| format!("{below}{rule}"));
        for name in
            around.iter().map(String::as_str).chain(vedetta_protocol::domain::with_parents(rule).skip(1))
        {
            let suffix = |name: &str| {
                let known = psl::suffix(name.as_bytes()).filter(psl::Suffix::is_known)?;
                Some(Domain::parse(std::str::from_utf8(known.as_bytes()).unwrap()).unwrap())
            };
            if psl_forgets(name) {
                assert_eq!(public_suffix(name), Some(name));
                continue;
            }
            let (normal, expected) = (Domain::parse(name).unwrap(), suffix(name));
            assert_eq!(public_suffix(normal.as_str()), expected.as_ref().map(Domain::as_str), "{name}");
            let is_suffix = expected.as_ref() == Some(&normal);
            let each_below =
                suffix(&format!("unlisted.{name}")).is_some_and(|it| it.as_str().starts_with("unlisted."));
            assert_eq!(is_shared(normal.as_str()), is_suffix || each_below, "{name}");
            compared += 1;
        }
    }
    assert!(compared > 50_000, "{compared}");
}

#[test]
#[ignore = "writes the table; run it after an update of psl"]
fn write_the_table() {
    std::fs::write(table_path(), table(&rules())).unwrap();
}
