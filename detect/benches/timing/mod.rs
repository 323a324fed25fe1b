//! CPU time, and what is said of several rounds.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// CPU time of this thread.
pub fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn fastest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::MAX, f64::min)
}
