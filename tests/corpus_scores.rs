//! What the agent sees in real captures and logs, compared with the corpus' ground truth. The corpus is not
//! part of the project: where it is not there, this says so and checks nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use vedetta_tests::netlab::program::binary;

/// A kind of `score.py`, the least recall and the greatest share of false values that it may have.
type Bar = (&'static str, f64, Option<f64>);

const CAPTURES: &[Bar] = &[
    ("ip", 0.998, Some(0.003)),
    ("dns_qname", 0.995, Some(0.003)),
    ("dns_answer_ip", 0.99, Some(0.003)),
    ("sni", 0.99, Some(0.003)),
    ("http_host", 0.98, Some(0.003)),
    // One value, which the truth spells wrong, is half a percent here: see corpus_misses.md.
    ("url", 0.98, Some(0.005)),
    ("user_agent", 0.98, Some(0.003)),
    ("ja3", 0.985, Some(0.003)),
    ("ja4", 0.985, Some(0.003)),
    ("cert_sha1", 0.97, Some(0.003)),
    ("email", 0.95, Some(0.003)),
];

const LOGS: &[Bar] = &[
    ("ip", 0.995, Some(0.005)),
    ("domain", 0.97, None),
    ("url", 0.97, None),
    ("email", 0.97, None),
    ("hash", 0.99, None),
    ("user_agent", 0.95, None),
];

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let folder = std::env::var_os("VEDETTA_CORPUS").map_or(beside, PathBuf::from);
    if folder.join("score.py").is_file() {
        return Some(folder);
    }
    println!("no corpus at {}: nothing was scored (set VEDETTA_CORPUS to its folder)", folder.display());
    None
}

fn score(what: &str, bars: &[Bar]) {
    let Some(corpus) = corpus() else { return };
    let agent = binary("vedetta-agent").unwrap();
    let output = Command::new("python3")
        .arg(corpus.join("score.py"))
        .args([what, "--json", "--timeout", "60", "--agent"])
        .arg(agent)
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("score.py: {}", String::from_utf8_lossy(&output.stderr)));
    println!("{report:#}");
    assert_eq!(
        report["troubles"].as_array().map(Vec::len),
        Some(0),
        "files in trouble: {}",
        report["troubles"]
    );
    for (kind, recall_min, false_max) in bars {
        let row = &report["categories"][kind];
        assert!(row["required"].as_u64().unwrap() > 0, "the corpus asks for no {kind}");
        let recall = row["recall"].as_f64().unwrap();
        assert!(recall >= *recall_min, "{what}, {kind}: recall {recall} is below {recall_min}");
        if let Some(false_max) = false_max {
            let share = row["false_share"].as_f64().unwrap();
            assert!(share <= *false_max, "{what}, {kind}: false share {share} is above {false_max}");
        }
    }
}

#[test]
fn captures_are_seen_as_independent_tools_see_them() {
    score("pcap", CAPTURES);
}

#[test]
fn logs_are_seen_as_the_parsers_of_their_formats_see_them() {
    score("logs", LOGS);
}
