//! `replay` and `observe` as scripts call them: the real program, made captures and logs.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const HOST: [u8; 4] = [192, 0, 2, 10];
const RESOLVER: [u8; 4] = [198, 51, 100, 1];

/// A UDP packet over Ethernet with a DNS question.
fn question(name: &str) -> Vec<u8> {
    let mut dns = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        dns.push(u8::try_from(label.len()).unwrap());
        dns.extend(label.as_bytes());
    }
    dns.extend([0, 0, 1, 0, 1]);
    let udp_length = u16::try_from(8 + dns.len()).unwrap();
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    frame.extend((20 + udp_length).to_be_bytes());
    frame.extend([0, 1, 0, 0, 64, 17, 0, 0]);
    frame.extend(HOST);
    frame.extend(RESOLVER);
    frame.extend(53_124u16.to_be_bytes());
    frame.extend(53u16.to_be_bytes());
    frame.extend(udp_length.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(dns);
    frame
}

/// A capture file of version 2.4 with microseconds.
fn pcap(link_type: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    file.extend(link_type.to_le_bytes());
    for frame in frames {
        file.extend(1_700_000_000_u32.to_le_bytes());
        file.extend(250_000_u32.to_le_bytes());
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        file.extend(length);
        file.extend(length);
        file.extend(frame);
    }
    file
}

/// The same as pcapng: a section, an interface, packets.
fn pcapng(frames: &[Vec<u8>]) -> Vec<u8> {
    let frames: Vec<_> = frames.iter().map(|frame| (0, frame.clone())).collect();
    pcapng_of(&[1], &frames)
}

/// Interfaces by their link types, and frames by their interfaces.
fn pcapng_of(links: &[u8], frames: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = u32::try_from(body.len() + 12).unwrap().to_le_bytes();
        file.extend(kind.to_le_bytes());
        file.extend(length);
        file.extend(body);
        file.extend(length);
    };
    block(0x0a0d_0d0a, &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    for link in links {
        block(1, &[*link, 0, 0, 0, 0, 0, 1, 0]);
    }
    let micros: u64 = 1_700_000_000_250_000;
    for (interface, frame) in frames {
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        let high = u32::try_from(micros >> 32).unwrap().to_le_bytes();
        let low = u32::try_from(micros & 0xffff_ffff).unwrap().to_le_bytes();
        block(6, &[&[*interface, 0, 0, 0][..], &high, &low, &length, &length, frame].concat());
    }
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn agent(arguments: &[&str], inputs: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vedetta-agent"))
        .args(arguments)
        .args(inputs)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_sighting_line_is_the_contract_to_the_letter() {
    let folder = Folder::new();
    let path = folder.file("a.pcap", pcap(1, &[question("Evil.Example")]));
    let output = agent(&["observe"], &[&path]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let expected = format!(
        r#"{{"at":"2023-11-14T22:13:20.250000Z","input":"{}","kind":"domain","value":"evil.example","seen_in":"dns.query","flow":{{"proto":"udp","src":"192.0.2.10","src_port":53124,"dst":"198.51.100.1","dst_port":53}}}}"#,
        path.display()
    );
    assert_eq!(text.lines().last(), Some(expected.as_str()));
}

#[test]
fn captures_of_all_wrappings_and_standard_input_say_the_same() {
    let folder = Folder::new();
    let frames = [question("evil.example"), question("b.example")];
    let (plain, ng) = (pcap(1, &frames), pcapng(&frames));
    let values = |output: &Output| {
        lines(output).iter().map(|line| line["value"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let expected = ["192.0.2.10", "198.51.100.1", "evil.example", "b.example"];
    for (name, bytes) in
        [("a.pcap", plain.clone()), ("a.pcapng", ng), ("a.log", gzip(&plain)), ("b.pcap", plain.clone())]
    {
        let output = agent(&["observe"], &[&folder.file(name, bytes)]);
        assert_eq!(values(&output), expected, "{name}: {}", told(&output));
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_vedetta-agent"))
        .args(["observe", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&plain).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(values(&output), expected, "{}", told(&output));
}

#[test]
fn replay_prints_each_hit_once_with_all_that_an_operator_needs() {
    let folder = Folder::new();
    let list = folder.file("list.txt", "# seen in mail\nevil[.]example\n???\n203.0.113.0/24\n");
    let capture =
        folder.file("a.pcap", pcap(1, &[question("www.evil.example"), question("www.evil.example")]));
    let log = folder.file("a.log", "ok\nkernel: SRC=203.0.113.5 DST=192.0.2.10 DPT=22\n");
    let list = list.to_str().unwrap();
    let output = agent(&["replay", "--indicators", list, "--home-net", "192.0.2.0/24"], &[&capture, &log]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let hits = lines(&output);
    assert_eq!(hits.len(), 2);
    assert_eq!(hits[0]["indicator"], "evil.example");
    assert_eq!(hits[0]["count"], 2);
    assert_eq!(hits[0]["direction"], "outbound");
    assert_eq!(hits[0]["host"], "192.0.2.10");
    assert_eq!(hits[0]["bundle"], 0);
    assert_eq!(hits[0]["hit_id"].as_str().unwrap().len(), 32);
    assert_eq!(hits[1]["seen_in"], "log.src");
    assert_eq!(hits[1]["line"], 2);
    assert_eq!(hits[1]["direction"], "inbound");
    assert_eq!(hits[1]["remote"], "203.0.113.5");
    assert!(told(&output).contains("list.txt:3:"), "the bad line is named: {}", told(&output));
    let again = agent(&["replay", "--indicators", list, "--home-net", "192.0.2.0/24"], &[&capture, &log]);
    assert_eq!(again.stdout, output.stdout);
}

/// Reads files with so many at once; the output and what is said are returned.
fn with_jobs(jobs: &str, files: &[PathBuf]) -> (String, String) {
    let inputs: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let output = agent(&["observe", "--jobs", jobs], &inputs);
    (String::from_utf8(output.stdout.clone()).unwrap(), told(&output))
}

#[test]
fn several_inputs_at_once_say_the_same_in_the_same_order() {
    let folder = Folder::new();
    let mut files = Vec::new();
    for number in 0..24_u32 {
        // Later files are shorter and end first; every fifth cannot be read to its end.
        let questions: Vec<_> = (0..(24 - number) * 40).map(|n| question(&format!("n{n}.example"))).collect();
        let mut bytes = if number % 2 == 0 { pcap(1, &questions) } else { pcapng(&questions) };
        if number % 5 == 4 {
            bytes.truncate(bytes.len() - 3);
        }
        files.push(folder.file(&format!("{number}.pcap"), bytes));
    }
    files.push(folder.file("lines.log", "kernel: SRC=203.0.113.5 DST=192.0.2.10 DPT=22\n".repeat(9000)));
    files.push(folder.0.path().join("missing"));
    let serial = with_jobs("1", &files);
    assert!(serial.0.lines().count() > 20_000 && serial.1.contains("21 of 26 inputs read"), "{}", serial.1);
    for jobs in ["2", "7", "64"] {
        let parallel = with_jobs(jobs, &files);
        assert!(parallel == serial, "{jobs} at once: {}", parallel.1);
    }
}

#[test]
fn each_interface_of_a_pcapng_has_its_own_link_type() {
    let folder = Folder::new();
    let bare = question("bare.example")[14..].to_vec();
    let frames = [(0, question("first.example")), (1, bare), (0, question("last.example"))];
    let domains = |output: &Output| -> Vec<String> {
        let lines = lines(output);
        let domains = lines.iter().filter(|line| line["kind"] == "domain");
        domains.map(|line| line["value"].as_str().unwrap().to_owned()).collect()
    };
    let output = agent(&["observe"], &[&folder.file("a.pcapng", pcapng_of(&[1, 101], &frames))]);
    assert_eq!(domains(&output), ["first.example", "bare.example", "last.example"], "{}", told(&output));
    assert_eq!(output.status.code(), Some(0));

    let output = agent(&["observe"], &[&folder.file("b.pcapng", pcapng_of(&[1, 147], &frames))]);
    assert_eq!(domains(&output), ["first.example", "last.example"], "{}", told(&output));
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("(147), which is not decoded"), "{}", told(&output));

    let mut cut = pcapng_of(&[1, 101], &frames);
    cut.truncate(cut.len() - 1);
    let output = agent(&["observe"], &[&folder.file("c.pcapng", cut)]);
    assert_eq!(domains(&output), ["first.example", "bare.example"], "{}", told(&output));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn standard_input_is_read_once_however_often_it_is_named() {
    let folder = Folder::new();
    let path = folder.file("a.pcapng", pcapng(&[question("evil.example")]));
    let output = Command::new(env!("CARGO_BIN_EXE_vedetta-agent"))
        .args(["observe", "--jobs", "2", "-", "-"])
        .stdin(fs::File::open(path).unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(lines(&output).last().unwrap()["value"], "evil.example");
    assert!(told(&output).contains("standard input: is empty"), "{}", told(&output));
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_read() {
    let folder = Folder::new();
    let good = pcap(1, &[question("evil.example")]);
    let cut = folder.file("cut.pcap", &good[..good.len() - 3]);
    let link = folder.file("link.pcap", pcap(147, &[]));
    let binary = folder.file("program", [&b"\x7fELF\x02\x01\x01"[..], &[0; 64]].concat());
    let missing = folder.0.path().join("missing.pcap");
    let good = folder.file("good.pcap", good);
    for (bad, reason) in [
        (&cut, "no capture that libpcap reads to its end"),
        (&link, "(147), which is not decoded"),
        (&binary, "neither a capture nor text"),
        (&missing, "cannot be opened"),
    ] {
        let output = agent(&["observe"], &[bad, &good]);
        assert_eq!(output.status.code(), Some(1), "{}", bad.display());
        let expected = format!("{}: ", bad.display());
        let said = told(&output);
        let line = said.lines().find(|line| line.starts_with(&expected)).unwrap_or_default();
        assert!(line.contains(reason), "{said}");
        assert_eq!(lines(&output).last().unwrap()["value"], "evil.example");
    }
}

#[test]
fn an_empty_file_is_read_and_said() {
    let folder = Folder::new();
    let output = agent(&["observe"], &[&folder.file("empty.log", "")]);
    assert_eq!(output.status.code(), Some(0));
    assert!(told(&output).contains("empty.log: is empty"), "{}", told(&output));
}

#[test]
fn wrong_usage_and_useless_lists_have_their_exit_codes() {
    let folder = Folder::new();
    let log = folder.file("a.log", "x\n");
    assert_eq!(agent(&["observe"], &[]).status.code(), Some(2));
    assert_eq!(agent(&["replay"], &[&log]).status.code(), Some(2));
    let list = folder.file("list.txt", "# nothing\n");
    let output = agent(&["replay", "--indicators", list.to_str().unwrap()], &[&log]);
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("no indicator"), "{}", told(&output));
}

#[test]
fn an_interrupt_ends_quietly_while_an_input_is_waited_for() {
    let folder = Folder::new();
    let capture = folder.file("a.pcap", pcap(1, &[question("evil.example")]));
    let mut child = Command::new(env!("CARGO_BIN_EXE_vedetta-agent"))
        .args(["observe", "--jobs", "2", capture.to_str().unwrap(), "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The capture's lines do not wait for standard input.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().take(3).all(|line| line.unwrap().contains("192.0.2.10")));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(lines.count(), 0);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.signal(), told(&output).as_str()), (Some(2), ""));
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let folder = Folder::new();
    let log = folder.file("a.log", "from 203.0.113.5 port 1\n".repeat(50_000));
    let mut child = Command::new(env!("CARGO_BIN_EXE_vedetta-agent"))
        .args(["observe", log.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), told(&output).as_str()), (Some(0), ""));
}

#[test]
fn two_captures_of_one_gateway_give_one_hit_whichever_is_named_first() {
    let folder = Folder::new();
    let list = folder.file("list.txt", "evil.example\n");
    let mut translated = question("evil.example");
    translated[26..30].copy_from_slice(&[203, 0, 113, 1]);
    let inside = folder.file("lan.pcap", pcap(1, &[question("evil.example")]));
    let outside = folder.file("wan.pcap", pcap(1, &[translated]));
    let arguments = ["replay", "--indicators", list.to_str().unwrap(), "--home-net", "192.0.2.0/24"];
    for inputs in [[&*inside, &*outside], [&*outside, &*inside]] {
        let output = agent(&arguments, &inputs);
        let hits = lines(&output);
        assert_eq!(hits.len(), 1, "{hits:#?}");
        assert_eq!((&hits[0]["host"], &hits[0]["direction"]), (&"192.0.2.10".into(), &"outbound".into()));
        assert_eq!(hits[0]["nat"]["outer"], "203.0.113.1");
        assert_eq!(
            (&hits[0]["nat"]["vantage"], &hits[0]["nat"]["by"]),
            (&"both".into(), &"time_and_tuple".into())
        );
        assert_eq!(hits[0]["witnesses"][0], outside.to_str().unwrap());
        assert!(told(&output).contains("2 of 2 inputs read, 1 hits"), "{}", told(&output));
    }
}
