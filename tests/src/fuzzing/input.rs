//! Bytes of a fuzzer, read as choices, numbers and pieces. What is missing reads as zero or empty.

/// What is left of an input.
#[derive(Clone, Copy)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    pub fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// One of several, or nothing when there are none.
    pub fn choice<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let at = usize::from(self.byte()).checked_rem(from.len())?;
        from.get(at).copied()
    }

    /// So many bytes, or as many as there are.
    pub fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(length).unwrap_or((self.0, &[]));
        self.0 = rest;
        taken
    }

    /// A piece with its length before it.
    pub fn piece(&mut self) -> &'a [u8] {
        let length = usize::from(self.number());
        self.take(length)
    }

    /// What one side of a conversation says: its length is before it, and in the highest bit which side it is.
    pub fn message(&mut self) -> (bool, &'a [u8]) {
        let number = self.number();
        (number & 0x8000 != 0, self.take(usize::from(number & 0x7fff)))
    }
}

/// A piece as [`Input::piece`] reads it.
pub fn piece(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

/// A message as [`Input::message`] reads it.
pub fn message(by_server: bool, bytes: &[u8]) -> Vec<u8> {
    let bytes = bytes.get(..0x7fff).unwrap_or(bytes);
    let length = u16::try_from(bytes.len()).unwrap_or_default() | if by_server { 0x8000 } else { 0 };
    [&length.to_be_bytes()[..], bytes].concat()
}
