//! How a hit was seen, for its page: what went over the flow, the gateway's translation, who else saw it, what a
//! proxy named, and what must be known to judge it.

use std::net::IpAddr;

use protocol::hit::Logged;
use protocol::{Hit, Nat, Place, Traffic, Transport};

use super::show::{Count, Shown, defang_address};
use super::words::{self, Label};

/// What is known of a hit beside what was seen.
#[derive(Default)]
pub(super) struct Circumstances {
    pub(super) traffic: Option<TrafficView>,
    pub(super) nat: Option<NatView>,
    pub(super) named_origins: Vec<Shown>,
    pub(super) witnesses: Vec<Shown>,
    pub(super) logged: Option<LoggedView>,
    pub(super) notes: Vec<Label>,
}

/// Packets and bytes each way.
pub(super) struct TrafficView {
    pub(super) packets_out: Count,
    pub(super) bytes_out: Count,
    pub(super) packets_back: Count,
    pub(super) bytes_back: Count,
    /// Whether both ends agreed on the connection; other protocols know no such thing.
    pub(super) established: Option<bool>,
    /// Why it is over; none while it lives.
    pub(super) ended: Option<Label>,
}

/// What a log line says; what it does not say is none.
pub(super) struct LoggedView {
    pub(super) format: Option<Shown>,
    pub(super) host: Option<Shown>,
    pub(super) time: Option<Shown>,
    pub(super) src: Option<(Shown, u16)>,
    pub(super) dst: Option<(Shown, u16)>,
}

/// The gateway's translation.
pub(super) struct NatView {
    pub(super) inner: Option<Shown>,
    pub(super) outer: Shown,
    pub(super) outer_port: u16,
    pub(super) vantage: Label,
    pub(super) by: Label,
    pub(super) outer_src: Shown,
    pub(super) outer_src_port: u16,
    pub(super) outer_dst: Shown,
    pub(super) outer_dst_port: u16,
}

impl Circumstances {
    pub(super) fn of(hit: &Hit) -> Self {
        let proto = match &hit.place {
            Place::Flow { flow } => Some(flow.proto),
            Place::Line { .. } => None,
        };
        Self {
            traffic: hit.traffic.as_ref().map(|traffic| TrafficView::of(traffic, proto)),
            nat: hit.nat.as_ref().map(|nat| NatView::of(nat, hit.host)),
            named_origins: hit.named_origins.iter().copied().map(defanged).collect(),
            witnesses: hit.witnesses.iter().map(|input| Shown::new(input)).collect(),
            logged: hit.logged.as_deref().map(LoggedView::of),
            notes: hit.notes.iter().copied().map(words::note).collect(),
        }
    }
}

impl TrafficView {
    fn of(traffic: &Traffic, proto: Option<Transport>) -> Self {
        Self {
            packets_out: count(traffic.packets_out),
            bytes_out: count(traffic.bytes_out),
            packets_back: count(traffic.packets_back),
            bytes_back: count(traffic.bytes_back),
            established: (proto == Some(Transport::Tcp)).then_some(traffic.established),
            ended: traffic.ended.map(words::flow_end),
        }
    }
}

impl LoggedView {
    fn of(logged: &Logged) -> Self {
        let shown = |text: &str| (!text.is_empty()).then(|| Shown::new(text));
        Self {
            format: shown(&logged.format),
            host: shown(&logged.host),
            time: shown(&logged.time),
            src: logged.flow.map(|flow| (defanged(flow.src), flow.src_port)),
            dst: logged.flow.map(|flow| (defanged(flow.dst), flow.dst_port)),
        }
    }
}

impl NatView {
    fn of(nat: &Nat, inner: Option<IpAddr>) -> Self {
        Self {
            inner: inner.map(|address| Shown::new(&address.to_string())),
            outer: defanged(nat.outer),
            outer_port: nat.outer_port,
            vantage: words::vantage(nat.vantage),
            by: words::nat_evidence(nat.by),
            outer_src: defanged(nat.outer_flow.src),
            outer_src_port: nat.outer_flow.src_port,
            outer_dst: defanged(nat.outer_flow.dst),
            outer_dst_port: nat.outer_flow.dst_port,
        }
    }
}

fn defanged(address: IpAddr) -> Shown {
    Shown::new(&defang_address(&address.to_string()))
}

fn count(number: u64) -> Count {
    Count(i64::try_from(number).unwrap_or(i64::MAX))
}
