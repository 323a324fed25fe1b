//! A line and what was read of it, for a person.

use std::fmt;

use detect::LineView;
use protocol::hit::evidence;

use crate::paint::Paint;

/// Characters shown of a line itself.
const LINE_CHARS_MAX: usize = 200;

/// One line's reading.
pub struct Shown<'a> {
    pub number: u64,
    pub line: &'a [u8],
    pub view: &'a LineView,
    pub paint: Paint,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (view, paint) = (self.view, self.paint);
        let number = self.number.to_string();
        let format = match view.format {
            Some(format) => paint.calm(format),
            None => paint.care("no known format"),
        };
        write!(f, "{}  {format}", paint.faint(&number))?;
        for (name, text) in [("time", &view.time), ("host", &view.host), ("program", &view.program)] {
            if !text.is_empty() {
                write!(f, "  {} {text}", paint.faint(name))?;
            }
        }
        writeln!(f, "\n  {}", paint.faint(&self.cut_line()))?;
        if !view.fields.is_empty() {
            write!(f, "  fields  ")?;
            for (name, text) in &view.fields {
                write!(f, "  {} {}", paint.faint(name), paint.strong(text))?;
            }
            writeln!(f)?;
        }
        write!(f, "  compared")?;
        if view.sightings.is_empty() {
            write!(f, "  {}", paint.faint("nothing"))?;
        }
        for sighting in &view.sightings {
            let value = sighting.observable.to_string();
            write!(f, "  {} {}", paint.faint(sighting.seen_in.as_str()), paint.strong(&value))?;
            if let Some(port) = sighting.port {
                write!(f, " {} {port}", paint.faint("port"))?;
            }
        }
        writeln!(f)
    }
}

impl Shown<'_> {
    /// The line without what a terminal obeys, and not all of a long one.
    fn cut_line(&self) -> String {
        let mut text = evidence(self.line);
        if let Some((end, _)) = text.char_indices().nth(LINE_CHARS_MAX) {
            text.truncate(end);
            text.push('…');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use detect::LineViewer;

    use super::*;

    #[test]
    fn a_line_is_shown_with_its_format_fields_and_values() {
        let line = b"Nov 22 10:00:00 gw kernel: [UFW BLOCK] IN=wan0 OUT= SRC=203.0.113.5 DST=192.0.2.9 PROTO=TCP SPT=4000 DPT=22 \x1b[2J";
        let view = LineViewer::default().read(line);
        let shown = Shown { number: 7, line, view: &view, paint: Paint::Plain }.to_string();
        assert!(shown.starts_with("7  netfilter"), "{shown}");
        assert!(shown.contains("fields    src 203.0.113.5  dst 192.0.2.9"), "{shown}");
        assert!(
            shown.contains("compared  log.src 203.0.113.5 port 4000  log.dst 192.0.2.9 port 22\n"),
            "{shown}"
        );
        assert!(!shown.contains('\u{1b}'), "the terminal would obey: {shown:?}");
    }

    #[test]
    fn a_line_without_values_says_so() {
        let view = LineViewer::default().read(b"nothing here");
        let shown = Shown { number: 1, line: b"nothing here", view: &view, paint: Paint::Plain }.to_string();
        assert_eq!(shown, "1  no known format\n  nothing here\n  compared  nothing\n");
    }
}
