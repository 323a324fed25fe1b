//! Between whom a line's conversation went, on both sides of a translation as far as the line tells.

use std::net::IpAddr;

use protocol::hit::{Nat, NatEvidence, Vantage};
use protocol::{Flow, Transport};

use super::reading::{Field, Reading, Value};
use super::words;
use crate::home::Home;

/// Address and port of one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub address: IpAddr,
    /// 0 where the line does not name it.
    pub port: u16,
}

/// Both ends as their own side sees them: the source before it is translated, the destination after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    proto: Transport,
    src: End,
    dst: End,
    /// The source as the other side sees it.
    src_outside: End,
    /// The destination as the source called it.
    dst_called: End,
}

impl Ends {
    /// The ends that the fields of a line name; `None` unless they name both.
    pub fn of(reading: &Reading<'_>) -> Option<Self> {
        let src = end(reading, Field::Src, Field::SrcPort);
        let dst = end(reading, Field::Dst, Field::DstPort);
        let src_before = end(reading, Field::SrcBefore, Field::SrcBeforePort);
        let src_after = end(reading, Field::SrcAfter, Field::SrcAfterPort);
        let dst_before = end(reading, Field::DstBefore, Field::DstBeforePort);
        let dst_after = end(reading, Field::DstAfter, Field::DstAfterPort);
        Some(Self {
            proto: reading.get(Field::Proto).map_or(Transport::Other, transport),
            src: src_before.or(src)?,
            dst: dst_after.or(dst)?,
            src_outside: src_after.or(src).or(src_before)?,
            dst_called: dst_before.or(dst).or(dst_after)?,
        })
    }

    /// The same conversation begun by another party: whom a trusted proxy names.
    pub fn begun_by(self, address: IpAddr) -> Self {
        let src = End { address, port: 0 };
        Self { src, src_outside: src, ..self }
    }

    /// Who began, and who was contacted as the town should see it: for a service of the town its own host, for a
    /// service outside what the host of the town called it.
    pub fn parties(&self, home: &Home) -> (IpAddr, IpAddr) {
        let called = if home.contains(self.dst.address) || !home.contains(self.src.address) {
            self.dst
        } else {
            self.dst_called
        };
        (self.src.address, called.address)
    }

    /// The conversation as it looks inside the town's network.
    pub fn inner_flow(&self) -> Flow {
        self.flow(self.src, self.dst)
    }

    /// The translation that the line tells of; `None` when both sides are the same.
    pub fn nat(&self) -> Option<Nat> {
        let outer_flow = self.flow(self.src_outside, self.dst_called);
        let changed = [(self.src, self.src_outside), (self.dst, self.dst_called)];
        let (_, outer) = changed.into_iter().find(|(inside, outside)| inside != outside)?;
        Some(Nat {
            outer: outer.address,
            outer_port: outer.port,
            vantage: Vantage::Both,
            by: NatEvidence::Log,
            outer_flow,
        })
    }

    fn flow(&self, src: End, dst: End) -> Flow {
        Flow { proto: self.proto, src: src.address, src_port: src.port, dst: dst.address, dst_port: dst.port }
    }
}

fn end(reading: &Reading<'_>, field: Field, port_field: Field) -> Option<End> {
    let text = reading.get(field)?;
    let (address, port) = words::endpoint(std::str::from_utf8(&text.text).ok()?)?;
    if address.is_unspecified() {
        return None; // what some firewalls write where nothing was translated
    }
    let port = port.or_else(|| port_in(reading.get(port_field)?)).unwrap_or(0);
    Some(End { address, port })
}

/// The port that a field holds.
pub(super) fn port_in(value: &Value<'_>) -> Option<u16> {
    std::str::from_utf8(&value.text).ok()?.trim().parse().ok()
}

/// By name or IANA number, also as `tcp/https` or `6/tcp`.
fn transport(value: &Value<'_>) -> Transport {
    let first = value.text.split(|byte| matches!(byte, b'/' | b' ' | b'(' | b':')).next().unwrap_or_default();
    let is = |names: &[&str]| names.iter().any(|name| first.eq_ignore_ascii_case(name.as_bytes()));
    if is(&["tcp", "6"]) {
        Transport::Tcp
    } else if is(&["udp", "17"]) {
        Transport::Udp
    } else if is(&["icmp", "icmp6", "icmpv6", "ipv6-icmp", "1", "58"]) {
        Transport::Icmp
    } else {
        Transport::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(fields: &[(Field, &str)]) -> Option<Ends> {
        let line: Vec<&str> = fields.iter().map(|(_, text)| *text).collect();
        let line = line.join(" ");
        let mut reading = Reading::of(line.as_bytes());
        let mut at = 0;
        for (field, text) in fields {
            reading.take(*field, &line.as_bytes()[at..at + text.len()]);
            at += text.len() + 1;
        }
        Ends::of(&reading)
    }

    fn shown(flow: Flow) -> String {
        format!("{:?} {}:{} {}:{}", flow.proto, flow.src, flow.src_port, flow.dst, flow.dst_port)
    }

    #[test]
    fn a_source_that_is_translated_is_the_towns_host() {
        let ends = ends(&[
            (Field::Src, "10.0.0.4"),
            (Field::SrcPort, "53000"),
            (Field::Dst, "203.0.113.5:443"),
            (Field::SrcAfter, "192.0.2.1"),
            (Field::SrcAfterPort, "60964"),
            (Field::Proto, "6"),
        ])
        .unwrap();
        assert_eq!(shown(ends.inner_flow()), "Tcp 10.0.0.4:53000 203.0.113.5:443");
        let nat = ends.nat().unwrap();
        assert_eq!((nat.outer.to_string(), nat.outer_port), ("192.0.2.1".into(), 60964));
        assert_eq!(shown(nat.outer_flow), "Tcp 192.0.2.1:60964 203.0.113.5:443");
        let (src, dst) = ends.parties(&Home::new(&[]));
        assert_eq!((src.to_string(), dst.to_string()), ("10.0.0.4".into(), "203.0.113.5".into()));
    }

    #[test]
    fn a_published_service_is_the_host_behind_it() {
        for fields in [
            [(Field::Dst, "192.0.2.1"), (Field::DstAfter, "10.0.0.9")],
            [(Field::DstBefore, "192.0.2.1"), (Field::Dst, "10.0.0.9")],
        ] {
            let ends = ends(&[&[(Field::Src, "203.0.113.5")], &fields[..]].concat()).unwrap();
            let (src, dst) = ends.parties(&Home::new(&[]));
            assert_eq!((src.to_string(), dst.to_string()), ("203.0.113.5".into(), "10.0.0.9".into()));
            assert_eq!(ends.nat().unwrap().outer.to_string(), "192.0.2.1");
        }
    }

    #[test]
    fn without_a_translation_there_is_none() {
        let plain = [(Field::Src, "10.0.0.4"), (Field::Dst, "203.0.113.5"), (Field::SrcAfter, "0.0.0.0")];
        assert_eq!(ends(&plain).unwrap().nat(), None);
        assert_eq!(ends(&[(Field::Src, "10.0.0.4"), (Field::Dst, "gateway")]), None);
    }
}
