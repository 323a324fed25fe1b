//! The page of one hit: all that is stored about it, its indicator, and where else the value was seen.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use protocol::{Flow, Hit, Indicator, LookFor, Observable, Place, Transport};

use super::chrome::{Chrome, Here, html};
use super::circumstances::Circumstances;
use super::fault::Fault;
use super::hits::HitView;
use super::routes::Console;
use super::session::Session;
use super::show::{Count, Maybe, Shown, When, defang, defang_address, when};
use super::words::{self, Label, Marked};
use crate::store::console_hits::{self as stored, HitDetail, HitRow, Prevalence};

/// Other hits with the same value on the page.
const OTHERS: u32 = 25;

#[derive(Template)]
#[template(path = "hit.html")]
struct HitPage {
    chrome: Chrome,
    hit: HitView,
    value_defanged: Shown,
    value_plain: Shown,
    at: When,
    at_utc: Shown,
    last_at: When,
    received_at: When,
    evidence: Shown,
    place: Seen,
    how: Circumstances,
    input: Shown,
    indicator: Option<IndicatorView>,
    indicator_id: Shown,
    also: Vec<Shown>,
    bundle: i64,
    issuer: Option<Shown>,
    host_name: Shown,
    agent: Shown,
    hit_id: Shown,
    prevalence: PrevalenceView,
    caption: Label,
    hits: Vec<HitView>,
    record: Shown,
}

/// The flow or line of a hit.
enum Seen {
    Flow(FlowView),
    Line { line: u64, offset: Option<u64> },
    Unreadable,
}

struct FlowView {
    proto: &'static str,
    src: Shown,
    src_port: u16,
    dst: Shown,
    dst_port: u16,
}

struct PrevalenceView {
    hits: Count,
    comuni: Count,
    first_at: Maybe<When>,
    last_at: Maybe<When>,
}

/// An indicator as pages show it.
pub(super) struct IndicatorView {
    pub(super) looks_for: Shown,
    pub(super) kind: Label,
    pub(super) threat: Shown,
    pub(super) severity: Option<Marked>,
    pub(super) confidence: u8,
    pub(super) tlp: Shown,
    pub(super) valid_from: Maybe<When>,
    pub(super) valid_until: Maybe<When>,
    pub(super) alert: Shown,
    pub(super) source: Shown,
}

/// The page.
pub(super) async fn page(
    State(console): State<Console>,
    session: Session,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let id: i64 = id.parse().map_err(|_| Fault::NotFound)?;
    let read = console.store.look_up(move |db| {
        let Some(hit) = stored::hit(db, id)? else { return Ok(None) };
        let others = stored::hits_with_value(db, &hit.row, OTHERS)?;
        let prevalence = stored::prevalence(db, &hit.row.kind, &hit.row.value)?;
        Ok(Some((hit, others, prevalence)))
    });
    let (hit, others, prevalence) = read.await?.ok_or(Fault::NotFound)?;
    html(&HitPage::of(&session, &hit, &others, prevalence))
}

impl HitPage {
    fn of(session: &Session, hit: &HitDetail, others: &[HitRow], prevalence: Prevalence) -> Self {
        let row = &hit.row;
        let sent: Option<Hit> = serde_json::from_str(&hit.hit_json).ok();
        let also = sent.iter().flat_map(|sent| &sent.also).map(|id| Shown::new(id)).collect();
        let utc = protocol::Timestamp::from_micros(row.at);
        Self {
            chrome: Chrome::of(session, Here::Hits),
            hit: HitView::of(row),
            value_defanged: Shown::new(&defang(&row.kind, &row.value)),
            value_plain: Shown::new(&row.value),
            at: When::exact(row.at),
            at_utc: Shown::new(&utc.to_string()),
            last_at: When::exact(row.last_at),
            received_at: When::exact(row.received_at),
            evidence: Shown::new(&hit.evidence),
            place: Seen::of(sent.as_ref()),
            how: sent.as_ref().map(Circumstances::of).unwrap_or_default(),
            input: Shown::new(&hit.input),
            indicator: hit.indicator_json.as_deref().and_then(IndicatorView::read),
            indicator_id: Shown::new(&hit.indicator),
            also,
            bundle: hit.bundle,
            issuer: hit.issuer.as_deref().map(Shown::new),
            host_name: Shown::new(&hit.host_name),
            agent: Shown::new(&hit.agent),
            hit_id: Shown::new(&hit.hit_id),
            prevalence: PrevalenceView {
                hits: Count(prevalence.hits),
                comuni: Count(prevalence.comuni),
                first_at: when(prevalence.first_at),
                last_at: when(prevalence.last_at),
            },
            caption: Label {
                it: "Altri riscontri con lo stesso valore",
                en: "Other hits with the same value",
            },
            hits: others.iter().map(HitView::of).collect(),
            record: record(&hit.hit_json),
        }
    }
}

/// The record on several lines; each line of it is foreign text.
fn record(json: &str) -> Shown {
    let value: Option<serde_json::Value> = serde_json::from_str(json).ok();
    let pretty = value.and_then(|value| serde_json::to_string_pretty(&value).ok());
    Shown::lines(pretty.as_deref().unwrap_or(json))
}

impl Seen {
    fn of(hit: Option<&Hit>) -> Self {
        match hit.map(|hit| &hit.place) {
            Some(Place::Flow { flow }) => Self::Flow(FlowView::of(flow)),
            Some(Place::Line { line, offset }) => Self::Line { line: *line, offset: *offset },
            None => Self::Unreadable,
        }
    }
}

impl FlowView {
    fn of(flow: &Flow) -> Self {
        Self {
            proto: match flow.proto {
                Transport::Tcp => "TCP",
                Transport::Udp => "UDP",
                Transport::Icmp => "ICMP",
                Transport::Other => "—",
            },
            src: Shown::new(&defang_address(&flow.src.to_string())),
            src_port: flow.src_port,
            dst: Shown::new(&defang_address(&flow.dst.to_string())),
            dst_port: flow.dst_port,
        }
    }
}

impl IndicatorView {
    /// Reads an indicator as the store keeps it; none when it cannot be read.
    pub(super) fn read(json: &str) -> Option<Self> {
        let indicator: Indicator = serde_json::from_str(json).ok()?;
        let value = indicator.look_for.to_string();
        let looks_for = match &indicator.look_for {
            LookFor::Observable(observable) => defang(Observable::kind(observable).as_str(), &value),
            LookFor::Addresses(_) => defang_address(&value),
            LookFor::Pattern(_) => value.replace('.', "[.]"),
        };
        Some(Self {
            looks_for: Shown::new(&looks_for),
            kind: words::kind(indicator.look_for.kind()),
            threat: Shown::new(&indicator.threat),
            severity: words::severity(Some(indicator.severity.as_str())),
            confidence: indicator.confidence,
            tlp: Shown::new(&format!("TLP:{}", indicator.tlp)),
            valid_from: when(indicator.valid_from.map(|at| at.as_micros())),
            valid_until: when(indicator.valid_until.map(|at| at.as_micros())),
            alert: Shown::new(&indicator.alert),
            source: Shown::new(&indicator.source),
        })
    }
}
