//! User agents: where they stand is known to each format only, so every text that some mark encloses is asked for.

use protocol::index::Value;
use protocol::observable::UserAgent;

use super::Look;
use super::urls::unescape;
use crate::line::agents;

/// What encloses fields.
const MARKS: &[u8] = b"\"'\t|{}^";
/// Words before a user agent that goes on to the end of its line.
const WORDS_MAX: usize = 12;

impl Look<'_> {
    pub(super) fn agents(&mut self) -> bool {
        let line = self.line;
        agents::find(line).into_iter().any(|span| line.get(span).is_some_and(|text| self.agent(text)))
            || self.is_bare_agent_field()
            || self.texts_between_marks()
            || self.texts_up_to_the_end()
    }

    fn agent(&mut self, text: &[u8]) -> bool {
        let asks = |text: &[u8]| {
            let agent = std::str::from_utf8(text).ok().and_then(UserAgent::normal);
            agent.is_some_and(|agent| self.layers.may_hold(Value::UserAgent(agent)))
        };
        if asks(text) {
            return true;
        }
        if memchr::memchr(b'\\', text).is_none() {
            return false;
        }
        unescape(text, |_| false, &mut self.room.plain);
        asks(&self.room.plain)
    }

    fn texts_between_marks(&mut self) -> bool {
        let line = self.line;
        let (mut from, mut last) = (0, 0);
        for (at, byte) in line.iter().enumerate() {
            if MARKS.contains(byte) && last != b'\\' {
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
        [&b"gent"[..], b"GENT", b"pplication", b" ua"].iter().any(|name| {
            memchr::memmem::find_iter(self.line, name).any(|at| {
                let rest = self.line.get(at + name.len()..).unwrap_or_default();
                let value =
                    rest.iter().position(|byte| !matches!(byte, b':' | b'=' | b' ')).unwrap_or(rest.len());
                let is_field = matches!(rest.first(), Some(b':' | b'='));
                is_field && !matches!(rest.get(value), None | Some(b'"' | b'\'' | b'[' | b'\\'))
            })
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
