//! What a hit is worth when the spool has no room for all: the severity that its indicators have now.

use protocol::index::Value;
use protocol::{Hit, Place, Severity};

use crate::sources::MatcherInForce;
use crate::spool::SeverityOf;

/// Asks the indicators in force. A hit whose indicators are not in force any more is worth least; where the index
/// cannot be read, all are alike.
pub fn severity_of(matcher: MatcherInForce) -> SeverityOf {
    Box::new(move |hit| {
        let matcher = matcher.load();
        let Some(layers) = matcher.layers() else { return Severity::default() };
        let judged = Value::with(&hit.observable, port_of(hit), |value| layers.judge(value, hit.at));
        let Ok(judged) = judged else { return Severity::default() };
        let is_named = |id: &String| *id == hit.indicator || hit.also.contains(id);
        let named = judged.iter().map(|judged| &judged.indicator).filter(|found| is_named(&found.id));
        named.map(|found| found.severity).max().unwrap_or(Severity::Low)
    })
}

/// The port beside an address, as the door asked with it.
fn port_of(hit: &Hit) -> Option<u16> {
    let (protocol::Observable::Ip(seen), Place::Flow { flow }) = (&hit.observable, &hit.place) else {
        return None;
    };
    Some(if *seen == flow.dst { flow.dst_port } else { flow.src_port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::published::Published;
    use detect::{Detector, DetectorConfig, Line, Matcher};
    use protocol::{Indicator, LookFor, Serial, Timestamp};
    use std::sync::Arc;

    fn indicator(value: &str, severity: Severity) -> Indicator {
        Indicator { severity, ..Indicator::plain(LookFor::guess(value).unwrap()) }
    }

    #[test]
    fn a_hit_is_worth_what_the_worst_of_its_indicators_is_worth() {
        let indicators = [
            indicator("evil.example", Severity::Low),
            indicator("www.evil.example", Severity::Critical),
            indicator("odd.example", Severity::High),
        ];
        let matcher = Arc::new(Matcher::build(Serial(1), indicators).unwrap());
        let mut detector = Detector::new(&DetectorConfig::default(), "a.log", Arc::clone(&matcher));
        for (number, name) in (1..).zip(["www.evil.example", "evil.example", "odd.example"]) {
            let line = format!("query {name} from 10.0.0.5");
            let line = Line { number, offset: None, bytes: line.as_bytes() };
            detector.handle_line(Timestamp::from_seconds(1_800_000_000, 0), line);
        }
        let hits: Vec<Hit> = std::iter::from_fn(|| detector.poll_hit()).collect();
        let worth = |matcher: Matcher| {
            let severity_of = severity_of(Published::new(matcher));
            hits.iter().map(severity_of).collect::<Vec<_>>()
        };
        let in_force = Matcher::new(matcher.layers().unwrap().clone());
        assert_eq!(worth(in_force), [Severity::Critical, Severity::Low, Severity::High]);
        let other = Matcher::build(Serial(2), [indicator("else.example", Severity::High)]).unwrap();
        assert_eq!(worth(other), [Severity::Low; 3]);
        assert_eq!(worth(Matcher::empty()), [Severity::Medium; 3]);
    }
}
