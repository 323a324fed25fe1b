//! How often a campaign runs: many times by hand, few in CI.

/// A number from the environment.
///
/// # Panics
/// When there is something else.
pub fn times(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}
