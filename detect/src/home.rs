//! The town's own networks, and which way a conversation goes seen from them.

use std::net::IpAddr;

use ipnet::IpNet;
use protocol::Direction;

/// Networks that are the town's. Without configured ones, private space is (RFC 1918, RFC 4193, link-local).
#[derive(Clone, Debug)]
pub(crate) struct Home(Vec<IpNet>);

/// Who began, the town's own host, and the party outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sides {
    pub direction: Direction,
    pub host: Option<IpAddr>,
    pub remote: Option<IpAddr>,
}

const PRIVATE: [&str; 6] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"];

impl Home {
    pub fn new(networks: &[IpNet]) -> Self {
        if networks.is_empty() {
            return Self(PRIVATE.iter().filter_map(|network| network.parse().ok()).collect());
        }
        Self(networks.to_vec())
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Sides of a conversation that `src` began. Multicast, broadcast and loopback never count as outside.
    pub fn sides(&self, src: IpAddr, dst: IpAddr) -> Sides {
        let sides = |direction, host, remote| Sides { direction, host, remote };
        match (self.contains(src), self.contains(dst)) {
            (true, true) => sides(Direction::Internal, Some(src), None),
            (true, false) if stays_near(dst) => sides(Direction::Internal, Some(src), None),
            (false, true) if stays_near(src) => sides(Direction::Internal, Some(dst), None),
            (true, false) => sides(Direction::Outbound, Some(src), Some(dst)),
            (false, true) => sides(Direction::Inbound, Some(dst), Some(src)),
            (false, false) => sides(Direction::Transit, None, Some(dst)),
        }
    }

    /// Sides of what a log line tells: `src` and `dst` when its fields name them.
    pub fn sides_of_line(&self, src: Option<IpAddr>, dst: Option<IpAddr>) -> Sides {
        let sides = |direction, host, remote| Sides { direction, host, remote };
        match (src, dst) {
            (Some(src), Some(dst)) => self.sides(src, dst),
            (Some(src), None) if self.contains(src) => sides(Direction::Outbound, Some(src), None),
            (Some(src), None) if stays_near(src) => sides(Direction::Internal, None, None),
            (Some(src), None) => sides(Direction::Inbound, None, Some(src)),
            (None, Some(dst)) if self.contains(dst) => sides(Direction::Inbound, Some(dst), None),
            (None, Some(dst)) => sides(Direction::Outbound, None, Some(dst)),
            (None, None) => sides(Direction::Transit, None, None),
        }
    }
}

pub(crate) fn stays_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_unspecified()
                || v4.is_loopback()
                || v4.is_link_local()
        }
        IpAddr::V6(v6) => {
            v6.is_multicast() || v6.is_unspecified() || v6.is_loopback() || v6.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        (!text.is_empty()).then(|| text.parse().unwrap())
    }

    fn check(networks: &[&str], flow: (&str, &str), expected: (Direction, &str, &str)) {
        let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().unwrap()).collect();
        let home = Home::new(&networks);
        let sides = home.sides(ip(flow.0).unwrap(), ip(flow.1).unwrap());
        let (direction, host, remote) = expected;
        assert_eq!(sides, Sides { direction, host: ip(host), remote: ip(remote) }, "{flow:?}");
    }

    #[test]
    fn private_space_is_home_unless_networks_are_named() {
        check(&[], ("10.1.2.3", "203.0.113.5"), (Direction::Outbound, "10.1.2.3", "203.0.113.5"));
        check(&[], ("203.0.113.5", "fd00::5"), (Direction::Inbound, "fd00::5", "203.0.113.5"));
        check(&["192.0.2.0/24"], ("10.1.2.3", "192.0.2.9"), (Direction::Inbound, "192.0.2.9", "10.1.2.3"));
    }

    #[test]
    fn both_or_no_end_at_home() {
        check(&[], ("10.1.2.3", "10.9.9.9"), (Direction::Internal, "10.1.2.3", ""));
        check(&[], ("203.0.113.5", "198.51.100.7"), (Direction::Transit, "", "198.51.100.7"));
    }

    #[test]
    fn multicast_is_never_outside() {
        check(&[], ("10.1.2.3", "239.255.255.250"), (Direction::Internal, "10.1.2.3", ""));
        check(&["192.0.2.0/24"], ("192.0.2.1", "255.255.255.255"), (Direction::Internal, "192.0.2.1", ""));
    }

    #[test]
    fn a_line_with_one_side_tells_the_direction_too() {
        let home = Home::new(&[]);
        let line = |src, dst| {
            let sides = home.sides_of_line(ip(src), ip(dst));
            (sides.direction, sides.host, sides.remote)
        };
        assert_eq!(line("203.0.113.5", ""), (Direction::Inbound, None, ip("203.0.113.5")));
        assert_eq!(line("10.0.0.4", ""), (Direction::Outbound, ip("10.0.0.4"), None));
        assert_eq!(line("", "203.0.113.5"), (Direction::Outbound, None, ip("203.0.113.5")));
        assert_eq!(line("", ""), (Direction::Transit, None, None));
    }
}
