//! Connections of the kernel with both of their tuples: ulogd's NFCT and `conntrack -E`. The reply's tuple says what
//! the connection was translated to.

use memchr::memmem;

use super::Format;
use crate::line::header::Logged;
use crate::line::pairs::{Pair, Pairs};
use crate::line::reading::{Field, Reading};

pub(super) const FORMAT: Format = Format { name: "conntrack", read };

/// Source, destination, and their ports.
type Tuple<'a> = [Option<Pair<'a>>; 4];

fn read<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let message = logged.message;
    let is_one = memmem::find(message, b"ORIG: SRC=").is_some()
        || (message.trim_ascii_start().starts_with(b"[") && memmem::find(message, b" src=").is_some());
    if !is_one {
        return false;
    }
    let mut tuples: [Tuple<'a>; 2] = Default::default();
    for pair in Pairs::of(message) {
        let place = match pair.key {
            b"SRC" | b"src" => 0,
            b"DST" | b"dst" => 1,
            b"SPT" | b"sport" => 2,
            b"DPT" | b"dport" => 3,
            b"PROTO" => {
                if reading.get(Field::Proto).is_none() {
                    pair.take(Field::Proto, reading);
                }
                continue;
            }
            _ => continue,
        };
        let [original, reply] = &mut tuples;
        for slot in [original.get_mut(place), reply.get_mut(place)].into_iter().flatten() {
            if slot.is_none() {
                *slot = Some(pair);
                break;
            }
        }
    }
    let [original, [reply_src, reply_dst, reply_sport, reply_dport]] = tuples;
    if original.first().is_none_or(Option::is_none) || reply_dst.is_none() {
        return false;
    }
    let [src, dst, sport, dport] = original;
    for (field, pair) in
        [Field::Src, Field::Dst, Field::SrcPort, Field::DstPort].into_iter().zip([src, dst, sport, dport])
    {
        take(field, pair, None, reading);
    }
    // The reply goes from the true destination to the source as others see it.
    let is_same = |one: Option<Pair<'a>>, other: Option<Pair<'a>>| {
        one.map(|pair| pair.value) == other.map(|pair| pair.value)
    };
    let src_stays = is_same(src, reply_dst) && is_same(sport, reply_dport);
    let dst_stays = is_same(dst, reply_src) && is_same(dport, reply_sport);
    take(Field::SrcAfter, reply_dst, Some(src_stays), reading);
    take(Field::SrcAfterPort, reply_dport, Some(src_stays), reading);
    take(Field::DstAfter, reply_src, Some(dst_stays), reading);
    take(Field::DstAfterPort, reply_sport, Some(dst_stays), reading);
    true
}

fn take<'a>(field: Field, pair: Option<Pair<'a>>, stays: Option<bool>, reading: &mut Reading<'a>) {
    if let Some(pair) = pair {
        pair.take(if stays == Some(true) { Field::Nothing } else { field }, reading);
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;

    #[test]
    fn translated_sources_and_destinations() {
        check(
            &FORMAT,
            "Nov 22 10:00:00 gw ulogd[9]: [NEW] ORIG: SRC=10.0.0.5 DST=203.0.113.5 PROTO=TCP SPT=51000 DPT=443 PKTS=0 BYTES=0 , REPLY: SRC=203.0.113.5 DST=198.51.100.1 PROTO=TCP SPT=443 DPT=20000 PKTS=0 BYTES=0",
            &["log.src 10.0.0.5:51000", "log.dst 203.0.113.5:443", "log.nat 198.51.100.1:20000"],
        );
        check(
            &FORMAT,
            "    [NEW] tcp      6 120 SYN_SENT src=203.0.113.5 dst=198.51.100.1 sport=4000 dport=443 [UNREPLIED] src=10.0.0.9 dst=203.0.113.5 sport=8443 dport=4000",
            &["log.src 203.0.113.5:4000", "log.dst 198.51.100.1:443", "log.nat 10.0.0.9:8443"],
        );
        check(
            &FORMAT,
            "[DESTROY] udp 17 src=2001:db8::5 dst=2001:db8:1::9 sport=4000 dport=53 src=2001:db8:1::9 dst=2001:db8::5 sport=53 dport=4000",
            &["log.src 2001:db8::5:4000", "log.dst 2001:db8:1::9:53"],
        );
    }

    #[test]
    fn other_lines_are_not() {
        check_not(&FORMAT, "[NEW] src=10.0.0.5 dst=203.0.113.5");
        check_not(&FORMAT, "tcp src=10.0.0.5 dst=203.0.113.5 src=203.0.113.5 dst=10.0.0.5");
    }
}
