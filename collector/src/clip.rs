//! Texts that others wrote, made fit for logs, terminals and the store: no control characters, not too long.

use protocol::hit::evidence;

/// The text with control and bidirectional characters escaped, cut to so many bytes (at most
/// [`protocol::hit::EVIDENCE_BYTES_MAX`]).
pub fn clip(text: &str, bytes_max: usize) -> String {
    let mut text = evidence(text.as_bytes());
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_the_cursor_and_no_character_is_halved() {
        assert_eq!(clip("a\u{1b}[2Jb", 100), "a\\u{1b}[2Jb");
        assert_eq!(clip("àà", 3), "à");
        assert_eq!(clip("plain", 100), "plain");
    }
}
