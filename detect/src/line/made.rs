//! What tests compare of a line.

use super::{LineView, LineViewer, Scan};
use crate::line::formats::Hint;
use crate::line::screen;
use crate::line::wide::narrowed;
use crate::matcher::Matcher;
use crate::normal::Scratch;
use protocol::{Indicator, LookFor, Observable, Serial};

/// Every sighting of a line as `log.src 192.0.2.1:443`, sorted. Whatever is seen must not be screened away when it
/// alone is looked for.
pub fn seen(line: &[u8]) -> Vec<String> {
    let mut seen = Vec::new();
    let line = &*narrowed(line);
    Scan::of(line, &mut Hint::default()).sight_all(&mut |sighting| {
        let observable = Scratch::default().owned(sighting.seen).unwrap();
        assert_not_screened_away(line, &observable);
        let port = sighting.port.map(|port| format!(":{port}")).unwrap_or_default();
        seen.push(format!("{} {observable}{port}", sighting.seen_in.as_str()));
    });
    seen.sort();
    seen
}

/// As [`LineViewer::read`] of a new source.
pub fn view(line: &[u8]) -> LineView {
    LineViewer::default().read(line)
}

fn assert_not_screened_away(line: &[u8], observable: &Observable) {
    let indicator = Indicator::plain(LookFor::Observable(observable.clone()));
    let matcher = Matcher::build(Serial(1), [indicator]).unwrap();
    let shown = String::from_utf8_lossy(line);
    assert!(screen::may_match(line, &matcher), "{observable} is screened away in {shown}");
}
