//! The lab: network namespaces on this machine, real programs in them, real traffic between them.
//!
//! Everything made here is removed when its owner is dropped. It needs root and says so.

pub mod deployment;
pub mod namespace;
pub mod network;
pub mod program;
pub mod traffic;

use std::time::{Duration, Instant};

/// Asks again until there is an answer.
///
/// # Errors
/// When the deadline passes; says what was waited for.
pub fn wait_for<T>(
    what: &str,
    seconds: u64,
    mut ask: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        let answer = ask();
        if let Ok(Some(answer)) = answer {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            let last = answer.err().map(|error| format!(" (last answer: {error:#})")).unwrap_or_default();
            anyhow::bail!("{what}: not within {seconds} s{last}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A count from the environment, for campaigns that are long by hand and short in CI.
pub fn count_from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
