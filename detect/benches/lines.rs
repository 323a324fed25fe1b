//! The line path beside its limits: lines without a hit against 100,000 and a million indicators, beside `grep -F -f`
//! with the same ones over the same lines; lines of each kind; memory over a gigabyte; hits beside an oracle.
//!
//! `cargo bench -p vedetta-detect --bench lines [-- --rounds N] [--json] [--only PART,..]`; each part is a process of
//! its own. Files go to `TMPDIR`: some 500 MiB.

#![allow(missing_docs, reason = "a benchmark")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic,
    reason = "a benchmark"
)]

#[path = "lines/mod.rs"]
mod made;
#[allow(dead_code, reason = "the rest is for the benchmark of the index")]
mod millions;
#[allow(dead_code, reason = "the rest is for the other benchmarks")]
mod mix;
#[allow(dead_code, reason = "the rest is for the benchmark of the index")]
mod replay;
mod timing;

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use ipnet::IpNet;
use protocol::index::Layers;
use protocol::{Indicator, LookFor};
use vedetta_detect::{Detector, DetectorConfig, Line, Matcher};

use crate::made::{Kind, Lines};
use crate::millions::{Arguments, Figures, Invented, SEED, memory, new_year, seed::Seed};
use crate::timing::{cpu, fastest, median};

const FEW: u64 = 100_000;
const MANY: u64 = 1_000_000;
/// What a byte without a hit may cost: 500 MB a second.
const NANOSECONDS_MAX: f64 = 2.0;
/// What a byte may cost with a million, in what it costs with 100,000.
const MANY_TIMES_MAX: f64 = 1.1;
/// `grep -F -f` takes this many times as long.
const GREP_TIMES: f64 = 20.0;
/// What memory may grow by over a gigabyte.
const GROWTH_MAX: f64 = 1024.0 * 1024.0;

const MEASURED_BYTES: usize = 64 << 20;
const GREP_BYTES: usize = 24 << 20;
const MEMORY_BYTES: usize = 1 << 30;
const LINES_SEED: u64 = 77;

fn main() {
    let arguments = Arguments::read(7);
    let Some((part, folder)) = &arguments.part else {
        let mut figures = arguments.run_parts(&["speed", "kinds", "more", "grep", "memory", "oracle"]);
        if let (Some(ours), Some(grep)) =
            (figures.value("a byte, 100,000 indicators"), figures.value("a byte, grep -F -f"))
        {
            figures.add("a byte, of a twentieth of grep's", (ours, "ns"), grep / GREP_TIMES);
            figures.note(format!("grep takes {:.0} times as long", grep / ours));
        }
        let kept = figures.print(arguments.json);
        std::process::exit(i32::from(!kept));
    };
    let figures = match part.as_str() {
        "speed" => speed(folder, arguments.rounds),
        "kinds" => kinds(folder, arguments.rounds),
        "more" => more(folder, arguments.rounds),
        "grep" => grep(folder),
        "memory" => memory_over_a_gigabyte(folder),
        "oracle" => oracle(folder),
        other => panic!("no part {other}"),
    };
    figures.write();
}

/// The index of so many indicators, built when it is not there, and `more` beside them.
fn matcher(folder: &Path, count: u64, more: &[(&str, String)]) -> Arc<Matcher> {
    let path = folder.join(format!("index-{count}-{}", more.len()));
    if !path.exists() {
        let more = more.iter().map(|(kind, text)| Indicator::plain(LookFor::parse(kind, text).unwrap()));
        millions::build(&path, Invented::new(SEED, count).all().chain(more));
    }
    Arc::new(Matcher::new(Layers::new(millions::open(&path), None).unwrap()))
}

fn detector(matcher: &Arc<Matcher>) -> Detector {
    Detector::new(&DetectorConfig::default(), "bench", Arc::clone(matcher))
}

/// Hands all lines to the detector, as a log worker does.
fn read(detector: &mut Detector, text: &[u8]) {
    let mut from = 0;
    for (number, end) in (1..).zip(memchr::memchr_iter(b'\n', text)) {
        let bytes = black_box(&text[from..end]);
        detector.handle_line(new_year(), Line { number, offset: None, bytes });
        from = end + 1;
    }
}

/// Nanoseconds a byte, and how many lines in a thousand had something on them.
fn measured(matcher: &Arc<Matcher>, text: &[u8]) -> f64 {
    let mut detector = detector(matcher);
    let begun = cpu();
    read(&mut detector, text);
    let nanos = (cpu() - begun).as_nanos() as f64 / text.len() as f64;
    assert_eq!(detector.counters().lines, memchr::memchr_iter(b'\n', text).count() as u64);
    nanos
}

fn hits(matcher: &Arc<Matcher>, text: &[u8]) -> String {
    let mut detector = detector(matcher);
    read(&mut detector, text);
    let counters = detector.counters();
    format!("{} of {} lines match", counters.matches, counters.lines)
}

fn per_second(nanos: f64) -> String {
    format!("{:.0} MB/s", 1e3 / nanos)
}

fn speed(folder: &Path, rounds: usize) -> Figures {
    let text = Lines::new(LINES_SEED).text(None, MEASURED_BYTES);
    let matchers = [FEW, MANY].map(|count| matcher(folder, count, &[]));
    let [mut few, mut many, mut times] = [const { Vec::new() }; 3];
    for round in 0..=rounds {
        let [one, other] = [0, 1].map(|which| measured(&matchers[which], &text));
        if round > 0 {
            times.push(other / one);
            few.push(one);
            many.push(other);
        }
    }
    let mut figures = Figures::default();
    for (name, nanos, matcher) in [("100,000", few, &matchers[0]), ("1,000,000", many, &matchers[1])] {
        let middle = median(nanos.clone());
        figures.add(&format!("a byte, {name} indicators"), (middle, "ns"), NANOSECONDS_MAX);
        figures.note(format!("{}, fastest {}", per_second(middle), per_second(fastest(&nanos))));
        figures.note(hits(matcher, &text));
    }
    figures.add("a byte, a million over 100,000", (median(times), "times"), MANY_TIMES_MAX);
    figures
}

fn kinds(folder: &Path, rounds: usize) -> Figures {
    let matcher = matcher(folder, FEW, &[]);
    let mut figures = Figures::default();
    for kind in Kind::ALL {
        let text = Lines::new(LINES_SEED).text(Some(kind), MEASURED_BYTES / 4);
        let nanos: Vec<f64> = (0..rounds).map(|_| measured(&matcher, &text)).collect();
        let lines = memchr::memchr_iter(b'\n', &text).count();
        figures.add(&format!("a byte, {} lines", kind.name()), (median(nanos.clone()), "ns"), None);
        figures.note(format!("{}, {} bytes a line", per_second(median(nanos)), text.len() / lines));
    }
    figures
}

/// User agents and mail addresses beside the mix, and none of them in the lines.
fn more(folder: &Path, rounds: usize) -> Figures {
    let mut draw = Seed::new(SEED);
    let mut more = Vec::new();
    for number in 0..1_000 {
        more.push(("email", format!("mallory{}@bad-{number}.example", draw.between(0, 1_000))));
        more.push(("user_agent", format!("evil-bot/{number}.0 (build {})", draw.between(0, 1_000))));
    }
    for number in 0..50 {
        more.push(("user_agent_part", format!("scan-kit-{number}")));
    }
    let matcher = matcher(folder, FEW, &more);
    let text = Lines::new(LINES_SEED).text(None, MEASURED_BYTES);
    let nanos: Vec<f64> = (0..rounds).map(|_| measured(&matcher, &text)).collect();
    let mut figures = Figures::default();
    figures.add("a byte, user agents and mail too", (median(nanos.clone()), "ns"), NANOSECONDS_MAX);
    figures.note(format!("{}; {}", per_second(median(nanos)), hits(&matcher, &text)));
    figures
}

/// CPU seconds of the children that ended, of `/proc/self/stat`.
fn of_children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // Fields 16 and 17 of proc(5), in hundredths of a second.
    fields[13..15].iter().map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

/// CPU seconds of `grep -F -f`, and how many lines it finds.
fn grep_of(values: &Path, lines: &Path) -> (f64, String) {
    let before = of_children();
    let mut grep = Command::new("grep");
    grep.args(["-c", "-F", "-f"]).args([values, lines]).env("LC_ALL", "C").stderr(Stdio::inherit());
    let out = grep.output().unwrap();
    (of_children() - before, String::from_utf8(out.stdout).unwrap().trim().to_owned())
}

fn write_values(path: &Path) {
    let mut values = File::create(path).map(std::io::BufWriter::new).unwrap();
    for indicator in Invented::new(SEED, FEW).all() {
        writeln!(values, "{}", indicator.look_for).unwrap();
    }
    values.flush().unwrap();
}

/// `grep` with the same values over the same lines; what it takes to read the values is not counted.
fn grep(folder: &Path) -> Figures {
    let [values, lines, none] = ["values", "lines", "none"].map(|name| folder.join(name));
    write_values(&values);
    fs::write(&lines, Lines::new(LINES_SEED).text(None, GREP_BYTES)).unwrap();
    fs::write(&none, b"").unwrap();
    let (start, _) = grep_of(&values, &none);
    let (seconds, found) = grep_of(&values, &lines);
    let nanos = (seconds - start) * 1e9 / fs::metadata(&lines).unwrap().len() as f64;
    let mut figures = Figures::default();
    figures.add("a byte, grep -F -f", (nanos, "ns"), None);
    figures.note(format!(
        "{}, {start:.1} s to read the values not counted, {found} lines found",
        per_second(nanos)
    ));
    figures
}

fn memory_over_a_gigabyte(folder: &Path) -> Figures {
    let matcher = matcher(folder, FEW, &[]);
    let mut detector = detector(&matcher);
    let mut lines = Lines::new(LINES_SEED);
    let mut bytes = 0;
    let mut after_the_first = 0;
    while bytes < MEMORY_BYTES {
        let text = lines.text(None, MEASURED_BYTES / 4);
        read(&mut detector, &text);
        while detector.poll_hit().is_some() {}
        bytes += text.len();
        drop(text);
        if after_the_first == 0 {
            after_the_first = memory("VmHWM");
        }
    }
    let growth = memory("VmHWM").saturating_sub(after_the_first) as f64;
    let mut figures = Figures::default();
    figures.add("peak resident grows over a gigabyte by", (growth, "bytes"), GROWTH_MAX);
    figures.note(format!("{} bytes held by the detector", detector.held()));
    figures
}

/// Whatever can be read as an address in a text.
fn addresses(text: &str) -> impl Iterator<Item = IpAddr> + '_ {
    let is_in = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':');
    text.split(move |c| !is_in(c)).filter_map(|word| word.trim_matches(['.', ':']).parse().ok())
}

/// Lines in which an indicator stands, others in which something stands that only contains one, and the rest.
fn oracle(folder: &Path) -> Figures {
    let matcher = matcher(folder, FEW, &[]);
    let mut draw = Seed::new(SEED ^ 0x5555);
    let mut lines = Lines::new(LINES_SEED ^ 1);
    let (mut text, mut expected) = (String::new(), Vec::new());
    let invented = Invented::new(SEED, FEW);
    let of_networks = invented.all().filter(|indicator| indicator.look_for.kind() == "network");
    let networks: Vec<IpNet> =
        of_networks.map(|indicator| indicator.look_for.to_string().parse().unwrap()).collect();
    for number in 0..20_000 {
        let indicator = invented.indicator(draw.between(0, FEW)).unwrap();
        let value = indicator.look_for.to_string();
        match (number % 20, indicator.look_for.kind()) {
            (0, kind) if kind != "network" => {
                text.push_str(&format!("Nov 22 10:00:00 gw01 app[7]: seen ({value}) again\n"));
                expected.push(true);
                continue;
            }
            (1, "domain" | "md5" | "sha1" | "sha256") => {
                text.push_str(&format!("Nov 22 10:00:00 gw01 app[7]: seen a{value} again\n"));
                expected.push(false);
                continue;
            }
            (1, "ip") if !value.contains(':') && !value.starts_with('2') => {
                text.push_str(&format!("Nov 22 10:00:00 gw01 app[7]: built version {value}.7 again\n"));
                expected.push(false);
                continue;
            }
            _ => {}
        }
        let begin = text.len();
        lines.push(Kind::ALL[number % Kind::ALL.len()], &mut text);
        // A random address may lie in a network that is looked for.
        expected.push(
            addresses(text.get(begin..).unwrap())
                .any(|address| networks.iter().any(|one| one.contains(&address))),
        );
    }
    let mut detector = detector(&matcher);
    let mut wrong = 0_u32;
    for ((number, line), expected) in (1..).zip(text.lines()).zip(&expected) {
        let before = detector.counters().matches;
        detector.handle_line(new_year(), Line { number, offset: None, bytes: line.as_bytes() });
        if (detector.counters().matches > before) != *expected {
            wrong += 1;
            eprintln!("should {}have matched: {line}", if *expected { "" } else { "not " });
        }
    }
    let (values, path) = (folder.join("values"), folder.join("oracle"));
    write_values(&values);
    fs::write(&path, &text).unwrap();
    let (_, found) = grep_of(&values, &path);
    let there = expected.iter().filter(|expected| **expected).count();
    let mut figures = Figures::default();
    figures.add("lines judged wrongly", (f64::from(wrong), "lines"), 0.0);
    figures.note(format!("{there} of {} have an indicator, grep finds {found}", expected.len()));
    figures
}
