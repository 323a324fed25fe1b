//! The syslog header before a message: RFC 5424, RFC 3164 and what devices make of them. Parsing never fails: what
//! is no header is message.

/// A line with its header told apart from its message. What the header lacks is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Logged<'a> {
    /// The whole line.
    pub line: &'a [u8],
    /// Facility and severity (RFC 5424 §6.2.1), 0 to 191.
    pub priority: Option<u8>,
    /// The time as it is written.
    pub time: &'a [u8],
    /// HOSTNAME: what the sender calls itself.
    pub host: &'a [u8],
    /// APP-NAME (RFC 5424) or TAG (RFC 3164), without process number.
    pub program: &'a [u8],
    /// What follows; the whole line when it has no header.
    pub message: &'a [u8],
}

impl<'a> Logged<'a> {
    pub fn of(line: &'a [u8]) -> Self {
        Self { line, message: line, ..Self::default() }
    }
}
