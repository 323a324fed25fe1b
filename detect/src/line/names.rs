//! Words with dots that look like domain names and name something else: files, detections, packages of programs,
//! fields. What is no name at all is left alone: an indicator must be equal to a name, so only those are told apart
//! that could be.

use protocol::suffix::public_suffix;

use super::fields;
use super::words;

/// Endings of files that are top-level domains as well.
const FILES_TOO: &[&str] = &[
    "ai", "app", "cab", "cc", "com", "cpl", "help", "im", "in", "la", "link", "md", "mk", "ml", "mov", "pl",
    "pm", "ps", "py", "rs", "sc", "sh", "so", "st", "tc", "vi", "zip",
];

/// Fields whose value is a file.
const FILE_FIELDS: &[&str] = &[
    "file",
    "filename",
    "file_name",
    "fname",
    "filepath",
    "file_path",
    "path",
    "image",
    "imagename",
    "parentimage",
    "targetfilename",
    "originalfilename",
    "exe",
    "executable",
    "process",
    "processname",
    "process_name",
    "comm",
    "command",
    "script",
    "module",
    "dll",
    "attachment",
    "attachmentname",
    "library",
];

/// Words in free text after which a file is named.
const FILE_WORDS: &[&str] = &[
    "file",
    "script",
    "module",
    "attachment",
    "bash",
    "sh",
    "dash",
    "zsh",
    "perl",
    "python",
    "python2",
    "python3",
    "ruby",
    "php",
    "executing",
    "exec",
    "chmod",
    "unzip",
];

/// Fields whose value is what a scanner calls a finding.
const DETECTION_FIELDS: &[&str] = &[
    "virus",
    "virusname",
    "virus_name",
    "threat",
    "threatname",
    "threat_name",
    "malware",
    "malwarename",
    "signature",
    "detection",
    "detectionname",
    "infection",
];

/// What scanners' names of findings begin with.
const DETECTIONS: &[&str] = &[
    "adware",
    "android",
    "backdoor",
    "bat",
    "bv",
    "doc",
    "downloader",
    "dropper",
    "eicar",
    "exploit",
    "gen",
    "generic",
    "hacktool",
    "heur",
    "html",
    "java",
    "js",
    "linux",
    "malware",
    "msil",
    "o97m",
    "osx",
    "packed",
    "pdf",
    "phish",
    "phishing",
    "php",
    "powershell",
    "pua",
    "pup",
    "python",
    "ransom",
    "riskware",
    "rootkit",
    "script",
    "spyware",
    "trojan",
    "unix",
    "vba",
    "vbs",
    "virus",
    "w32",
    "w64",
    "w97m",
    "win",
    "win32",
    "win64",
    "worm",
    "x97m",
];

/// What names of packages and classes begin with.
const PACKAGES: &[&str] = &[
    "android",
    "androidx",
    "com",
    "dev",
    "io",
    "it",
    "java",
    "javax",
    "jdk",
    "kotlin",
    "microsoft",
    "net",
    "org",
    "scala",
    "sun",
    "system",
];

/// Top-level domains that are in no public list: those kept for examples and own networks, and those of other roots.
const UNLISTED: &[&str] = &[
    "example",
    "test",
    "invalid",
    "localhost",
    "local",
    "localdomain",
    "lan",
    "home",
    "internal",
    "intranet",
    "intra",
    "corp",
    "private",
    "domain",
    "onion",
    "arpa",
    "i2p",
    "bit",
    "eth",
    "bazar",
    "coin",
    "emc",
    "lib",
];

/// Whether a word at its place in a line names no host.
pub(super) fn is_other(word: &[u8], line: &[u8], at: usize) -> bool {
    let before = line.get(..at).unwrap_or_default();
    let after = line.get(at + word.len()..).unwrap_or_default();
    let in_path = matches!(before.last(), Some(b'/' | b'\\')) && !before.ends_with(b"//");
    in_path
        || after.starts_with(b"(")
        || is_file(word, before)
        || is_detection(word, before, after)
        || (is_of_programs(word) || words::is_key(word, line, at)) && !has_known_ending(word)
}

fn is_file(word: &[u8], before: &[u8]) -> bool {
    match fields::name_before(before) {
        Some(name) => is_one_of(name, FILE_FIELDS),
        None => is_one_of(last_label(word), FILES_TOO) && is_one_of(fields::word_before(before), FILE_WORDS),
    }
}

/// `Trojan.GenericKD.Ag`, `JS.Agent.abc`: with capitals, as nobody writes names of hosts.
fn is_detection(word: &[u8], before: &[u8], after: &[u8]) -> bool {
    if !word.iter().any(u8::is_ascii_uppercase) {
        return false;
    }
    let mut labels = word.split(|byte| *byte == b'.');
    let (first, second) = (labels.next().unwrap_or_default(), labels.next().unwrap_or_default());
    let is_titled = |label: &[u8]| label.first().is_some_and(u8::is_ascii_uppercase);
    let has_small = word.iter().any(u8::is_ascii_lowercase);
    (is_titled(first) && is_titled(second) && has_small && is_one_of(first, DETECTIONS))
        || after.starts_with(b" FOUND")
        || fields::name_before(before).is_some_and(|name| is_one_of(name, DETECTION_FIELDS))
}

/// `org.apache.catalina`, `System.Net.Http`.
fn is_of_programs(word: &[u8]) -> bool {
    let mut labels = word.split(|byte| *byte == b'.');
    let titled = |label: &[u8]| {
        label.first().is_some_and(u8::is_ascii_uppercase) && label.get(1).is_some_and(u8::is_ascii_lowercase)
    };
    labels.clone().all(titled) || labels.next().is_some_and(|first| is_one_of(first, PACKAGES))
}

fn has_known_ending(word: &[u8]) -> bool {
    let last = last_label(word);
    if !last.is_ascii() || is_one_of(last, UNLISTED) || last.starts_with(b"xn--") {
        return true;
    }
    let lowered = last.to_ascii_lowercase();
    std::str::from_utf8(&lowered).is_ok_and(|last| public_suffix(last).is_some())
}

fn last_label(word: &[u8]) -> &[u8] {
    word.rsplit(|byte| *byte == b'.').next().unwrap_or_default()
}

fn is_one_of(word: &[u8], list: &[&str]) -> bool {
    list.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
}
