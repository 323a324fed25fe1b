//! The bytes that agent, collector and desk agree on: normal forms, indicators, bundles, hits,
//! messages and both ends of the session. No clock, no files, no sockets: time and bytes are arguments.

pub mod absurd;
pub mod backoff;
pub mod bundle;
pub mod defang;
pub mod delta;
pub mod domain;
pub mod enrolment;
pub mod frame;
pub mod hit;
pub mod identity;
pub mod index;
pub mod indicator;
pub mod message;
pub mod observable;
pub mod pattern;
pub mod repository;
pub mod session;
pub mod sighting;
pub mod suffix;
mod tagged;
pub mod text;
pub mod time;
pub mod url;

pub use bundle::{BundleHeader, BundleReader, BundleWriter, Serial};
pub use domain::Domain;
pub use hit::{Direction, Hit, HitId, Nat, NatEvidence, Vantage};
pub use identity::Identity;
pub use indicator::{Action, Indicator, LookFor, Severity, Tlp};
pub use observable::{Kind, Observable};
pub use sighting::{Flow, FlowEnd, Note, Place, SeenIn, Traffic, Transport};
pub use time::Timestamp;
pub use url::Url;

/// ALPN of the hit session between agent and collector (RFC 7301).
pub const ALPN_SESSION: &[u8] = b"vedetta/1";
/// ALPN of enrolment: the only one that takes a client without a certificate.
pub const ALPN_ENROL: &[u8] = b"vedetta-enrol/1";
/// ALPN of a desk that pushes a signed repository.
pub const ALPN_PUSH: &[u8] = b"vedetta-push/1";
/// The DNS name in every collector's certificate. Agents pin the collector's own certificate
/// authority, so the name says "a collector of that authority", whatever address it has today.
pub const COLLECTOR_SERVER_NAME: &str = "collector.vedetta.internal";
/// The collector's UDP port unless configured otherwise.
pub const COLLECTOR_PORT: u16 = 4740;
/// The newest protocol version this code speaks; both ends use the lower of the two.
pub const PROTOCOL_VERSION: u32 = 1;
