//! Colons: addresses of version six, and what a URL's scheme ends with.

use std::net::{IpAddr, Ipv6Addr};

use super::Look;
use super::bytes::{self, COLON, DIGIT, DOT, HEX, LETTER};

impl Look<'_> {
    #[inline]
    pub(super) fn colon(&mut self, at: usize) -> bool {
        let Some(next) = self.line.get(at + 1).copied() else { return false };
        match next {
            b'/' | b'\\' => self.looks.urls && self.scheme_end(at),
            b'0'..=b'9' if self.is_time(at) => false,
            b':' => at >= self.groups_done && self.groups(at),
            _ if bytes::kind(next) & HEX == 0 => false,
            _ => {
                let begins = self.byte_before(at).is_some_and(|byte| bytes::kind(byte) & (HEX | COLON) != 0);
                begins && at >= self.groups_done && self.groups(at)
            }
        }
    }

    /// `10:00:00`, with its first colon here; most groups are times.
    #[inline]
    fn is_time(&mut self, at: usize) -> bool {
        let Some(start) = at.checked_sub(2) else { return false };
        let Some([a, b, _, c, d, b':', e, f]) = self.line.get(start..).and_then(<[u8]>::first_chunk::<8>)
        else {
            return false;
        };
        let all_digits = [a, b, c, d, e, f].into_iter().all(u8::is_ascii_digit);
        let is_inside = |byte: Option<u8>| byte.is_some_and(|byte| bytes::kind(byte) & (HEX | COLON) != 0);
        let is_time = all_digits
            && start >= self.groups_done
            && !is_inside(self.line.get(start + 8).copied())
            && !is_inside(self.byte_before(start));
        if is_time {
            self.groups_done = start + 8;
        }
        is_time
    }

    /// Groups of hexadecimal digits: an address of version six, a time, an address of hardware.
    fn groups(&mut self, at: usize) -> bool {
        let (before, after) = self.line.split_at_checked(at).unwrap_or_default();
        let before = before.get(self.groups_done..).unwrap_or_default();
        let (left, kinds) = bytes::run(before.iter().rev(), HEX | COLON);
        let (mut right, mut colons, mut shortened, mut dots, mut last) = (0, 0, false, false, 0);
        for byte in after {
            let kind = bytes::kind(*byte) & (HEX | COLON | DOT);
            if kind == 0 {
                break;
            }
            right += 1;
            colons += u32::from(kind >> 7);
            dots |= kind == DOT;
            shortened |= kind & last == COLON;
            last = kind;
        }
        let (start, end) = (at - left, at + right);
        self.groups_done = end;
        if !self.looks.addresses || end - start < 3 {
            return false;
        }
        let Some(run) = self.line.get(start..end) else { return false };
        // Colons before this one are those at the beginning of a text.
        shortened |= kinds & COLON != 0 && run.windows(2).any(|two| two == b"::");
        colons += if kinds & COLON == 0 { 0 } else { u32::try_from(left).unwrap_or(u32::MAX) };
        let enough = shortened || colons >= 7 || (colons == 6 && dots);
        enough && self.address_of_groups(run, start)
    }

    fn address_of_groups(&self, run: &[u8], start: usize) -> bool {
        let Ok(mut text) = std::str::from_utf8(run) else { return true };
        let is_word = |byte: Option<u8>| byte.is_some_and(|byte| bytes::kind(byte) & (LETTER | DIGIT) != 0);
        // The first and last group belong to a word when the word goes on with other letters: `std::vec`.
        if is_word(self.byte_before(start)) {
            if matches!(self.byte_before(start - 1), Some(b'\\')) {
                return true; // an escape sequence
            }
            text = text.split_once(':').map_or("", |(_, rest)| rest);
        }
        if is_word(self.line.get(start + run.len()).copied()) {
            text = text.rsplit_once(':').map_or("", |(rest, _)| rest);
        }
        text = text.trim_matches('.');
        let text = if text.starts_with("::") { text } else { text.trim_start_matches(':') };
        let text = if text.ends_with("::") { text } else { text.trim_end_matches(':') };
        let asks = |address: Ipv6Addr| self.asks_address(IpAddr::from(address).to_canonical());
        match text.parse() {
            // The last group may be a port.
            Ok(address) => {
                let before = text.rsplit_once(':').and_then(|(before, _)| before.parse().ok());
                asks(address) || before.is_some_and(asks)
            }
            // Hardware, a time, or dots and colons alone; of the rest nobody knows where an address would end.
            Err(_) => may_hold_groups(text),
        }
    }
}

/// Whether an address may begin or end inside of a text that is none.
fn may_hold_groups(text: &str) -> bool {
    let groups = || text.split([':', '.']).filter(|group| !group.is_empty());
    let shortened = text.contains("::");
    let pairs = groups().all(|group| group.len() == 2);
    let too_long = groups().any(|group| group.len() > 4);
    groups().next().is_some() && (shortened || too_long || (!pairs && groups().count() > 8))
}
