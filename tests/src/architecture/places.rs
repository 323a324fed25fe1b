//! Where a library may be named: capture, transport, SQL and the web each live in one folder, and the pure
//! crates neither wait nor read nor ask the time.

use super::{Tree, shipped_lines};

/// A library's name in source, and the beginnings of the paths that may name it.
const PLACES: &[(&str, &[&str])] = &[
    ("pcap", &["agent/src/sources", "agent/src/offline"]),
    ("sled", &["agent/src/state"]),
    ("quinn", &["agent/src/uplink", "agent/src/enrol", "collector/src/ingest", "cosc/src/push"]),
    ("rustls", TLS),
    ("rustls_pki_types", TLS),
    (
        "rcgen",
        &[
            "agent/src/enrol",
            "agent/src/uplink",
            "collector/src/authority",
            "collector/src/bundles/online",
            "cosc/src/request",
            "cosc/src/keys",
            "cosc/src/root",
        ],
    ),
    ("rusqlite", &["collector/src/store"]),
    ("axum", &["collector/src/console"]),
    ("axum_server", &["collector/src/console"]),
    ("askama", &["collector/src/console"]),
];

/// Where TLS is configured.
const TLS: &[&str] = &[
    "agent/src/uplink",
    "agent/src/enrol",
    // RFC 5425: firewalls send their log over TLS, and the receiver is that connection's other end.
    "agent/src/sources/syslog/tls",
    "collector/src/ingest",
    "collector/src/authority",
    "collector/src/console",
    "cosc/src/keys",
    "cosc/src/push",
];

/// Words of SQL, which only the store speaks.
const SQL: &[&str] = &["SELECT ", "INSERT INTO ", "DELETE FROM ", "CREATE TABLE "];

/// What a crate without clock, files and sockets has no use for.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "TcpStream",
    "UdpSocket",
    "File::open",
    "println!",
    "eprintln!",
];

/// Libraries and SQL that are named outside their folder.
pub fn out_of_place(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in tree.sources().filter(|(path, _)| is_shipped(path)) {
        for (library, allowed) in PLACES {
            // `agent/src/uplink` begins `agent/src/uplink.rs` and all below `agent/src/uplink/`.
            if allowed.iter().any(|begin| path.starts_with(begin)) {
                continue;
            }
            if let Some((number, _)) = shipped_lines(text).find(|(_, line)| names(line, library)) {
                found.push(format!("{path}:{number}: {library} belongs in {}", allowed.join(", ")));
            }
        }
        if !path.starts_with("collector/src/store") {
            let spoken = shipped_lines(text).find(|(_, line)| SQL.iter().any(|word| line.contains(word)));
            if let Some((number, _)) = spoken {
                found.push(format!("{path}:{number}: SQL belongs in collector/src/store"));
            }
        }
    }
    found
}

/// Files that two crates hold alike because neither may import the other, and `protocol` opens no file.
const TWINS: &[[&str; 2]] = &[["agent/src/bundles/verify.rs", "collector/src/bundles/verify.rs"]];

/// Twins that are no longer alike.
pub fn unlike_twins(tree: &Tree) -> Vec<String> {
    let unlike = TWINS.iter().filter(|[one, other]| tree.text(one) != tree.text(other));
    unlike.map(|[one, other]| format!("{one} and {other} must be the same: copy the newer one")).collect()
}

/// Clocks, files, sockets and terminals in the pure crates, outside their tests.
pub fn impure(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in tree.sources() {
        let pure = path.starts_with("protocol/src") || path.starts_with("detect/src");
        if !pure || path.ends_with("_tests.rs") {
            continue;
        }
        for (number, line) in shipped_lines(text) {
            if let Some(word) = IMPURE.iter().find(|word| line.contains(**word)) {
                found.push(format!("{path}:{number}: {word} in a pure crate; make it an argument"));
            }
        }
    }
    found
}

/// Whether a file is part of a program, and not only of its tests or benchmarks.
fn is_shipped(path: &str) -> bool {
    path.contains("/src/") && !path.starts_with("tests/") && !path.ends_with("_tests.rs")
}

/// Whether a line has `name::` or `use name` at the root of a path, outside its strings.
fn names(line: &str, name: &str) -> bool {
    let code: String = line.split('"').step_by(2).collect();
    code.match_indices(name).any(|(at, _)| {
        let (before, rest) =
            (code.get(..at).unwrap_or_default(), code.get(at + name.len()..).unwrap_or_default());
        let before = before.strip_suffix("::").map_or(before, |root| if is_path(root) { "x" } else { root });
        let used = before.trim_end().ends_with("use") && rest.starts_with([';', ' ', ':']);
        !is_path(before) && (rest.starts_with("::") || used)
    })
}

/// Whether what stands before a name makes it part of a longer path or word.
fn is_path(before: &str) -> bool {
    before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '.' | '>'))
}
