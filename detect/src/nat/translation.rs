//! Which two flows are the two sides of one translated conversation, and how sure that is.

use std::net::IpAddr;

use protocol::{Direction, Flow, Hit, NatEvidence, Place, Transport};

use crate::home::{Home, Sides, privacy};

/// Views of one conversation are this close in time: a gateway hands a packet on within milliseconds.
const NEAR_MICROS: i64 = 1_000_000;
/// The same where nothing but time and remote end speak for it.
const ADJACENT_MICROS: i64 = 100_000;

/// A conversation as connection tracking knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// What the party that began sends, before any translation.
    pub original: Flow,
    /// What comes back to the gateway, from the party that was reached.
    pub reply: Flow,
}

/// One conversation, inside and outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Translation {
    pub inner: Flow,
    pub outer: Flow,
    pub by: NatEvidence,
    /// The town's host began.
    began_inside: bool,
    /// The other party, by its own address.
    other: IpAddr,
}

/// A flow as the other end would begin it.
pub(super) fn reversed(flow: &Flow) -> Flow {
    Flow { src: flow.dst, src_port: flow.dst_port, dst: flow.src, dst_port: flow.src_port, ..*flow }
}

/// Whether two flows have the same ends, whoever began.
pub(super) fn same_ends(one: &Flow, other: &Flow) -> bool {
    one == other || *one == reversed(other)
}

pub(super) fn flow_of(hit: &Hit) -> Option<Flow> {
    match hit.place {
        Place::Flow { flow } => Some(flow),
        Place::Line { .. } => None,
    }
}

impl Tracked {
    /// The two sides; nothing when they are one.
    pub(super) fn translation(&self, home: &Home) -> Option<Translation> {
        let (client_side, server_side) = (self.original, reversed(&self.reply));
        if client_side == server_side {
            return None;
        }
        let (began_home, reached_home) = (home.contains(client_side.src), home.contains(server_side.dst));
        let source_changed =
            (client_side.src, client_side.src_port) != (server_side.src, server_side.src_port);
        let began_inside =
            if source_changed { began_home || !reached_home } else { began_home && !reached_home };
        let (inner, outer) =
            if began_inside { (client_side, server_side) } else { (server_side, client_side) };
        let other = if began_inside { server_side.dst } else { client_side.src };
        Some(Translation { inner, outer, by: NatEvidence::Conntrack, began_inside, other })
    }
}

impl Translation {
    pub fn has(&self, flow: &Flow) -> bool {
        same_ends(&self.inner, flow) || same_ends(&self.outer, flow)
    }

    /// Address and port that the town's host has outside.
    pub fn outer_end(&self) -> (IpAddr, u16) {
        if self.began_inside {
            (self.outer.src, self.outer.src_port)
        } else {
            (self.outer.dst, self.outer.dst_port)
        }
    }

    /// Direction, host and remote by the real ends. Who is translated belongs to the town, whatever its networks.
    pub fn sides(&self, home: &Home) -> Sides {
        let host = if self.began_inside { self.inner.src } else { self.inner.dst };
        let (src, dst) = if self.began_inside { (host, self.other) } else { (self.other, host) };
        let sides = home.sides(src, dst);
        if sides.direction != Direction::Transit {
            return sides;
        }
        let direction = if self.began_inside { Direction::Outbound } else { Direction::Inbound };
        Sides { direction, host: Some(host), remote: Some(self.other) }
    }
}

/// What speaks for two views being one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    /// The same first sequence number: certain.
    Start(Translation),
    /// The same first sequence number, but which side is inside cannot be told.
    StartOnly,
    /// The same port of the party that began: certain when there is one such pair.
    Port(Translation),
    /// The same remote end, adjacent in time: certain when there is no other candidate at all.
    Adjacent(Translation),
    /// The same remote end at about the same time.
    Near,
}

/// Compares two hits of the same value in the same field, without knowledge of connection tracking.
pub(super) fn likeness(one: &Hit, other: &Hit, home: &Home) -> Option<Likeness> {
    let (a, b) = (flow_of(one)?, flow_of(other)?);
    let apart = one.at.micros_since(other.at).abs();
    if a.proto != b.proto || apart > NEAR_MICROS {
        return None;
    }
    let by_start = match (start_of(one), start_of(other)) {
        (Some(one), Some(other)) if one != other => return None,
        (Some(_), Some(_)) => true,
        _ => false,
    };
    let outbound = (a.dst, a.dst_port) == (b.dst, b.dst_port) && a.src != b.src;
    let inbound = (a.src, a.src_port) == (b.src, b.src_port) && a.dst != b.dst;
    let (a_end, b_end) = match (outbound, inbound) {
        (true, false) => (a.src, b.src),
        (false, true) => (a.dst, b.dst),
        _ => return None,
    };
    let (a_rank, b_rank) = (rank(a_end, home), rank(b_end, home));
    if a_rank == b_rank {
        return by_start.then_some(Likeness::StartOnly);
    }
    let (inner, outer) = if a_rank > b_rank { (a, b) } else { (b, a) };
    let other = if outbound { inner.dst } else { inner.src };
    let translation =
        Translation { inner, outer, by: NatEvidence::TimeAndTuple, began_inside: outbound, other };
    let has_ports = matches!(a.proto, Transport::Tcp | Transport::Udp);
    Some(match () {
        () if by_start => Likeness::Start(translation),
        // A client's own port is not translated on the way to a forwarded server.
        () if has_ports && a.src_port == b.src_port => Likeness::Port(translation),
        () if apart <= ADJACENT_MICROS => Likeness::Adjacent(translation),
        () => Likeness::Near,
    })
}

/// Whether both began with sequence numbers that are known and not the same.
pub(super) fn starts_differ(one: &Hit, other: &Hit) -> bool {
    start_of(one).zip(start_of(other)).is_some_and(|(one, other)| one != other)
}

fn start_of(hit: &Hit) -> Option<u32> {
    hit.traffic?.start
}

/// How far inside an address is: the town's own first, then by being private.
fn rank(address: IpAddr, home: &Home) -> (bool, u8) {
    (home.contains(address), privacy(address))
}
