//! Headers of bundles for tests.

use protocol::bundle::BUNDLE_FORMAT;
use protocol::{BundleHeader, Serial, Timestamp};

/// What a writer is handed for a bundle of this number.
pub(crate) fn header(serial: u64) -> BundleHeader {
    BundleHeader {
        vedetta_bundle: BUNDLE_FORMAT,
        serial: Serial(serial),
        created: Timestamp::default(),
        issuer: "cosc-esempio".into(),
        indicators: 0,
        set: None,
    }
}
