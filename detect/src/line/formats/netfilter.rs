//! The kernel's LOG target (xt_LOG, nf_log_syslog) under any prefix: UFW, IPFire, Endian, Shorewall.
//!
//! It logs in the FORWARD chain after destination and before source translation, and says nothing of either.

use memchr::memmem;

use super::Format;
use crate::line::header::Logged;
use crate::line::reading::{Field, Reading};

pub(super) const FORMAT: Format = Format { name: "netfilter", read };

fn read<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let Some(start) = memmem::find(logged.message, b"IN=") else { return false };
    let message = logged.message.get(start..).unwrap_or_default();
    if memmem::find(message, b" OUT=").is_none() || memmem::find(message, b" SRC=").is_none() {
        return false;
    }
    for word in message.split(|byte| *byte == b' ') {
        // The packet that an ICMP error is about stands in brackets: its ends are not those of this one.
        if word.starts_with(b"[") {
            break;
        }
        let Some(at) = memchr::memchr(b'=', word) else { continue };
        let (key, value) = (word.get(..at).unwrap_or_default(), word.get(at + 1..).unwrap_or_default());
        let field = match key {
            b"SRC" => Field::Src,
            b"DST" => Field::Dst,
            b"SPT" => Field::SrcPort,
            b"DPT" => Field::DstPort,
            b"PROTO" => Field::Proto,
            b"MAC" => Field::Nothing,
            _ => continue,
        };
        reading.take(field, value);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;

    #[test]
    fn lines_of_ufw_and_ipfire() {
        check(
            &FORMAT,
            "Aug 20 00:01:45 gw kernel: [3217949.737464] [UFW BLOCK] IN=eth0 OUT= MAC=02:00:00:00:00:01:02:00:00:00:00:02:08:00 SRC=203.0.113.5 DST=192.0.2.9 LEN=40 PROTO=TCP SPT=51638 DPT=2106 WINDOW=1024",
            &["log.src 203.0.113.5:51638", "log.dst 192.0.2.9:2106"],
        );
        check(
            &FORMAT,
            "Aug 10 18:44:55 ipfire kernel: FORWARDFW IN=green0 OUT=red0 SRC=2001:db8::100 DST=2001:db8:ffff::5 PROTO=UDP SPT=34995 DPT=443",
            &["log.src 2001:db8::100:34995", "log.dst 2001:db8:ffff::5:443"],
        );
    }

    #[test]
    fn prefixes_bridges_and_other_loggers() {
        let ends = ["log.src 203.0.113.5:51638", "log.dst 192.0.2.9:2106"];
        for (head, middle) in [
            ("Nov 22 10:00:00 gw kernel: Shorewall:net2fw:DROP:", "IN=eth0 OUT= "),
            ("Nov 22 10:00:00 gw kernel: [WAN_LOCAL-default-D]", "IN=eth0 OUT= "),
            ("Nov 22 10:00:00 efw ulogd[9]: INPUTFW:DROP:LOG ", "IN=br0 OUT= PHYSIN=eth1 "),
            ("<4>Nov 22 10:00:00 gw kernel:[12.5] nft drop: ", "IN=eth0 OUT=br0 MACSRC=02:00:00:00:00:01 "),
            ("2026-11-22T10:00:00+01:00 gw kernel - [UFW AUDIT] ", "IN= OUT=eth0 "),
        ] {
            let line = format!(
                "{head}{middle}SRC=203.0.113.5 DST=192.0.2.9 LEN=40 TOS=0x00 PROTO=UDP SPT=51638 DPT=2106 LEN=20 MARK=0x1"
            );
            check(&FORMAT, &line, &ends);
        }
        check(
            &FORMAT,
            "Nov 22 10:00:00 gw kernel: IN=eth0 OUT= SRC=2001:0db8:0000:0000:0000:0000:0000:0005 DST=2001:0db8:0001:0000:0000:0000:0000:0009 LEN=80 TC=0 HOPLIMIT=64 FLOWLBL=5 PROTO=ICMPv6 TYPE=128 CODE=0 ID=5 SEQ=1",
            &["log.src 2001:db8::5", "log.dst 2001:db8:1::9"],
        );
    }

    #[test]
    fn the_packet_inside_an_error_is_not_the_one_that_was_logged() {
        check(
            &FORMAT,
            "kernel: IN=wan0 OUT= SRC=203.0.113.5 DST=192.0.2.9 PROTO=ICMP TYPE=3 CODE=1 [SRC=192.0.2.9 DST=198.51.100.7 PROTO=TCP SPT=4000 DPT=22 ]",
            &[
                "log.src 203.0.113.5",
                "log.dst 192.0.2.9",
                "log.dst 198.51.100.7:22",
                "log.src 192.0.2.9:4000",
            ],
        );
    }

    #[test]
    fn other_lines_are_not() {
        check_not(&FORMAT, "PROTO=TCP SRC=203.0.113.5");
        check_not(&FORMAT, "MARGIN= OUTLOOK=5");
    }
}
