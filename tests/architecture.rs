//! The project keeps the rules of its architecture, and the rules can tell when it does not.

use std::path::Path;

use vedetta_tests::architecture::{Tree, violations};

const MANIFEST: &str = "[lints]\nworkspace = true\n\n[dependencies]\n";

/// A small project that keeps every rule.
fn kept() -> Vec<(String, String)> {
    let mut files = vec![
        ("README.md".to_owned(), "# A project\n\n## Code map\n\n`agent/src/main.rs` starts\n".to_owned()),
        (
            "Cargo.toml".to_owned(),
            "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n\n[workspace.dependencies]\n\
             detect = { path = \"detect\" }\nserde = \"1\" # records\n"
                .to_owned(),
        ),
        ("agent/src/main.rs".to_owned(), "//! Starts.\nfn main() {}\n".to_owned()),
    ];
    for member in ["protocol", "detect", "agent", "collector", "cosc", "tests"] {
        files.push((format!("{member}/Cargo.toml"), MANIFEST.to_owned()));
    }
    files
}

/// The project above with one file more, or another text in one.
fn with(path: &str, text: &str) -> Vec<String> {
    let mut files = kept();
    files.retain(|(known, _)| known != path);
    files.push((path.to_owned(), text.to_owned()));
    let borrowed: Vec<(&str, &str)> =
        files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    violations(&Tree::of(&borrowed))
}

/// Fails unless exactly one rule is broken, by a sentence with these words.
fn check(path: &str, text: &str, expected: &str) {
    let found = with(path, text);
    assert!(
        found.len() == 1 && found.concat().contains(expected),
        "{path}: expected {expected:?}, found {found:#?}"
    );
}

fn allowed(path: &str, text: &str) {
    assert_eq!(with(path, text), Vec::<String>::new(), "{path}");
}

#[test]
fn this_project_keeps_every_rule() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let found = violations(&Tree::read(root).unwrap());
    assert!(found.is_empty(), "{} rules are broken:\n{}", found.len(), found.join("\n"));
}

#[test]
fn a_small_tree_that_keeps_every_rule_is_silent() {
    allowed("agent/src/sources/live.rs", "//! Packets.\nuse pcap::Capture;\n");
    allowed("agent/src/enrol_code.rs", "//! Enrols.\nuse quinn::Endpoint;\n");
    allowed("agent/src/sources/syslog/tls.rs", "//! TLS of senders.\nuse rustls::ServerConfig;\n");
    allowed("collector/src/store/hits.rs", "//! Hits.\nconst ALL: &str = \"SELECT * FROM hit\";\n");
    allowed("protocol/src/a.rs", "//! A.\n#[cfg(test)]\nmod tests { use std::fs; }\n");
    allowed("detect/src/b.rs", "//! Not a use of pcap::Capture.\nuse crate::pcap::File; // pcap::Other\n");
}

#[test]
fn an_import_against_the_arrows_is_found() {
    let depends = |name: &str| format!("{MANIFEST}{name} = {{ workspace = true }}\n");
    check("protocol/Cargo.toml", &depends("detect"), "protocol must not depend on detect");
    check("detect/Cargo.toml", &depends("agent"), "detect must not depend on agent");
    check("collector/Cargo.toml", &depends("vedetta-agent"), "collector must not depend on agent");
    check("cosc/Cargo.toml", &depends("collector"), "cosc must not depend on collector");
    check("detect/Cargo.toml", &depends("tokio"), "detect is pure");
    allowed("tests/Cargo.toml", &depends("collector"));
    allowed("agent/Cargo.toml", &depends("detect"));
}

#[test]
fn a_library_out_of_its_place_is_found() {
    for (path, line, expected) in [
        ("agent/src/spool.rs", "use pcap::Capture;", "pcap belongs in"),
        ("agent/src/spool.rs", "fn f(db: sled::Db) {}", "sled belongs in"),
        ("agent/src/machine.rs", "let x = ::quinn::VarInt::from_u32(1);", "quinn belongs in"),
        ("collector/src/origins.rs", "use axum::{Router, routing};", "axum belongs in"),
        ("collector/src/ingest/hits.rs", "use rusqlite;", "rusqlite belongs in"),
        ("collector/src/console/pages.rs", "let q = \"SELECT 1\";", "SQL belongs in"),
        ("cosc/src/sign.rs", "use rustls as tls;", "rustls belongs in"),
        ("agent/src/sources/syslog/connection.rs", "use rustls::ServerConnection;", "rustls belongs in"),
    ] {
        check(path, &format!("//! Opens.\n{line}\n"), expected);
    }
}

#[test]
fn a_file_that_changed_in_only_one_of_two_places_is_found() {
    check("agent/src/bundles/verify.rs", "//! Verifies.\n", "must be the same");
}

#[test]
fn a_clock_in_a_pure_crate_is_found() {
    check("detect/src/flow.rs", "//! Flows.\nlet now = SystemTime::now();\n", "SystemTime in a pure crate");
    check("protocol/src/bundle.rs", "//! Bundles.\nuse std::fs::File;\n", "std::fs in a pure crate");
}

#[test]
fn leftovers_and_bad_names_are_found() {
    check("agent/src/helpers.rs", "//! Helps.\n", "name it after what it does");
    check("cosc/src/types/mod.rs", "//! Types.\n", "name it after what it does");
    check("agent/src/a.rs", concat!("//! A.\n// FIX", "ME later\n"), "must not be here");
    check("packaging/run.sh", concat!("cd /wor", "k/main\n"), "must not be here");
    allowed("packaging/run.sh", "mktemp -d /tmp/demo.XXXXXX\n");
    check("agent/src/a.rs", concat!("//! A.\nfn a() { un", "safe { b() } }\n"), "no unsafe code");
    check("agent/src/a.rs", "fn a() {}\n", "open with a //! sentence");
    check("agent/src/a.rs", &format!("//! A.\n{}", "\n".repeat(600)), "601 lines");
}

#[test]
fn a_dependency_without_reason_or_lints_is_found() {
    let unexplained =
        "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n[workspace.dependencies]\nserde = \"1\"\n";
    check("Cargo.toml", unexplained, "serde has no reason");
    check("Cargo.toml", "[workspace.dependencies]\nserde = \"1\" # records\n", "unsafe_code");
    check("agent/Cargo.toml", "[dependencies]\n", "[lints] must say");
    check("agent/Cargo.toml", &format!("{MANIFEST}serde = \"1\"\n"), "serde must come from the workspace");
}

#[test]
fn a_map_of_another_country_is_found() {
    check("README.md", "## Code map\n`agent/src/gone.rs` goes\n", "agent/src/gone.rs, which does not exist");
    check("README.md", "# A project\n", "no section");
    allowed("README.md", "## Code map\n`agent/` is the agent, `cargo test` tests\n");
}
