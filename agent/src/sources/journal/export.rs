//! The journal's export format (systemd.io/JOURNAL_EXPORT_FORMATS), read from any pieces: fields as lines of text, or
//! a name, a length of 64 bits and bytes; an empty line ends an entry. Pure and bounded: fields that nobody needs, and
//! what is too long, are passed over.

use detect::LINE_BYTES_MAX;

/// A cursor is about 150 bytes, a name of a unit at most 255.
pub const SHORT_BYTES_MAX: usize = 512;
/// A name, `=` and the longest value that is kept.
const TEXT_BYTES_MAX: usize = LINE_BYTES_MAX + SHORT_BYTES_MAX;

/// Fields that are asked of journalctl; it adds cursor and time by itself.
pub const FIELDS: &str = "MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_PID,_COMM,_PID,_SYSTEMD_UNIT,_TRANSPORT";

/// What is kept of an entry; what it lacks is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Where it is in the journal.
    pub cursor: Vec<u8>,
    /// When it was written, in microseconds.
    pub realtime: Vec<u8>,
    /// Whose it is, as its sender says.
    pub identifier: Vec<u8>,
    /// Process number, as its sender says.
    pub said_pid: Vec<u8>,
    /// Name of the process, as the kernel says.
    pub command: Vec<u8>,
    /// Process number, as the kernel says.
    pub pid: Vec<u8>,
    /// Its unit.
    pub unit: Vec<u8>,
    /// How it came to the journal.
    pub transport: Vec<u8>,
    /// The message, at most [`LINE_BYTES_MAX`] of it.
    pub message: Vec<u8>,
    /// Whether there was more of the message.
    pub is_cut: bool,
}

impl Entry {
    /// The place of a field and how much of it is kept; `None` for one that nobody needs.
    fn field(&mut self, name: &[u8]) -> Option<(&mut Vec<u8>, usize)> {
        let short = match name {
            b"MESSAGE" => return Some((&mut self.message, LINE_BYTES_MAX)),
            b"__CURSOR" => &mut self.cursor,
            b"__REALTIME_TIMESTAMP" => &mut self.realtime,
            b"SYSLOG_IDENTIFIER" => &mut self.identifier,
            b"SYSLOG_PID" => &mut self.said_pid,
            b"_COMM" => &mut self.command,
            b"_PID" => &mut self.pid,
            b"_SYSTEMD_UNIT" => &mut self.unit,
            b"_TRANSPORT" => &mut self.transport,
            _ => return None,
        };
        Some((short, SHORT_BYTES_MAX))
    }

    /// A value begins. Programs may give a field several: each is a line of a message, and the last one counts of
    /// all others; none is glued to another.
    fn begin(&mut self, name: &[u8]) {
        let is_message = name == b"MESSAGE";
        match self.field(name) {
            Some((message, _)) if is_message && !message.is_empty() => self.add(name, b"\n"),
            Some((short, _)) if !is_message => short.clear(),
            _ => {}
        }
    }

    fn add(&mut self, name: &[u8], value: &[u8]) {
        let is_message = name == b"MESSAGE";
        let Some((field, bytes_max)) = self.field(name) else { return };
        let room = bytes_max.saturating_sub(field.len());
        let fits = value.get(..room);
        field.extend_from_slice(fits.unwrap_or(value));
        self.is_cut |= is_message && fits.is_some_and(|fits| fits.len() < value.len());
    }
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    /// In a line of text; it is held.
    Text,
    /// In the rest of a line that was too long.
    Rest,
    /// In the eight bytes of a length; they are behind the name that is held.
    Length(u64, u32),
    /// In bytes, of which so many follow.
    Bytes(u64),
    /// Before the LF behind them.
    End,
}

/// The state between two pieces.
#[derive(Debug)]
pub struct Export {
    mode: Mode,
    held: Vec<u8>,
    entry: Entry,
}

impl Default for Export {
    fn default() -> Self {
        Self { mode: Mode::Text, held: Vec::new(), entry: Entry::default() }
    }
}

impl Export {
    /// Takes a piece and gives the entries that it makes whole.
    pub fn take(&mut self, piece: &[u8], give: &mut dyn FnMut(&Entry)) {
        let mut rest = piece;
        while let Some(first) = rest.first() {
            let used = match self.mode {
                Mode::Text => self.text(rest, give),
                Mode::Rest => self.rest(rest),
                Mode::Length(length, shift) => {
                    let length = length | u64::from(*first) << shift;
                    self.mode = Mode::Length(length, shift + 8);
                    if shift == 56 {
                        self.entry.begin(&self.held);
                        self.mode = Mode::Bytes(length);
                    }
                    1
                }
                Mode::Bytes(0) => {
                    self.mode = Mode::End;
                    0
                }
                Mode::Bytes(left) => {
                    let used = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    self.entry.add(&self.held, rest.get(..used).unwrap_or_default());
                    self.mode = Mode::Bytes(left - used as u64);
                    used
                }
                Mode::End => {
                    self.held.clear();
                    self.mode = Mode::Text;
                    usize::from(*first == b'\n')
                }
            };
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    fn text(&mut self, rest: &[u8], give: &mut dyn FnMut(&Entry)) -> usize {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let more = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
        let room = TEXT_BYTES_MAX.saturating_sub(self.held.len());
        if more.len() > room {
            self.held.extend_from_slice(more.get(..room).unwrap_or_default());
            self.field();
            self.mode = Mode::Rest;
            return room;
        }
        self.held.extend_from_slice(more);
        if end.is_none() {
            return rest.len();
        }
        if self.held.is_empty() {
            if !self.entry.cursor.is_empty() {
                give(&self.entry);
            }
            self.entry = Entry::default();
        } else if self.held.contains(&b'=') {
            self.field();
        } else {
            self.mode = Mode::Length(0, 0);
        }
        more.len() + 1
    }

    fn field(&mut self) {
        let mut parts = self.held.splitn(2, |byte| *byte == b'=');
        if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            self.entry.begin(name);
            self.entry.add(name, value);
        }
        self.held.clear();
    }

    fn rest(&mut self, rest: &[u8]) -> usize {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return rest.len() };
        self.mode = Mode::Text;
        end + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pieces: &[&[u8]]) -> Vec<Entry> {
        let mut export = Export::default();
        let mut entries = Vec::new();
        pieces.iter().for_each(|piece| export.take(piece, &mut |entry| entries.push(entry.clone())));
        assert!(export.held.len() <= TEXT_BYTES_MAX);
        entries
    }

    fn binary(name: &str, value: &[u8]) -> Vec<u8> {
        [name.as_bytes(), b"\n", &(value.len() as u64).to_le_bytes(), value, b"\n"].concat()
    }

    #[test]
    fn text_and_bytes_are_read() {
        let stream = [
            &b"__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1795000000000000\n_PID=7\nPRIORITY=6\n"[..],
            &binary("OTHER", b"x\n\n__CURSOR=no\n"),
            &binary("MESSAGE", b"one\ntwo\xff"),
            b"SYSLOG_IDENTIFIER=sshd\n\n\n__CURSOR=s=1;i=3\nMESSAGE=a=b\n\n",
        ]
        .concat();
        let entries = read(&[&stream]);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].cursor, b"s=1;i=2");
        assert_eq!(entries[0].message, b"one\ntwo\xff");
        assert_eq!((entries[0].pid.as_slice(), entries[0].identifier.as_slice()), (&b"7"[..], &b"sshd"[..]));
        assert_eq!(
            entries[1],
            Entry { cursor: b"s=1;i=3".into(), message: b"a=b".into(), ..Entry::default() }
        );
    }

    #[test]
    fn several_values_of_a_field_are_not_glued_together() {
        let again = binary("MESSAGE", b"a second");
        let stream =
            [&b"__CURSOR=a\nMESSAGE=from 203.0.113.5\n_PID=7\n_PID=8\nMESSAGE=7 bytes\n"[..], &again, b"\n"];
        let entries = read(&[&stream.concat()]);
        let read: Vec<_> =
            entries.iter().map(|entry| (entry.message.as_slice(), entry.pid.as_slice())).collect();
        assert_eq!(read, [(&b"from 203.0.113.5\n7 bytes\na second"[..], &b"8"[..])]);
    }

    #[test]
    fn what_is_too_long_is_cut_and_told() {
        let long = vec![b'y'; LINE_BYTES_MAX + 9];
        let stream = [
            &b"__CURSOR=a\n"[..],
            &binary("MESSAGE", &long),
            b"\n__CURSOR=b\nMESSAGE=",
            &long,
            b"\n\n__CURSOR=c\nMESSAGE=short\n\n",
        ]
        .concat();
        let entries = read(&[&stream]);
        let lengths: Vec<_> = entries.iter().map(|entry| (entry.message.len(), entry.is_cut)).collect();
        assert_eq!(lengths, [(LINE_BYTES_MAX, true), (LINE_BYTES_MAX, true), (5, false)]);
    }

    #[test]
    fn a_length_beyond_all_bounds_keeps_nothing() {
        let stream = [&b"__CURSOR=a\nMESSAGE\n"[..], &[0xff; 8], &[b'z'; 200_000]].concat();
        assert_eq!(read(&[&stream]), []);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_entries(
            fields in prop::collection::vec(("(MESSAGE|__CURSOR|_PID|X|)", any::<Vec<u8>>(), any::<bool>()), 0..12),
            noise: Vec<u8>, cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
        ) {
            let mut stream = Vec::new();
            for (name, value, is_binary) in &fields {
                if *is_binary { stream.extend(binary(name, value)); } else {
                    stream.extend([name.as_bytes(), b"=", value, b"\n"].concat());
                }
            }
            stream.extend(b"\n");
            stream.extend(noise);
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            at.extend([0, stream.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect();
            let bytes: Vec<&[u8]> = stream.chunks(1).collect();
            prop_assert_eq!(read(&pieces), read(&[&stream]));
            prop_assert_eq!(read(&bytes), read(&[&stream]));
        }
    }
}
