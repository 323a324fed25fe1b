//! Colours for a person at a terminal, and nothing that a value could do to that terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _};

/// Whether words are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// With the escape sequences of ECMA-48.
    Colours,
    /// As they are.
    Plain,
}

impl Paint {
    /// Colours when standard output is a terminal, unless `NO_COLOR` is set (no-color.org) or it knows none.
    pub fn of_stdout() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb {
            return Self::Colours;
        }
        Self::Plain
    }

    /// What wants to be looked at.
    pub fn alarm(self, text: &str) -> Cow<'_, str> {
        self.with("1;31", text)
    }

    /// What holds something back.
    pub fn care(self, text: &str) -> Cow<'_, str> {
        self.with("33", text)
    }

    /// What is as it should be.
    pub fn calm(self, text: &str) -> Cow<'_, str> {
        self.with("32", text)
    }

    /// Headings and values.
    pub fn strong(self, text: &str) -> Cow<'_, str> {
        self.with("1", text)
    }

    /// What matters less.
    pub fn faint(self, text: &str) -> Cow<'_, str> {
        self.with("2", text)
    }

    fn with<'a>(self, code: &str, text: &'a str) -> Cow<'a, str> {
        match self {
            Self::Colours => Cow::Owned(format!("\u{1b}[{code}m{text}\u{1b}[0m")),
            Self::Plain => Cow::Borrowed(text),
        }
    }
}

/// A text without characters that a terminal obeys.
pub fn harmless(text: &str) -> Cow<'_, str> {
    // The overrides of direction (UAX #9) make a name read as another one.
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if obeyed(c) { '\u{fffd}' } else { c }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_end_where_the_word_ends() {
        assert_eq!(Paint::Colours.alarm("x"), "\u{1b}[1;31mx\u{1b}[0m");
        assert_eq!(Paint::Plain.alarm("x"), "x");
    }

    #[test]
    fn a_value_cannot_speak_to_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\u{202e}c\u{9b}d"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
        assert_eq!(harmless("città.example"), "città.example");
    }
}
