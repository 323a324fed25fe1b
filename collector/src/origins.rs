//! Origins, first form: which addresses a hit points at, and in which role.
//!
//! For an inbound hit that is the party outside; for an outbound one the party contacted and the town's own
//! host, where the attack may live. The store keeps one row for each address, role and town.

use std::net::IpAddr;

use protocol::{Direction, Hit};

/// What an address is to the town.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The party outside.
    Remote,
    /// The town's own host.
    Host,
}

impl Role {
    /// The name in the store and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Remote => "remote",
            Self::Host => "host",
        }
    }
}

/// The origins that a hit points at.
pub fn of(hit: &Hit) -> Vec<(IpAddr, Role)> {
    let remote = hit.remote.map(|address| (address.to_canonical(), Role::Remote));
    let host = match hit.direction {
        Direction::Outbound | Direction::Internal => hit.host,
        Direction::Inbound | Direction::Transit => None,
    };
    remote.into_iter().chain(host.map(|address| (address.to_canonical(), Role::Host))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(direction: &str, expected: &[(&str, Role)]) {
        let hit: Hit = serde_json::from_value(serde_json::json!({
            "hit_id": "00".repeat(16), "at": "2026-11-22T10:00:00Z", "last_at": "2026-11-22T10:00:00Z",
            "input": "lan0", "kind": "ip", "value": "203.0.113.9", "seen_in": "log.src", "line": 1,
            "indicator": "i", "direction": direction, "host": "192.0.2.10", "remote": "203.0.113.9",
            "count": 1, "bundle": 1,
        }))
        .unwrap();
        let expected: Vec<_> =
            expected.iter().map(|(address, role)| (address.parse().unwrap(), *role)).collect();
        assert_eq!(of(&hit), expected, "{direction}");
    }

    #[test]
    fn the_towns_own_host_is_an_origin_only_when_it_began() {
        check("inbound", &[("203.0.113.9", Role::Remote)]);
        check("outbound", &[("203.0.113.9", Role::Remote), ("192.0.2.10", Role::Host)]);
        check("internal", &[("203.0.113.9", Role::Remote), ("192.0.2.10", Role::Host)]);
        check("transit", &[("203.0.113.9", Role::Remote)]);
    }
}
