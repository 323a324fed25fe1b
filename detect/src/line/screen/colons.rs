//! Colons: addresses of version six, and what a URL's scheme ends with.

use std::net::{IpAddr, Ipv6Addr};

use super::Look;
use super::bytes::{self, COLON, DIGIT, DOT, HEX, LETTER};
use super::masks::Of;

/// Fewer colons are no address of version six, unless two are side by side. One may have been before.
const COLONS_MIN: u32 = 5;

impl Look<'_> {
    #[inline]
    pub(super) fn colon(&mut self, at: usize) -> bool {
        let Some(next) = self.line.get(at + 1).copied() else { return false };
        if bytes::kind(next) & (HEX | COLON) == 0 {
            return matches!(next, b'/' | b'\\') && self.looks.urls && self.scheme_end(at);
        }
        if at < self.groups_done || !self.looks.addresses || self.are_few_groups(at) {
            return false;
        }
        let begins = self.byte_before(at).is_some_and(|byte| bytes::kind(byte) & (HEX | COLON) != 0);
        (begins || next == b':') && self.groups(at)
    }

    /// Whether what goes on from the first colon of a text is too little for an address; most groups are times.
    #[inline]
    fn are_few_groups(&mut self, at: usize) -> bool {
        let (names, marks) = (self.masks.after(Of::Names, at), self.masks.after(Of::Marks, at));
        let length = (names | marks).trailing_ones();
        let colons = marks & !names & !u64::MAX.unbounded_shl(length);
        let few = length < 64 && colons.count_ones() < COLONS_MIN && colons & (colons >> 1) == 0;
        if few {
            self.groups_done = at + length as usize;
        }
        few
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
        if end - start < 3 {
            return false;
        }
        let Some(run) = self.line.get(start..end) else { return false };
        // Colons before this one are those at the beginning of a text.
        shortened |= kinds & COLON != 0 && run.windows(2).any(|two| two == b"::");
        colons += if kinds & COLON == 0 { 0 } else { u32::try_from(left).unwrap_or(u32::MAX) };
        let enough = shortened || colons >= 7 || (colons == 6 && dots);
        // Longer than addresses and all pairs: hardware, as firewalls write it.
        let pairs = || run.iter().skip(2).step_by(3).all(|byte| *byte == b':');
        let is_hardware = colons > 9 && run.len() == 3 * colons as usize + 2 && pairs();
        enough && !is_hardware && self.address_of_groups(run, start)
    }

    fn address_of_groups(&mut self, run: &[u8], start: usize) -> bool {
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
        let mut asks = |address: Ipv6Addr| self.asks_address(IpAddr::from(address).to_canonical());
        match text.parse() {
            // The last group may be a port.
            Ok(address) => {
                let port =
                    text.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
                asks(address) || port.and_then(|(before, _)| before.parse().ok()).is_some_and(asks)
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
