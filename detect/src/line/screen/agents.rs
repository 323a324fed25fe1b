//! User agents: where they stand is known to each format only, so every text that some mark encloses is asked for.

use protocol::index::Value;
use protocol::observable::UserAgent;

use super::Look;
use super::urls::unescape;
use crate::line::agents;

/// Words before a user agent that goes on to the end of its line.
const WORDS_MAX: usize = 12;

impl Look<'_> {
    pub(super) fn agents(&mut self) -> bool {
        let line = self.line;
        // Parts: the whole line is asked once. Where escape sequences stand, a text may hold more than is written.
        if self.looks.agent_parts && self.layers.may_hold_agent_part(line) {
            return true;
        }
        self.has_escapes = memchr::memchr(b'\\', line).is_some();
        (self.looks.agents || self.has_escapes)
            && (agents::find(line)
                .into_iter()
                .any(|span| line.get(span).is_some_and(|text| self.agent(text)))
                || self.is_bare_agent_field()
                || self.texts_between_marks()
                || self.texts_up_to_the_end())
    }

    /// A text that may be a user agent.
    fn agent(&mut self, text: &[u8]) -> bool {
        if self.looks.agents && self.layers.may_hold_whole_agent(self.trimmed(text)) {
            return true;
        }
        if !self.has_escapes || memchr::memchr(b'\\', text).is_none() {
            return false;
        }
        unescape(text, |_| false, &mut self.room.plain);
        let agent = std::str::from_utf8(&self.room.plain).ok().and_then(UserAgent::normal);
        agent.is_some_and(|agent| self.layers.may_hold(Value::UserAgent(agent)))
    }

    /// As `str::trim` does it, which is slow in lines that are ASCII.
    fn trimmed<'t>(&self, mut text: &'t [u8]) -> &'t [u8] {
        if !self.masks.is_ascii {
            return std::str::from_utf8(text).unwrap_or_default().trim().as_bytes();
        }
        while let [b'\t'..=b'\r' | b' ', rest @ ..] | [rest @ .., b'\t'..=b'\r' | b' '] = text {
            text = rest;
        }
        text
    }

    fn texts_between_marks(&mut self) -> bool {
        let line = self.line;
        let (mut from, mut last) = (0, 0);
        for (at, byte) in line.iter().enumerate() {
            if is_mark(*byte) && last != b'\\' {
                if self.enclosed(line.get(from..at).unwrap_or_default()) {
                    return true;
                }
                from = at + 1;
            }
            last = *byte;
        }
        self.enclosed(line.get(from..).unwrap_or_default())
    }

    fn enclosed(&mut self, text: &[u8]) -> bool {
        if text.len() < 2 {
            return false;
        }
        let after_name = memchr::memchr(b'=', text).and_then(|at| text.get(at + 1..));
        self.agent(text) || after_name.is_some_and(|text| text.len() > 1 && self.agent(text))
    }

    /// A field named `agent` or `application` without quotes ends where the next field begins, which its format knows.
    fn is_bare_agent_field(&self) -> bool {
        memchr::memchr2_iter(b':', b'=', self.line).any(|at| {
            let (before, rest) = self.line.split_at_checked(at).unwrap_or_default();
            let is_agent = match before.last() {
                Some(b't') => before.ends_with(b"gent"),
                Some(b'T') => before.ends_with(b"GENT"),
                Some(b'n') => before.ends_with(b"pplication"),
                Some(b'a') => before.ends_with(b" ua"),
                _ => false,
            };
            let value = || rest.iter().find(|byte| !matches!(byte, b':' | b'=' | b' '));
            is_agent && !matches!(value(), None | Some(b'"' | b'\'' | b'[' | b'\\'))
        })
    }

    /// Words behind the last quote may be an agent without quotes.
    fn texts_up_to_the_end(&mut self) -> bool {
        let Some(quote) = memchr::memrchr(b'"', self.line) else { return false };
        let rest = self.line.get(quote + 1..).unwrap_or_default();
        let mut from = 0;
        for _ in 0..WORDS_MAX {
            let Some(space) = rest.get(from..).and_then(|rest| memchr::memchr(b' ', rest)) else { break };
            from += space + 1;
            if self.agent(rest.get(from..).unwrap_or_default()) {
                return true;
            }
        }
        false
    }
}

/// What encloses fields.
#[inline]
fn is_mark(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'\t' | b'|' | b'{' | b'}' | b'^')
}
