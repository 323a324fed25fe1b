//! Heads of packets that switches sample and send to an analyser in sFlow datagrams.
//!
//! What passed a switch somewhere is not what passes here: samples tell addresses, and nothing of their payload is read.

use super::Layer;

/// The port that analysers listen on.
pub(super) const PORT: u16 = 6343;

/// The samples of a datagram that were not looked at yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Samples<'a> {
    samples: &'a [u8],
    /// Records of the sample at hand.
    records: &'a [u8],
}

impl<'a> Samples<'a> {
    /// sFlow version 5 (sflow_version_5.txt, "Datagram Format"): agent's address, four words, samples.
    pub fn of_datagram(payload: &'a [u8]) -> Option<Self> {
        let address = match payload {
            [0, 0, 0, 5, 0, 0, 0, 1, ..] => 4,
            [0, 0, 0, 5, 0, 0, 0, 2, ..] => 16,
            _ => return None,
        };
        Some(Self { samples: payload.get(8 + address + 16..)?, records: &[] })
    }

    /// The head of the next packet sampled.
    pub fn next(&mut self) -> Option<(Layer, &'a [u8])> {
        // Each step takes eight bytes at least.
        loop {
            while let Some((kind, record)) = next_opaque(&mut self.records) {
                let head = (kind == 1).then(|| sampled_head(record)).flatten();
                if head.is_some() {
                    return head;
                }
            }
            let (kind, sample) = next_opaque(&mut self.samples)?;
            // Flow samples, plain and expanded, have so many bytes before their records.
            self.records = match kind {
                1 => sample.get(32..),
                3 => sample.get(44..),
                _ => None,
            }
            .unwrap_or_default();
        }
    }
}

/// A format, a length, and so many bytes.
fn next_opaque<'a>(bytes: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    let all = std::mem::take(bytes);
    let ([a, b, c, d, length @ ..], rest) = all.split_first_chunk::<8>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let data = rest.get(..length.min(rest.len()))?;
    *bytes = rest.get(length..).unwrap_or_default();
    Some((u32::from_be_bytes([*a, *b, *c, *d]), data))
}

/// A raw packet header: what it begins with, its length on the wire, bytes taken off, bytes given, the bytes.
fn sampled_head(record: &[u8]) -> Option<(Layer, &[u8])> {
    let ([kind, _, _, given], bytes) = record.split_first_chunk::<16>().map(|(words, bytes)| {
        let mut numbers = [0u32; 4];
        for (number, word) in numbers.iter_mut().zip(words.chunks_exact(4)) {
            *number = word.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        }
        (numbers, bytes)
    })?;
    let layer = match kind {
        1 => Layer::Ethernet,
        7 => Layer::Ppp,
        11 | 12 => Layer::Ip,
        13 => Layer::EtherType(0x8847),
        _ => return None,
    };
    let given = usize::try_from(given).ok()?;
    Some((layer, bytes.get(..given.min(bytes.len()))?))
}
