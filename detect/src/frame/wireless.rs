//! 802.11 data frames that are not encrypted: the header of changing length, aggregates, and what captures put before it.

use super::{Layer, be16};

/// How a radio frame's header was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    /// With padding to four bytes.
    Padded,
    /// With the two bytes of its frame control in the wrong order, as some access points have them in CAPWAP.
    Swapped,
}

/// What a radio frame carries.
pub(super) enum Carried<'a> {
    /// An LLC frame.
    Llc(&'a [u8]),
    /// Several, each with addresses and length before it.
    Aggregate(&'a [u8]),
    /// Something that only the keys would open.
    Encrypted,
    /// No data: management, control, or a later fragment.
    Nothing,
}

/// The radiotap header: its length at 2, little-endian. Its flags may say that the 802.11 header is padded.
pub(super) fn radiotap(frame: &[u8]) -> Option<(Layer, &[u8])> {
    let [_, _, low, high, present @ ..] = *frame.first_chunk::<8>()?;
    let rest = frame.get(usize::from(u16::from_le_bytes([low, high]))..)?;
    let padded = radiotap_flags(frame, u32::from_le_bytes(present)).is_some_and(|flags| flags & 0x20 != 0);
    Some((Layer::Wireless(if padded { Form::Padded } else { Form::Plain }), rest))
}

/// The flags stand behind all words of presence bits, and behind a timer of eight bytes when there is one.
fn radiotap_flags(frame: &[u8], present: u32) -> Option<u8> {
    if present & 2 == 0 {
        return None;
    }
    let mut words = frame.get(4..)?.chunks_exact(4).take(8);
    let more = words.position(|word| word.last().is_some_and(|byte| byte & 0x80 == 0))?;
    let at = 8 + more * 4;
    let at = if present & 1 == 0 { at } else { at.next_multiple_of(8) + 8 };
    frame.get(at).copied()
}

/// Prism's header: its length at 4 in the host's byte order. AVS begins with a magic number, and is in network order.
pub(super) fn prism(frame: &[u8]) -> Option<(Layer, &[u8])> {
    let [a, b, _, _, length @ ..] = *frame.first_chunk::<8>()?;
    let (big, little) = (u32::from_be_bytes(length), u32::from_le_bytes(length));
    let length = if (a, b) == (0x80, 0x21) { big } else { big.min(little) };
    frame.get(usize::try_from(length).ok()?..).map(|rest| (Layer::Wireless(Form::Plain), rest))
}

/// IEEE 802.11-2020 §9.2.4 and §9.3.2: two addresses more between access points, quality of service, and the
/// control field of high throughput when the order bit is set.
pub(super) fn carried(frame: &[u8], form: Form) -> Option<Carried<'_>> {
    let (kind, flags) = match (form, frame.first_chunk::<2>()?) {
        (Form::Swapped, [flags, kind]) | (_, [kind, flags]) => (*kind, *flags),
    };
    let (is_data, has_quality, is_null) = (kind & 0x0f == 0x08, kind & 0x80 != 0, kind & 0x40 != 0);
    if !is_data || is_null {
        return Some(Carried::Nothing);
    }
    let mut header = if flags & 0x03 == 0x03 { 30 } else { 24 };
    let mut aggregate = false;
    if has_quality {
        aggregate = frame.get(header)? & 0x80 != 0;
        header += if flags & 0x80 != 0 { 6 } else { 2 };
    }
    if form == Form::Padded {
        header = header.next_multiple_of(4);
    }
    let body = frame.get(header..)?;
    let is_later_fragment = frame.get(22)? & 0x0f != 0;
    Some(match () {
        () if flags & 0x40 != 0 => Carried::Encrypted,
        () if is_later_fragment => Carried::Nothing,
        () if aggregate => Carried::Aggregate(body),
        () => Carried::Llc(body),
    })
}

/// The next LLC frame of an aggregate and what follows it (§9.3.2.2): two addresses, a length, padding to four.
pub(super) fn next_of_aggregate(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(be16(bytes, 12)?);
    let end = 14 + length;
    let llc = bytes.get(14..end.min(bytes.len()))?;
    Some((llc, bytes.get(end.next_multiple_of(4)..).unwrap_or_default()))
}
