//! Rules about a file as a text: its length, its name, its first line, and words that must not be in it.

use super::{Tree, code_of};

/// The most lines of a file written by hand.
const LINES_MAX: usize = 600;

/// Files that are written by hand, by the end of their name.
const BY_HAND: &[&str] = &[".rs", ".sh", ".toml", ".html", ".css", ".js", ".sql", ".md", ".yml", ".service"];

/// Names that do not say what a file does.
const NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "types", "misc"];

/// Words that must not be committed, in two parts so that this list does not break its own rule.
const WORDS: &[(&str, &str)] = &[
    ("/wor", "k/"),
    ("/roo", "t/"),
    ("/far", "m/"),
    ("/home", "/"),
    ("todo", "!("),
    ("unimplemented", "!("),
    ("FIX", "ME"),
    ("XX", "X"),
    ("Lorem", " ipsum"),
];

/// Files that nobody reads to the end.
pub fn too_long(tree: &Tree) -> Vec<String> {
    let by_hand = tree.files().filter(|(path, _)| BY_HAND.iter().any(|end| path.ends_with(end)));
    by_hand
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| {
            format!("{path}: {lines} lines, at most {LINES_MAX}; does it still say one thing?")
        })
        .collect()
}

/// Files and folders whose name does not say what they do.
pub fn badly_named(tree: &Tree) -> Vec<String> {
    let named = |path: &str| {
        path.split('/').any(|part| NAMES.contains(&part.split_once('.').map_or(part, |(stem, _)| stem)))
    };
    tree.files()
        .filter(|(path, _)| named(path))
        .map(|(path, _)| format!("{path}: name it after what it does"))
        .collect()
}

/// Leftovers, paths of somebody's machine, and unsafe code.
pub fn banned(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in tree.files() {
        if path == "Cargo.lock" || path == "LICENSE" {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            for (first, second) in WORDS {
                let word = format!("{first}{second}");
                if has_word(line, &word) {
                    found.push(format!("{path}:{}: {word} must not be here", index + 1));
                }
            }
            if path.ends_with(".rs") && is_unsafe(code_of(line)) {
                found.push(format!("{path}:{}: no unsafe code", index + 1));
            }
        }
    }
    found
}

/// Whether a word is in a line; a longer run of its last letter, as in a template of `mktemp`, is another word.
fn has_word(line: &str, word: &str) -> bool {
    let longer = word.chars().last().map(|last| format!("{word}{last}")).unwrap_or_default();
    line.contains(word) && !line.contains(&longer)
}

/// Source files that do not open with what they are for.
pub fn unopened(tree: &Tree) -> Vec<String> {
    let silent = tree.sources().filter(|(_, text)| !text.starts_with("//! "));
    silent.map(|(path, _)| format!("{path}: open with a //! sentence on what it is for")).collect()
}

/// Whether a line of code opens an unsafe block, function, trait or implementation.
fn is_unsafe(code: &str) -> bool {
    let mut words = code.split_whitespace().skip_while(|word| *word != concat!("un", "safe"));
    words.next().is_some()
        && words.next().is_some_and(|next| matches!(next, "{" | "fn" | "impl" | "trait" | "extern"))
}
