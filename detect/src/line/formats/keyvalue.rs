//! Any line of `key=value` with well-known keys, the last of all formats.

use super::Format;
use crate::line::header::Logged;
use crate::line::pairs::Pairs;
use crate::line::reading::{Field, Reading};
use crate::line::{cut, keys, words};

pub(super) const FORMAT: Format = Format { name: "key=value", read };

/// Fewer pairs may stand in any sentence.
const PAIRS_MIN: usize = 3;

fn read<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let (mut pairs, mut known) = (0, false);
    for pair in Pairs::of(logged.message) {
        pairs += 1;
        if let Some(field) = keys::of_key(pair.key).filter(|field| is_likely(*field, pair.value)) {
            known = true;
            pair.take(field, reading);
        }
    }
    known && pairs >= PAIRS_MIN
}

/// Other values stay free text: names such as `source`, `domain` and `query` are used for much.
fn is_likely(field: Field, value: &[u8]) -> bool {
    match field {
        Field::Src | Field::Dst | Field::SrcAfter | Field::DstAfter => words::is_address(value),
        Field::SrcPort | Field::DstPort | Field::SrcAfterPort | Field::DstAfterPort => cut::is_number(value),
        Field::Domain => value.contains(&b'.') && !value.iter().any(|byte| matches!(byte, b' ' | b'/')),
        Field::Url => value.starts_with(b"http"),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;

    #[test]
    fn pairs_of_all_kinds() {
        check(
            &FORMAT,
            r#"time=2026-11-22T10:00:00Z level=WARN msg="bad password, really=no" client_ip=203.0.113.5 sport=4000, query='evil.zip' user_agent="bot/1.0 \"x\"" source=syslog"#,
            &["log.src 203.0.113.5:4000", "log.domain evil.zip", "log.user_agent bot/1.0 \"x\""],
        );
        check(
            &FORMAT,
            "a=1 source.ip=10.0.0.4 destination.ip=2001:db8::5 destination.port=443",
            &["log.src 10.0.0.4", "log.dst 2001:db8::5:443"],
        );
        check_not(&FORMAT, "src=203.0.113.5");
        check_not(&FORMAT, "a=1 b=2 c=3");
    }
}
