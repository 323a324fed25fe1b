//! Zyxel USG, ZyWALL, ATP and USG FLEX: `src="address:port"` and what it was translated to.

use memchr::memmem;

use super::Format;
use crate::line::header::Logged;
use crate::line::pairs::Pairs;
use crate::line::reading::{Field, Reading};

pub(super) const FORMAT: Format = Format { name: "zyxel", read };

fn read<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let has = |needle: &[u8]| memmem::find(logged.message, needle).is_some();
    if !has(b"src=\"") || !has(b" dst=\"") || !has(b" msg=\"") || !(has(b" cat=\"") || has(b" devID=")) {
        return false;
    }
    for pair in Pairs::of(logged.message) {
        let field = match pair.key {
            b"src" => Field::Src,
            b"dst" => Field::Dst,
            b"sourceTranslatedAddress" => Field::SrcAfter,
            b"sourceTranslatedPort" => Field::SrcAfterPort,
            b"destinationTranslatedAddress" => Field::DstAfter,
            b"destinationTranslatedPort" => Field::DstAfterPort,
            b"protoID" => Field::Proto,
            b"user" | b"suser" => Field::User,
            b"devID" => Field::Nothing,
            _ => continue,
        };
        pair.take(field, reading);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;

    #[test]
    fn traffic_with_its_translation() {
        check(
            &FORMAT,
            r#"<142>Nov 22 17:24:03 2026 usgflex src="10.0.0.5:53090" dst="203.0.113.5:443" msg="Traffic Log" note="Traffic Log" user="unknown" devID="020000000001" cat="Traffic Log" duration=5 sent=5 rcvd=5 dir="ge3:ge1" protoID=6 proto="https" sourceTranslatedAddress=198.51.100.1 sourceTranslatedPort=20000"#,
            &["log.src 10.0.0.5:53090", "log.dst 203.0.113.5:443", "log.nat 198.51.100.1:20000"],
        );
        check(
            &FORMAT,
            r#"Nov 22 17:24:03 usg src="[2001:db8::5]:4000" dst="[2001:db8:1::9]:22" msg="Match default rule, DROP" note="ACCESS BLOCK" user="" devID="020000000001" cat="Security Policy Control""#,
            &["log.src 2001:db8::5:4000", "log.dst 2001:db8:1::9:22"],
        );
    }

    #[test]
    fn names_stand_in_the_message() {
        check(
            &FORMAT,
            r#"<142>Nov 22 17:24:03 2026 usg src="10.0.0.5:51000" dst="203.0.113.5:80" msg="www.evil.example: Malware, Rule_name:LAN, SSI:N" note="WEB BLOCK" user="uno" cat="Blocked web sites""#,
            &["log.src 10.0.0.5:51000", "log.dst 203.0.113.5:80", "log.domain www.evil.example"],
        );
    }

    #[test]
    fn other_lines_are_not() {
        check_not(&FORMAT, r#"src="10.0.0.5:1" dst="203.0.113.5:2""#);
        check_not(&FORMAT, r#"src=10.0.0.5 dst=203.0.113.5 msg="x" cat="y""#);
    }
}
