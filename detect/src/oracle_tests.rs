//! Values as sensors give them, brought into normal form by the detector, against the oracle of the index.

#![allow(
    dead_code,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    reason = "the oracle stands in another crate, and tests may"
)]

use protocol::Kind;

use crate::normal::Scratch;
use crate::sighting::Seen;

#[path = "../../protocol/tests/oracle/index.rs"]
mod index;
#[path = "../../protocol/tests/oracle/made.rs"]
mod made;
#[path = "../../protocol/tests/oracle/model.rs"]
mod model;
#[path = "../../protocol/tests/oracle/random.rs"]
mod random;
#[path = "../../protocol/tests/oracle/spelled.rs"]
mod spelled;

use random::Random;
use spelled::Spelled;

const SETS: u64 = 60;
const QUERIES: usize = 300;

/// The value as one that was read, in one of the ways that readers have for its kind.
fn with_seen<T>(spelled: &Spelled, random: &mut Random, with: impl FnOnce(Seen<'_>) -> T) -> Option<T> {
    let text = spelled.text.trim();
    let parsed = spelled.observable()?;
    Some(match (spelled.kind, &parsed) {
        _ if random.one_in(4) => with(Seen::Normal(&parsed)),
        (Kind::Ip, protocol::Observable::Ip(std::net::IpAddr::V4(v4))) if random.one_in(2) => {
            with(Seen::Ip(v4.to_ipv6_mapped().into()))
        }
        (Kind::Domain, _) if text.is_ascii() && random.one_in(2) => with(Seen::WireName(text.as_bytes())),
        (Kind::Domain, _) => with(Seen::HostName(text)),
        (Kind::Url, _) => {
            let (scheme, rest) = text.split_once("://")?;
            match rest.find('/') {
                Some(at) if random.one_in(2) => {
                    let (host, target) = rest.split_at(at);
                    with(Seen::UrlParts { scheme, host, target })
                }
                _ => with(Seen::Url(text)),
            }
        }
        (Kind::Email, _) => with(Seen::Email(text)),
        (Kind::UserAgent, _) => with(Seen::UserAgent(&spelled.text)),
        (_, protocol::Observable::Ip(address)) => with(Seen::Ip(*address)),
        (_, protocol::Observable::Md5(digest)) => with(Seen::Md5(digest.0)),
        (_, protocol::Observable::Ja3(digest)) => with(Seen::Ja3(digest.0)),
        (_, protocol::Observable::Sha1(digest)) => with(Seen::Sha1(digest.0)),
        (_, protocol::Observable::Sha256(digest)) => with(Seen::Sha256(digest.0)),
        (_, parsed) => with(Seen::Normal(parsed)),
    })
}

#[test]
fn what_sensors_read_is_compared_as_a_scan_of_all_lines_compares_it() {
    let mut asked = 0;
    for seed in 0..SETS {
        let mut random = Random::new(seed);
        let size = random.below(120);
        let lines = made::lines(&mut random, size);
        let layers = index::in_force(&mut random, &lines);
        let mut scratch = Scratch::default();
        for _ in 0..QUERIES {
            let spelled = spelled::spelled(&mut random, &lines);
            let at = made::time(&mut random);
            let found = with_seen(&spelled, &mut random, |seen| {
                let owned = scratch.owned(seen)?;
                let found = scratch.normal(seen, spelled.port, |value| layers.look_up(value, at))?;
                Some((owned, found.unwrap()))
            });
            let Some(Some((owned, found))) = found else { continue };
            index::compare(&found, &model::expected(&lines, &owned, spelled.port, at))
                .unwrap_or_else(|wrong| panic!("set {seed}, {spelled:?} at {at}: {wrong}"));
            asked += 1;
        }
    }
    assert!(asked > 10_000, "{asked}");
}
