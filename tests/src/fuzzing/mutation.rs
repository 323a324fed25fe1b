//! Changes that damage an input the way fuzzers do: enough to leave the paths of well-formed bytes.

use crate::seed::Seed;

/// Bytes at which lengths, kinds and flags turn.
const BYTES: [u8; 12] = [0, 1, 2, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xfe, 0xff, b'\n', b' '];
const CHANGES_MAX: u64 = 6;
const LENGTH_MAX: usize = 64 * 1024;

/// An input with some bytes changed, cut out, doubled, or taken from another one.
pub fn mutated(input: &[u8], other: &[u8], seed: &mut Seed) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=seed.between(0, CHANGES_MAX) {
        change(&mut bytes, other, seed);
    }
    bytes.truncate(LENGTH_MAX);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], seed: &mut Seed) {
    let at = below(bytes.len() + 1, seed);
    let length = below(1 << below(8, seed), seed) + 1;
    let end = (at + length).min(bytes.len());
    match seed.between(0, 8) {
        0 => drop(bytes.drain(at..end)),
        1 => bytes.truncate(at),
        2 => {
            let again = bytes.get(at..end).unwrap_or_default().to_vec();
            bytes.splice(at..at, again);
        }
        3 => {
            let from = below(other.len() + 1, seed);
            let part = other.get(from..(from + length).min(other.len())).unwrap_or_default();
            bytes.splice(at..end, part.iter().copied());
        }
        4 => {
            let random = seed.bytes(length.min(16));
            bytes.splice(at..at, random);
        }
        5 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = seed.pick(&BYTES).copied().unwrap_or_default();
            }
        }
        6 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << below(8, seed);
            }
        }
        _ => {
            let [byte, ..] = seed.number().to_le_bytes();
            if let Some(at) = bytes.get_mut(at) {
                *at = byte;
            }
        }
    }
}

fn below(end: usize, seed: &mut Seed) -> usize {
    usize::try_from(seed.between(0, end as u64)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_damage() {
        let damage = |number| mutated(b"abcdefgh", b"12345678", &mut Seed::new(number));
        assert_eq!(damage(4), damage(4));
        let different = (0..50).filter(|number| damage(*number) != b"abcdefgh").count();
        assert!(different > 40);
    }

    #[test]
    fn nothing_and_everything_can_be_damaged() {
        for number in 0..500 {
            mutated(b"", b"", &mut Seed::new(number));
            mutated(b"x", b"", &mut Seed::new(number));
        }
    }
}
