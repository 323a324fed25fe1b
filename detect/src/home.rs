//! The town's own networks, and which way a conversation goes seen from them.

use std::net::IpAddr;

use ipnet::IpNet;
use protocol::Direction;

/// Networks that are the town's. Without configured ones, private space is (RFC 1918, RFC 4193, link-local).
#[derive(Clone, Debug)]
pub(crate) struct Home {
    networks: Vec<IpNet>,
    /// Proxies that are believed when they name the party behind them.
    proxies: Vec<IpNet>,
}

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
        let networks = match networks {
            [] => PRIVATE.iter().filter_map(|network| network.parse().ok()).collect(),
            networks => networks.to_vec(),
        };
        Self { networks, proxies: Vec::new() }
    }

    pub fn with_proxies(self, proxies: &[IpNet]) -> Self {
        Self { proxies: proxies.to_vec(), ..self }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Who is behind `src`, a trusted proxy: the last of those named that is none itself. What stands further in
    /// front anybody may have written.
    pub fn behind_proxy(&self, src: IpAddr, named: &[IpAddr]) -> Option<IpAddr> {
        let is_proxy = |address: IpAddr| self.proxies.iter().any(|network| network.contains(&address));
        if !is_proxy(src) {
            return None;
        }
        named.iter().rev().copied().find(|address| !is_proxy(*address))
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

/// Whether nobody outside can be meant by an address: private, shared by a provider's customers, or one that is not
/// routed at all.
pub(crate) fn is_no_origin(address: IpAddr) -> bool {
    privacy(address) > 0 || stays_near(address)
}

/// How private an address is: 2 inside of networks (RFC 1918, RFC 4193), 1 behind a provider's translation (RFC 6598),
/// else 0.
pub(crate) fn privacy(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(v4) if v4.is_private() => 2,
        IpAddr::V4(v4) => u8::from(matches!(v4.octets(), [100, 64..=127, ..])),
        IpAddr::V6(v6) => 2 * u8::from(v6.is_unique_local()),
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
    fn only_a_trusted_proxy_says_who_is_behind_it() {
        let home = Home::new(&[]).with_proxies(&["10.0.0.2/31".parse().unwrap()]);
        let named: Vec<IpAddr> =
            ["198.51.100.66", "203.0.113.7", "10.0.0.3"].map(|text| text.parse().unwrap()).into();
        let behind = |src: &str, named: &[IpAddr]| home.behind_proxy(src.parse().unwrap(), named);
        assert_eq!(behind("10.0.0.2", &named), ip("203.0.113.7"));
        assert_eq!(behind("10.0.0.9", &named), None);
        assert_eq!(behind("10.0.0.2", &[]), None);
        assert_eq!(behind("10.0.0.2", &named[2..]), None);
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
