//! Names as messages carry them: labels with their lengths, and pointers to earlier ones.

use super::be16;

/// What 255 bytes of labels with their lengths (RFC 1035 §3.1) leave when written as text.
const NAME_BYTES_MAX: usize = 253;
/// Compression pointers followed in one name; each must point backwards, so loops end anyway.
const POINTERS_MAX: u8 = 32;

/// A name as text, on the stack and used again for each.
pub(super) struct Name {
    text: [u8; NAME_BYTES_MAX],
    length: usize,
}

impl Default for Name {
    fn default() -> Self {
        Self { text: [0; NAME_BYTES_MAX], length: 0 }
    }
}

impl Name {
    /// The labels with dots between them, as they were sent: a dot in a label looks like one between two.
    pub fn text(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }

    /// Whether it has several labels of letters, digits, hyphens and underscores, the last of them not a number.
    pub fn is_plain(&self) -> bool {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let labels = self.text().split(|byte| *byte == b'.');
        let last_begins = self.text().rsplit(|byte| *byte == b'.').next().and_then(<[u8]>::first);
        labels.clone().count() > 1
            && last_begins.is_some_and(u8::is_ascii_alphabetic)
            && labels.clone().all(|label| !label.is_empty() && label.iter().all(is_plain))
    }

    /// Reads the name at `at`, following compression, and returns where the bytes after it begin.
    pub fn read(&mut self, message: &[u8], mut at: usize) -> Option<usize> {
        self.length = 0;
        let mut after = None;
        let mut pointers = 0;
        loop {
            let length = *message.get(at)?;
            match length >> 6 {
                0 if length == 0 => return Some(after.unwrap_or(at + 1)),
                0 => {
                    let label = message.get(at + 1..at + 1 + usize::from(length))?;
                    self.push(label)?;
                    at += 1 + label.len();
                }
                3 => {
                    let to = usize::from(be16(message, at)? & 0x3fff);
                    pointers += 1;
                    if to >= at || pointers > POINTERS_MAX {
                        return None;
                    }
                    after.get_or_insert(at + 2);
                    at = to;
                }
                _ => return None,
            }
        }
    }

    fn push(&mut self, label: &[u8]) -> Option<()> {
        if self.length > 0 {
            *self.text.get_mut(self.length)? = b'.';
            self.length += 1;
        }
        let end = self.length + label.len();
        self.text.get_mut(self.length..end)?.copy_from_slice(label);
        self.length = end;
        Some(())
    }
}

/// Where the bytes after the name at `at` begin.
pub(super) fn skip(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *message.get(at)?;
        match length >> 6 {
            0 if length == 0 => return Some(at + 1),
            0 => at += 1 + usize::from(length),
            3 => return Some(at + 2),
            _ => return None,
        }
    }
}
