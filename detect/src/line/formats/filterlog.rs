//! The packet filter of pfSense and OPNsense: values by position, which depend on the IP version and the protocol.
//!
//! pf filters after translation and says nothing of it: a packet that comes in at the outside shows its true source
//! and the inner destination.

use super::Format;
use crate::line::header::Logged;
use crate::line::reading::{Field, Reading};

pub(super) const FORMAT: Format = Format { name: "filterlog", read };

/// Longest name of an anchor or interface, so that other lines are refused soon.
const VALUE_BYTES_MAX: usize = 128;

fn read<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    if !logged.message.first().is_some_and(u8::is_ascii_digit) {
        return false;
    }
    let mut values = logged.message.split(|byte| *byte == b',');
    let mut head = [&b""[..]; 9];
    for value in &mut head {
        let Some(next) = values.next().filter(|next| next.len() <= VALUE_BYTES_MAX) else { return false };
        *value = next;
    }
    let [rule, _, _, label, _, reason, action, direction, version] = head;
    let is_word =
        |word: &[u8]| !word.is_empty() && word.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'-');
    if !rule.iter().all(u8::is_ascii_digit) || !is_word(action) || reason.is_empty() || !is_word(direction) {
        return false;
    }
    let is_v4 = match version {
        b"4" => true,
        b"6" => false,
        _ => return false,
    };
    // The label of a rule is as long as a hash.
    reading.take(Field::Nothing, label);
    let skipped = if is_v4 { 7 } else { 3 };
    let values = &mut values.skip(skipped);
    let proto = values.next().unwrap_or_default();
    reading.take(Field::Proto, proto);
    // IPv6 has the number of the protocol after its name.
    let mut values = values.skip(if is_v4 { 1 } else { 2 });
    reading.take(Field::Src, values.next().unwrap_or_default());
    reading.take(Field::Dst, values.next().unwrap_or_default());
    if [&b"tcp"[..], b"udp", b"sctp"].iter().any(|known| proto.eq_ignore_ascii_case(known)) {
        reading.take(Field::SrcPort, values.next().unwrap_or_default());
        reading.take(Field::DstPort, values.next().unwrap_or_default());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;

    #[test]
    fn version_four() {
        let tcp = "146,,,1535324496,igb1.12,match,block,in,4,0x0,,63,32989,0,DF,6,tcp,60,203.0.113.5,192.0.2.9,49652,853,0,S,1234,,64240,,mss;sackOK";
        for head in [
            "<134>1 2026-11-22T10:00:00.578288+01:00 fw.example filterlog 72237 - - ",
            "<134>Nov 22 10:00:00 filterlog[72237]: ",
            "<134>filterlog[72237]: ",
            "Nov 22 10:00:00 fw filterlog: ",
            "",
        ] {
            check(
                &FORMAT,
                &format!("{head}{tcp}"),
                if head.contains(".example") {
                    &["log.src 203.0.113.5:49652", "log.dst 192.0.2.9:853", "log.domain fw.example"]
                } else {
                    &["log.src 203.0.113.5:49652", "log.dst 192.0.2.9:853"]
                },
            );
        }
        check(
            &FORMAT,
            r#"<134>1 2026-11-22T10:00:00+01:00 fw filterlog 97530 - [meta sequenceId="1"] 79,,,0123456789abcdef0123456789abcdef,vtnet0,match,pass,out,4,0x0,,64,0,0,DF,17,udp,76,10.0.0.5,203.0.113.5,123,123,56"#,
            &["log.src 10.0.0.5:123", "log.dst 203.0.113.5:123"],
        );
        check(
            &FORMAT,
            "<134>filterlog[1]: 5,16777216,a/b,1000000103,igb0,match,block,in,4,0x0,,1,12345,0,none,1,icmp,84,203.0.113.5,192.0.2.9,request,1,2",
            &["log.src 203.0.113.5", "log.dst 192.0.2.9"],
        );
        check(
            &FORMAT,
            "<134>filterlog[1]: 5,,,1000000103,igb0,match,block,in,4,0xc0,,1,0,0,DF,2,igmp,36,10.0.0.1,224.0.0.22,datalength=12",
            &["log.src 10.0.0.1", "log.dst 224.0.0.22"],
        );
    }

    #[test]
    fn version_six() {
        check(
            &FORMAT,
            "<134>filterlog[1]: 7,,,1000000105,igb0,match,pass,in,6,0x00,0xb7a2c,64,udp,17,40,2001:db8::5,2001:db8:1::9,51000,53,40",
            &["log.src 2001:db8::5:51000", "log.dst 2001:db8:1::9:53"],
        );
        check(
            &FORMAT,
            "<134>filterlog[1]: 7,,,1000000105,igb0,match,pass,in,6,0x00,0x00000,255,ICMPv6,58,32,fe80::1,ff02::1,",
            &["log.src fe80::1", "log.dst ff02::1"],
        );
        check(
            &FORMAT,
            "<134>filterlog[1]: 7,,,02f4bab031b57d1e30553ce08e0ec131,igb0,match,block,in,6,0x00,0x0,1,Options,0,32,fe80::2,ff02::16,HBH,RTALERT",
            &["log.src fe80::2", "log.dst ff02::16"],
        );
    }

    #[test]
    fn lines_that_are_cut_short_give_what_they_have() {
        check(
            &FORMAT,
            "5,,,1,igb0,match,block,in,4,0x0,,1,1,0,DF,6,tcp,60,203.0.113.5",
            &["log.src 203.0.113.5"],
        );
        check(&FORMAT, "5,,,1,igb0,match,block,in,4", &[]);
    }

    #[test]
    fn other_lines_are_not() {
        check_not(&FORMAT, "5,6,7,8,9,10,11,12,13,203.0.113.5,192.0.2.9");
        check_not(&FORMAT, "rule,,,1,igb0,match,block,in,4,0x0");
        check_not(&FORMAT, "5,,,1,igb0,match,block,in,5,0x0");
        check_not(&FORMAT, "203.0.113.5 - - [22/Nov/2026:10:00:00 +0100] \"GET / HTTP/1.1\" 200 5");
    }
}
