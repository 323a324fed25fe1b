//! The rules that DESIGN and STYLE state, as functions from a tree of files to the sentences that say where it
//! breaks them. A tree is a value, so that the rules are themselves tested on small made-up ones.

mod imports;
mod places;
mod readme;
mod text;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// The files of a project: path with `/` from its root, and text.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    files: BTreeMap<String, String>,
}

/// Folders that hold nothing written by hand.
const PASSED_OVER: &[&str] = &["target", "node_modules"];

impl Tree {
    /// A tree as a test writes it down.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let owned = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Self { files: owned.collect() }
    }

    /// Reads every text file below `root`, except what is built or begins with a dot.
    ///
    /// # Errors
    /// When a folder or file cannot be read.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.read_folder(root, "")?;
        Ok(tree)
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || PASSED_OVER.contains(&name.as_str()) {
                continue;
            }
            let path = format!("{prefix}{name}");
            if entry.file_type()?.is_dir() {
                self.read_folder(&entry.path(), &format!("{path}/"))?;
            } else if let Ok(text) = String::from_utf8(fs::read(entry.path())?) {
                self.files.insert(path, text);
            }
        }
        Ok(())
    }

    /// Each file's path and text, in order.
    fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The Rust files among them.
    fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(|(path, _)| path.ends_with(".rs"))
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether a file or a folder has this path.
    fn has(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.files.contains_key(path) || self.files.keys().any(|known| known.starts_with(&folder))
    }
}

/// Every rule that the tree breaks, as a sentence with the place and what to do.
pub fn violations(tree: &Tree) -> Vec<String> {
    let rules: [fn(&Tree) -> Vec<String>; 11] = [
        imports::against_the_arrows,
        imports::without_a_reason,
        imports::without_the_lints,
        places::out_of_place,
        places::impure,
        places::unlike_twins,
        text::too_long,
        text::badly_named,
        text::banned,
        text::unopened,
        readme::map_without_territory,
    ];
    rules.iter().flat_map(|rule| rule(tree)).collect()
}

/// A source line without its `//` comment. Cutting at a `//` inside a string only makes a rule blind there.
fn code_of(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// The lines of a file with their numbers from 1, up to its `#[cfg(test)]` module.
fn shipped_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .take_while(|line| line.trim() != "#[cfg(test)]")
        .enumerate()
        .map(|(index, line)| (index + 1, code_of(line)))
}
