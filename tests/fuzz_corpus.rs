//! Replays the corpora of the fuzz targets, and each of their inputs changed at random, within seconds.
//!
//! `VEDETTA_FUZZ_RUNS` says how many changed ones of each input are tried. `UPDATE_FUZZ_SEEDS=1` writes the seeds into
//! `tests/fuzz/corpus`. What fails is printed as hex: put it into the corpus of its target when it is mended.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may")]

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use vedetta_tests::fuzzing::{TARGETS, mutated, seeds, target};
use vedetta_tests::seed::Seed;

/// Few enough that all targets together take less than a minute without optimisation.
const RUNS: u64 = 12;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn runs() -> u64 {
    std::env::var("VEDETTA_FUZZ_RUNS").map_or(RUNS, |runs| runs.parse().unwrap())
}

/// Name and bytes of each input, in order.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = fuzz().join("corpus").join(name);
    let read = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = read.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let named = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (named(path), fs::read(path).unwrap())).collect()
}

fn run(target: fn(&[u8]), input: &[u8], about: &str) {
    if catch_unwind(|| target(input)).is_err() {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{about} fails:\n{hex}");
    }
}

fn check(name: &str) {
    let target = target(name).unwrap();
    if std::env::var_os("UPDATE_FUZZ_SEEDS").is_some() {
        let folder = fuzz().join("corpus").join(name);
        fs::create_dir_all(&folder).unwrap();
        seeds(name).iter().for_each(|(seed, bytes)| fs::write(folder.join(seed), bytes).unwrap());
    }
    let corpus = corpus(name);
    for (seed, bytes) in seeds(name) {
        let kept = corpus.iter().find(|(known, _)| *known == seed).map(|(_, bytes)| bytes);
        assert_eq!(kept, Some(&bytes), "{name}/{seed} is not what is made: UPDATE_FUZZ_SEEDS=1 writes it");
    }
    for (at, (seed, bytes)) in corpus.iter().enumerate() {
        run(target, bytes, &format!("{name}/{seed}"));
        for number in 0..runs() {
            let mut random = Seed::new(number);
            let (_, other) = &corpus[(at + usize::try_from(number).unwrap() + 1) % corpus.len()];
            let input = mutated(bytes, other, &mut random);
            run(target, &input, &format!("{name}/{seed}, changed with {number},"));
        }
    }
}

macro_rules! corpora {
    ($($name:ident,)*) => {
        $(#[test] fn $name() { check(stringify!($name)); })*

        #[test]
        fn every_target_is_replayed_and_has_its_fuzzer() {
            let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
            for name in names {
                assert!(fuzz().join("fuzz_targets").join(format!("{name}.rs")).is_file(), "{name}");
                assert!(fs::read_to_string(fuzz().join("Cargo.toml")).unwrap().contains(&format!("\"{name}\"")), "{name}");
            }
        }
    };
}

corpora! {
    frames,
    packets,
    fragments,
    tls,
    http,
    http2,
    mail,
    ftp,
    ssh,
    windows,
    dns_over_tcp,
    cuts,
    datagrams,
    initials,
    lines,
    line_views,
    line_formats,
    syslog_frames,
    journal_entries,
    tail_positions,
    list_lines,
    normal_forms,
    patterns,
    index_files,
    bundles,
    deltas,
    messages,
}
