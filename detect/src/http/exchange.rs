//! What the two directions of an HTTP/1 connection know together: the methods of requests that wait for their response,
//! because a response alone does not say whether it has a body (RFC 9112 §6.3).

/// What a request asked for, as far as the shape of its response depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Content,
    /// Only a head.
    Head,
    /// A tunnel.
    Connect,
}

/// Requests in a row without a response that are remembered; of more, only their number.
const WAITING_MAX: u32 = 64;

/// Requests whose response was not seen yet, the first in the lowest bit.
#[derive(Default)]
pub(crate) struct Exchange {
    heads: u64,
    connects: u64,
    waiting: u32,
}

impl Exchange {
    pub fn ask(&mut self, asked: Asked) {
        if let Some(bit) = 1u64.checked_shl(self.waiting).filter(|_| self.waiting < WAITING_MAX) {
            self.heads |= if asked == Asked::Head { bit } else { 0 };
            self.connects |= if asked == Asked::Connect { bit } else { 0 };
        }
        self.waiting = self.waiting.saturating_add(1);
    }

    /// What the response at hand answers; `None` when its request was not seen.
    pub fn answer(&mut self) -> Option<Asked> {
        self.waiting = self.waiting.checked_sub(1)?;
        let asked = match (self.heads & 1, self.connects & 1) {
            (1, _) => Asked::Head,
            (_, 1) => Asked::Connect,
            _ => Asked::Content,
        };
        self.heads >>= 1;
        self.connects >>= 1;
        Some(asked)
    }

    /// Bytes are missing in one of the directions: which response answers which request is not known any more.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_answer_requests_in_their_order() {
        let mut exchange = Exchange::default();
        assert_eq!(exchange.answer(), None);
        let asked = [Asked::Head, Asked::Content, Asked::Connect, Asked::Content, Asked::Head];
        asked.into_iter().for_each(|asked| exchange.ask(asked));
        let answered: Vec<_> = std::iter::from_fn(|| exchange.answer()).collect();
        assert_eq!(answered, asked);
    }

    #[test]
    fn requests_beyond_the_limit_are_only_counted() {
        let mut exchange = Exchange::default();
        (0..200).for_each(|_| exchange.ask(Asked::Head));
        let answered: Vec<_> = std::iter::from_fn(|| exchange.answer()).collect();
        assert_eq!(answered.len(), 200);
        assert_eq!(answered.iter().filter(|asked| **asked == Asked::Head).count(), 64);
    }
}
