//! The hash of a set of lines, which moves with each line that comes or goes.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::text::{Hex, bytes_from_hex, text_form};

/// Tells one set of lines from another: the sum modulo 2^256 of each line's SHA-256. A delta moves it on without
/// the whole set being read again. It finds mistakes; forgery is for the signature to prevent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SetHash(pub [u8; 32]);

impl SetHash {
    /// Puts a line, without its line feed, in the set.
    pub fn add(&mut self, line: &[u8]) {
        self.sum(Sha256::digest(line).into());
    }

    /// Takes a line out.
    pub fn remove(&mut self, line: &[u8]) {
        let digest: [u8; 32] = Sha256::digest(line).into();
        self.sum(digest.map(|byte| !byte));
        let mut one = [0; 32];
        if let Some(last) = one.last_mut() {
            *last = 1;
        }
        self.sum(one);
    }

    /// Adds a number of 256 bits, most significant byte first.
    fn sum(&mut self, other: [u8; 32]) {
        let mut carry = 0;
        for (mine, theirs) in self.0.iter_mut().rev().zip(other.into_iter().rev()) {
            let sum = u16::from(*mine) + u16::from(theirs) + carry;
            let [high, low] = sum.to_be_bytes();
            (*mine, carry) = (low, u16::from(high));
        }
    }
}

impl fmt::Display for SetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl FromStr for SetHash {
    type Err = NotASetHash;

    fn from_str(text: &str) -> Result<Self, NotASetHash> {
        bytes_from_hex(text).map(Self).ok_or(NotASetHash)
    }
}

text_form!(SetHash);

/// A text that is no [`SetHash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 64 hexadecimal digits")]
pub struct NotASetHash;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_and_goes_leaves_no_trace_and_order_does_not_matter() {
        let of = |lines: &[&str]| {
            let mut set = SetHash::default();
            lines.iter().for_each(|line| set.add(line.as_bytes()));
            set
        };
        let mut moved = of(&["a", "b", "c"]);
        moved.remove(b"b");
        assert_eq!(moved, of(&["c", "a"]));
        assert_ne!(moved, of(&["a", "b"]));
        assert_ne!(of(&["a", "a"]), of(&["a"]));
        moved.remove(b"a");
        moved.remove(b"c");
        assert_eq!(moved, SetHash::default());
    }

    #[test]
    fn the_sum_carries_over_every_byte() {
        let mut set = SetHash([0xff; 32]);
        let mut one = [0; 32];
        one[31] = 1;
        set.sum(one);
        assert_eq!(set, SetHash::default());
    }

    #[test]
    fn the_text_reads_back() {
        let mut set = SetHash::default();
        set.add(b"a line");
        assert_eq!(set.to_string().parse(), Ok(set));
        assert_eq!("00".parse::<SetHash>(), Err(NotASetHash));
    }
}
