//! A hit as one word of text, as the spool encodes it: the program has one reader of hits, and no other for text.

use std::fmt::Write as _;

use protocol::message::Record;
use protocol::{Hit, Severity};

use crate::spool::{self, Entry};

/// The word; `None` for a hit that no spool would take.
pub fn written(hit: &Hit) -> Option<String> {
    let bytes = spool::encode(&Record::Hit(Box::new(hit.clone())), Severity::default()).ok()?;
    let mut word = String::with_capacity(2 * bytes.len());
    bytes.iter().try_for_each(|byte| write!(word, "{byte:02x}")).ok()?;
    Some(word)
}

/// The hit that a word says.
pub fn read(word: &[u8]) -> Option<Hit> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = word.chunks(2).map(byte).collect();
    match spool::decode(&bytes?) {
        Entry::Record(Record::Hit(hit)) => Some(*hit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let hit = crate::made_hit::hit(7, 20);
        let word = written(&hit).unwrap();
        assert!(!word.contains(char::is_whitespace));
        assert_eq!(read(word.as_bytes()), Some(hit));
        let half: String = word.chars().take(40).collect();
        for wrong in ["", "0", "zz", "è", &half] {
            assert_eq!(read(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
