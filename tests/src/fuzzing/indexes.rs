//! Target of the index: whatever a file holds, it is refused, or what it tells of a value covers the value.

use std::sync::Arc;

use protocol::bundle::{Line, Revocation, SetHash};
use protocol::index::{Builder, Index, Layers, Plan, Sanity, Value};
use protocol::indicator::LookFor;
use protocol::{Indicator, Observable, Serial, Timestamp};

use super::input::Input;
use super::model::closeness;

/// What seeds hold, and values that are asked for.
const VALUES: &[&str] = &[
    "www.evil.example",
    "203.0.113.5",
    "2001:db8::5",
    "http://evil.example/kit/a",
    "mallory@evil.example",
    "900150983cd24fb0d6963f7d28e17f72",
];
/// Place, length and checksum of the layout at the end.
const FOOTER_BYTES: usize = 16;

/// The bytes of a file, and before them whether the checksum of its layout is put right.
pub fn index_files(bytes: &[u8]) {
    let mut input = Input(bytes);
    let repair = input.byte() % 2 == 1;
    let mut file = input.0.to_vec();
    if repair {
        put_right(&mut file);
    }
    let Ok(index) = Index::open(Box::new(file)) else { return };
    let Ok(layers) = Layers::new(Arc::new(index), None) else { return };
    for text in VALUES {
        let Ok(seen) = Observable::guess(text) else { continue };
        let Ok(judged) = judge(&layers, &seen) else { continue };
        for one in judged {
            assert!(closeness(&one.look_for, &seen, None).is_some(), "{one:?} on {seen}");
        }
    }
    if let Ok(stored) = layers.stored() {
        assert!(stored.take_while(Result::is_ok).count() <= bytes.len());
    }
}

fn judge(layers: &Layers, seen: &Observable) -> Result<Vec<Indicator>, protocol::index::IndexError> {
    let at = Timestamp::from_seconds(1_700_000_000, 0);
    let told = |value: Value<'_>| {
        let judged = layers.judge(value, at)?;
        Ok(judged.into_iter().map(|judged| judged.indicator).collect())
    };
    match seen {
        Observable::Ip(address) => told(Value::Ip(*address, None)),
        Observable::Domain(name) => told(Value::Domain(name.as_str())),
        Observable::Url(url) => told(Value::UrlKey(&url.match_key())),
        Observable::Email(email) => told(Value::Email(email.as_str())),
        Observable::Md5(digest) => told(Value::Md5(digest.0)),
        _ => Ok(Vec::new()),
    }
}

/// Writes the length and the CRC-32 of the layout that a fuzzer changed into the footer.
fn put_right(file: &mut [u8]) {
    let Some((body, footer)) = file.split_last_chunk_mut::<FOOTER_BYTES>() else { return };
    let Some((from, rest)) = footer.split_first_chunk_mut::<8>() else { return };
    let layout = usize::try_from(u64::from_le_bytes(*from)).ok().and_then(|from| body.get(from..));
    let Some(layout) = layout else { return };
    let Ok(length) = u32::try_from(layout.len()) else { return };
    rest.copy_from_slice(&[length.to_le_bytes(), crc32(layout).to_le_bytes()].concat());
}

/// CRC-32 as of IEEE 802.3, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| (sum >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(sum & 1));
    !bytes.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step))
}

/// A small index of several kinds, its layout as it is or to be put right.
pub fn seed(repair: bool) -> Vec<u8> {
    let values = ["evil.example", "203.0.113.0/24", "2001:db8::5", "http://evil.example/kit/a", VALUES[5]];
    let mut lines: Vec<Line> = values
        .iter()
        .filter_map(|value| LookFor::guess(value).ok())
        .map(|look_for| Line::Indicator(Indicator::plain(look_for)))
        .collect();
    for (kind, value) in [("url_prefix", "evil.example/kit"), ("wildcard", "w*.evil.example")] {
        lines.extend(LookFor::parse(kind, value).map(|look_for| Line::Indicator(Indicator::plain(look_for))));
    }
    lines.push(Line::Revocation(Revocation::Indicator("203.0.113.0/24".to_owned())));
    let sanity = Sanity::TakeAll;
    let plan = Plan { serial: Serial(7), secret: [5; 32], sanity, source: String::new(), below: None };
    // Writing to memory does not fail; a seed without contents would be seen at once.
    let built = Builder::new(plan, Vec::new(), Vec::new()).and_then(|mut builder| {
        lines.iter().try_for_each(|line| builder.add(line))?;
        builder.finish(SetHash::default())
    });
    let bytes = built.map(|(_, bytes)| bytes).unwrap_or_default();
    [vec![u8::from(repair)], bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_file_is_put_right_as_it_is() {
        let whole = seed(true).split_off(1);
        let mut file = whole.clone();
        put_right(&mut file);
        assert!(!whole.is_empty() && file == whole);
        assert!(Index::open(Box::new(file)).is_ok());
    }
}
