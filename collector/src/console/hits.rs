//! The list of hits with its filters. The address of the page says everything: it can be kept, sent and reloaded.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use protocol::defang::refang;
use serde::Deserialize;

use super::chrome::{Chrome, Here, html};
use super::fault::Fault;
use super::routes::Console;
use super::session::Session;
use super::show::{Count, Shown, When, defang, defang_address, rome_micros, without_hidden};
use super::words::{self, Choice, Label, Marked};
use crate::store::console_hits::{self as stored, HitCursor, HitFilter, HitOrder, HitRow};
use crate::store::console_towns;

/// Hits on a page.
pub(super) const PAGE_HITS: u32 = 100;
/// Characters of a text in a filter.
const FILTER_CHARS_MAX: usize = 256;

/// What the address of the list says; empty fields are absent filters, as forms send them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HitQuery {
    pub(super) comune: String,
    pub(super) severity: String,
    pub(super) direction: String,
    pub(super) kind: String,
    pub(super) value: String,
    pub(super) period: String,
    pub(super) from: String,
    pub(super) until: String,
    pub(super) sort: String,
    /// Where the page begins: `ID`, or `MICROSECONDS-ID` when sorted by time.
    pub(super) before: String,
    /// For live pages: the newest row that the page has.
    pub(super) after: String,
}

/// A hit as a row shows it.
pub(super) struct HitView {
    pub(super) id: i64,
    pub(super) at: When,
    pub(super) comune_id: String,
    pub(super) comune: Shown,
    pub(super) severity: Option<Marked>,
    pub(super) direction: Label,
    pub(super) arrow: &'static str,
    pub(super) kind: Label,
    pub(super) value: Shown,
    pub(super) threat: Shown,
    pub(super) seen_in: Shown,
    pub(super) place: Label,
    pub(super) host: Option<Shown>,
    /// Whether the town's host began, so that it is an origin with a page of its own.
    pub(super) host_began: bool,
    pub(super) remote: Option<RemoteView>,
    pub(super) count: Count,
}

/// An address outside, to link and to read.
pub(super) struct RemoteView {
    pub(super) plain: Shown,
    pub(super) defanged: Shown,
}

#[derive(Template)]
#[template(path = "hits.html")]
struct HitsPage {
    chrome: Chrome,
    caption: Label,
    query: HitQuery,
    filtered: bool,
    comuni: Vec<Choice>,
    severities: Vec<Choice>,
    directions: Vec<Choice>,
    kinds: Vec<Choice>,
    periods: Vec<Choice>,
    hits: Vec<HitView>,
    feed: Option<String>,
    live_sorted: &'static str,
    reload: String,
    first: Option<String>,
    older: Option<String>,
}

/// The page.
pub(super) async fn page(
    State(console): State<Console>,
    session: Session,
    Query(mut query): Query<HitQuery>,
) -> Result<Response, Fault> {
    query.value = without_hidden(&query.value);
    let filter = query.filter(console.now())?;
    let order = query.order()?;
    let before = query.cursor()?;
    let read = console.store.look_up(move |db| {
        // The newest row is read before the list: a hit that arrives in between comes twice to the browser, which
        // knows it by its number, and not never.
        let newest = stored::newest_hit(db)?;
        let hits = stored::hits(db, &filter, order, before, PAGE_HITS + 1)?;
        Ok((newest, hits, console_towns::town_names(db)?))
    });
    let (newest, mut hits, towns) = read.await?;
    let more = hits.len() > PAGE_HITS as usize;
    hits.truncate(PAGE_HITS as usize);
    let older =
        hits.last().filter(|_| more).map(|last| query.address("/hits", "before", &after(order, last)));
    let first_page = before.is_none();
    let page = HitsPage {
        chrome: Chrome::of(&session, Here::Hits),
        caption: Label { it: "Riscontri, dal più recente", en: "Hits, newest first" },
        filtered: query.is_filtered(),
        comuni: choices(towns, &query.comune),
        severities: choices(
            words::SEVERITIES.map(|(name, mark)| (name, words_of(mark.label))),
            &query.severity,
        ),
        directions: choices(words::DIRECTIONS.map(|(name, label)| (name, words_of(label))), &query.direction),
        kinds: choices(words::KINDS.map(|(name, label)| (name, words_of(label))), &query.kind),
        periods: choices(words::PERIODS.map(|(name, _, label)| (name, words_of(label))), &query.period),
        hits: hits.iter().map(HitView::of).collect(),
        feed: first_page.then(|| query.address("/hits/live", "after", &newest.to_string())),
        live_sorted: if order == HitOrder::Arrival { "arrival" } else { "time" },
        reload: query.address("/hits", "", ""),
        first: (!first_page).then(|| query.address("/hits", "", "")),
        older,
        query,
    };
    html(&page)
}

fn after(order: HitOrder, last: &HitRow) -> String {
    match order {
        HitOrder::Arrival => last.id.to_string(),
        HitOrder::Time => format!("{}-{}", last.at, last.id),
    }
}

impl HitQuery {
    /// The filters, checked.
    pub(super) fn filter(&self, now: i64) -> Result<HitFilter, Fault> {
        let longest = [&self.comune, &self.value].into_iter().map(|text| text.chars().count()).max();
        if longest > Some(FILTER_CHARS_MAX) {
            return Err(Fault::BadRequest("a filter that is too long"));
        }
        let period = match words::PERIODS.iter().find(|(name, _, _)| *name == self.period) {
            Some((_, seconds, _)) => Some(now.saturating_sub(seconds * 1_000_000)),
            None if self.period.is_empty() => None,
            None => return Err(Fault::BadRequest("an unknown period")),
        };
        Ok(HitFilter {
            comune: present(&self.comune),
            severity: known(&self.severity, words::SEVERITIES.map(|(name, _)| name))?,
            direction: known(&self.direction, words::DIRECTIONS.map(|(name, _)| name))?,
            kind: known(&self.kind, words::KINDS.map(|(name, _)| name))?,
            value: refang(&self.value).into_owned(),
            from: local_time(&self.from)?.max(period),
            until: local_time(&self.until)?,
        })
    }

    pub(super) fn order(&self) -> Result<HitOrder, Fault> {
        match self.sort.as_str() {
            "" => Ok(HitOrder::Arrival),
            "time" => Ok(HitOrder::Time),
            _ => Err(Fault::BadRequest("an unknown order")),
        }
    }

    fn cursor(&self) -> Result<Option<HitCursor>, Fault> {
        if self.before.is_empty() {
            return Ok(None);
        }
        // Times before 1970 begin with the same sign as the separator.
        let (at, id) = self.before.rsplit_once('-').unwrap_or(("0", &self.before));
        match (at.parse(), id.parse()) {
            (Ok(at), Ok(id)) => Ok(Some(HitCursor { at, id })),
            _ => Err(Fault::BadRequest("a page that does not exist")),
        }
    }

    fn is_filtered(&self) -> bool {
        self.parts().iter().any(|(_, value)| !value.is_empty())
    }

    /// The address of `path` with these filters and one more parameter.
    fn address(&self, path: &str, name: &str, value: &str) -> String {
        address(path, self.parts().into_iter().chain([(name, value)]))
    }

    fn parts(&self) -> [(&str, &str); 9] {
        [
            ("comune", &self.comune),
            ("severity", &self.severity),
            ("direction", &self.direction),
            ("kind", &self.kind),
            ("value", &self.value),
            ("period", &self.period),
            ("from", &self.from),
            ("until", &self.until),
            ("sort", &self.sort),
        ]
    }
}

/// A path with the parameters that have a value.
pub(super) fn address<'a>(path: &str, parts: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parts.into_iter().filter(|(_, value)| !value.is_empty()));
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

pub(super) fn present(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// One of the names, or nothing for an empty field.
pub(super) fn known<const N: usize>(text: &str, names: [&str; N]) -> Result<Option<String>, Fault> {
    if text.is_empty() || names.contains(&text) {
        Ok(present(text))
    } else {
        Err(Fault::BadRequest("a filter with an unknown name"))
    }
}

fn local_time(text: &str) -> Result<Option<i64>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    rome_micros(text).map(Some).ok_or(Fault::BadRequest("a time that is none"))
}

fn words_of(label: Label) -> String {
    if label.it == label.en { label.it.to_owned() } else { format!("{} · {}", label.it, label.en) }
}

/// The entries of a menu.
pub(super) fn choices<V: Into<String>>(
    entries: impl IntoIterator<Item = (V, String)>,
    chosen: &str,
) -> Vec<Choice> {
    let choice = |(value, text): (V, String)| {
        let value = value.into();
        Choice { chosen: value == chosen, text: Shown::short(&text).to_string(), value }
    };
    entries.into_iter().map(choice).collect()
}

impl HitView {
    pub(super) fn of(row: &HitRow) -> Self {
        let remote = row.remote.as_deref().map(|address| RemoteView {
            plain: Shown::new(address),
            defanged: Shown::new(&defang_address(address)),
        });
        Self {
            id: row.id,
            at: When::new(row.at),
            comune_id: row.comune.clone(),
            comune: Shown::name(&row.comune_name),
            severity: words::severity(row.severity.as_deref()),
            direction: words::direction(&row.direction),
            arrow: match row.direction.as_str() {
                "inbound" => "↘",
                "outbound" => "↗",
                "internal" => "↻",
                _ => "⇄",
            },
            kind: words::kind(&row.kind),
            value: Shown::short(&defang(&row.kind, &row.value)),
            threat: Shown::name(&row.threat),
            seen_in: Shown::short(&row.seen_in),
            place: words::place(&row.seen_in),
            host: row.host.as_deref().map(Shown::new),
            host_began: matches!(row.direction.as_str(), "outbound" | "internal"),
            remote,
            count: Count(row.count),
        }
    }
}
