//! How much a few bytes may stand for: names of deep folders and fields of a table cost their sender next to nothing
//! when they are named again, and are read in full each time.

/// A byte may stand for so many. Of clients that name all again, path, host and program, it stands for about twenty.
const TIMES: usize = 32;
/// What may be read before any of that was earned, and the most that is saved up.
const BYTES: usize = 64 * 1024;

/// Bytes that may still be read beyond those that were sent.
pub(crate) struct Allowance(usize);

impl Default for Allowance {
    fn default() -> Self {
        Self(BYTES)
    }
}

impl Allowance {
    /// So many bytes were sent.
    pub fn earn(&mut self, bytes: usize) {
        self.0 = self.0.saturating_add(bytes.saturating_mul(TIMES)).min(BYTES);
    }

    /// Whether so many more may be read; then they are spent.
    pub fn spend(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 10,000 messages of `sent` bytes that stand for `read` each, so many are read.
    fn check((sent, read): (usize, usize), expected: std::ops::RangeInclusive<usize>) {
        let mut allowance = Allowance::default();
        let messages = (0..10_000).filter(|_| {
            allowance.earn(sent);
            allowance.spend(read)
        });
        let count = messages.count();
        assert!(expected.contains(&count), "{count}");
    }

    #[test]
    fn what_is_in_proportion_is_never_refused() {
        check((40, 400), 10_000..=10_000);
    }

    #[test]
    fn what_is_out_of_proportion_is_read_in_part() {
        check((10, 8000), 300..=500);
    }
}
