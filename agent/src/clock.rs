//! The gateway's clock, read only at the edges; everything inside takes time as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use protocol::Timestamp;

/// The time of day; a clock before 1970 reads as 1970.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
