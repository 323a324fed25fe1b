//! The time of day; the one place that asks for it.

use protocol::Timestamp;

/// Now, by the system's clock.
pub fn now() -> Timestamp {
    Timestamp::from_micros(jiff::Timestamp::now().as_microsecond())
}
