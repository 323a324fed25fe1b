//! The headers between IPv6 and its payload, in any order and number that fits, known or not.

/// What stands behind the extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Behind<'a> {
    /// The protocol of `bytes`; `None` when a header is cut.
    pub number: Option<u8>,
    pub bytes: &'a [u8],
    pub fragment: Option<Part>,
}

/// What a fragment header says (RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub id: u32,
    pub offset: usize,
    pub more: bool,
}

/// Walks the chain (RFC 8200 §4). A real fragment ends it: the rest of the chain may stand in another one.
/// IPv4 only has the authentication header (RFC 4302).
pub(super) fn walk(mut number: u8, mut bytes: &[u8], is_v6: bool) -> Behind<'_> {
    // Each step takes eight bytes at least, so the packet's length bounds the walk.
    loop {
        let step = match number {
            44 if is_v6 => match fragment(bytes) {
                // A packet in one fragment is whole (RFC 6946).
                Some((next, Part { offset: 0, more: false, .. }, rest)) => Some((next, rest)),
                Some((next, part, rest)) => {
                    return Behind { number: Some(next), bytes: rest, fragment: Some(part) };
                }
                None => None,
            },
            51 => skip(bytes, 2, 4),
            // Hop by hop, routing, destination options, mobility, host identity, shim.
            0 | 43 | 60 | 135 | 139 | 140 if is_v6 => skip(bytes, 1, 8),
            _ => return Behind { number: Some(number), bytes, fragment: None },
        };
        match step {
            Some((next, rest)) => (number, bytes) = (next, rest),
            None => return Behind { number: None, bytes, fragment: None },
        }
    }
}

/// A header whose second byte is its length in units, less some.
fn skip(bytes: &[u8], more: usize, unit: usize) -> Option<(u8, &[u8])> {
    let (next, length) = (*bytes.first()?, usize::from(*bytes.get(1)?));
    Some((next, bytes.get((length + more) * unit..)?))
}

fn fragment(bytes: &[u8]) -> Option<(u8, Part, &[u8])> {
    let ([next, _, high, low, id @ ..], rest) = bytes.split_first_chunk::<8>()?;
    let offset = u16::from_be_bytes([*high, *low]);
    let part =
        Part { id: u32::from_be_bytes(*id), offset: usize::from(offset & 0xfff8), more: offset & 1 == 1 };
    Some((*next, part, rest))
}
