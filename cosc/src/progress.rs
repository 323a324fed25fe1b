//! Progress of what takes long, on a terminal that a person watches.

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::is_watched;

/// Less is over before anybody could read it.
const BYTES_MIN: u64 = 4 << 20;

/// A bar over so many bytes, named for what is done with them; hidden when nobody watches or there are few.
pub fn bytes(what: &str, total: u64) -> ProgressBar {
    if total < BYTES_MIN || !is_watched() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    let template = "{msg} {bytes}/{total_bytes} {wide_bar} {bytes_per_sec} {eta}";
    let bar = match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    };
    bar.with_message(what.to_owned())
}
