//! Origins: the addresses behind the hits, what they did in which towns, and the page of one.

use std::net::IpAddr;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use protocol::defang::refang;
use serde::Deserialize;

use super::chrome::{Chrome, Here, html};
use super::fault::Fault;
use super::hit::IndicatorView;
use super::hits::{HitView, PAGE_HITS, address, choices, known, present};
use super::routes::Console;
use super::session::Session;
use super::show::{Count, Shown, When, defang, defang_address, without_hidden};
use super::words::{self, Choice, Label, Marked};
use crate::store::console_hits::{self, OriginColumn};
use crate::store::console_origins::{self as stored, OriginCursor, OriginFilter, OriginOrder, OriginRow};
use crate::store::console_towns;

/// Origins on a page.
const PAGE_ORIGINS: u32 = 100;
/// Town names in a row; the origin's page has all.
const NAMES_MAX: usize = 4;
/// Indicators on an origin's page.
const INDICATORS_MAX: u32 = 200;
/// Candidates on an origin's page.
const CANDIDATES_MAX: u32 = 50;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OriginQuery {
    role: String,
    comune: String,
    address: String,
    sort: String,
    /// Where the page begins: `TOWNS MICROSECONDS ROLE ADDRESS TOWN`.
    after: String,
}

struct OriginView {
    href: String,
    address: Shown,
    role: Label,
    comuni: Count,
    many: bool,
    names: Vec<Shown>,
    names_more: usize,
    first_at: When,
    last_at: When,
    inbound: Count,
    outbound: Count,
    others: Count,
    indicators: Count,
}

struct TownView {
    name: Shown,
    first_at: When,
    last_at: When,
    directions: [Count; 4],
}

struct SeenWith {
    looks_for: Shown,
    threat: Shown,
    severity: Option<Marked>,
    comuni: Count,
}

/// An address that a proxy named; never an origin by itself.
struct CandidateView {
    address: Shown,
    hits: Count,
    comuni: Count,
    last_at: When,
}

#[derive(Template)]
#[template(path = "origins.html")]
struct OriginsPage {
    chrome: Chrome,
    query: OriginQuery,
    filtered: bool,
    roles: Vec<Choice>,
    comuni: Vec<Choice>,
    origins: Vec<OriginView>,
    by_towns: String,
    by_last_seen: String,
    first: Option<String>,
    more: Option<String>,
}

#[derive(Template)]
#[template(path = "origin.html")]
struct OriginPage {
    chrome: Chrome,
    origin: OriginView,
    plain: Shown,
    indicators: Vec<SeenWith>,
    towns: Vec<TownView>,
    candidates: Vec<CandidateView>,
    caption: Label,
    hits: Vec<HitView>,
    truncated: bool,
}

/// The list.
pub(super) async fn page(
    State(console): State<Console>,
    session: Session,
    Query(mut query): Query<OriginQuery>,
) -> Result<Response, Fault> {
    query.address = without_hidden(&query.address);
    let order = query.order()?;
    let filter = query.filter()?;
    let after = query.cursor()?;
    let first_page = after.is_none();
    let read = console.store.look_up(move |db| {
        let origins = stored::origins(db, &filter, order, after.as_ref(), PAGE_ORIGINS + 1)?;
        Ok((origins, console_towns::town_names(db)?))
    });
    let (mut origins, towns) = read.await?;
    let more = origins.len() > PAGE_ORIGINS as usize;
    origins.truncate(PAGE_ORIGINS as usize);
    let more = origins.last().filter(|_| more).map(|last| {
        let cursor = format!("{} {} {} {} {}", last.comuni, last.last_at, last.role, last.address, last.of);
        query.address_of(&query.sort, &cursor)
    });
    let page = OriginsPage {
        chrome: Chrome::of(&session, Here::Origins),
        filtered: [&query.role, &query.comune, &query.address, &query.sort]
            .iter()
            .any(|text| !text.is_empty()),
        roles: choices(
            words::ROLES.map(|(name, label)| (name, format!("{} · {}", label.it, label.en))),
            &query.role,
        ),
        comuni: choices(towns, &query.comune),
        origins: origins.iter().map(OriginView::of).collect(),
        by_towns: query.address_of("towns", ""),
        by_last_seen: query.address_of("", ""),
        first: (!first_page).then(|| query.address_of(&query.sort, "")),
        more,
        query,
    };
    html(&page)
}

/// The page of a party outside.
pub(super) async fn remote(
    State(console): State<Console>,
    session: Session,
    Path(address): Path<String>,
) -> Result<Response, Fault> {
    one(console, session, OriginColumn::Remote, address, String::new()).await
}

/// The page of a town's own host.
pub(super) async fn host(
    State(console): State<Console>,
    session: Session,
    Path((comune, address)): Path<(String, String)>,
) -> Result<Response, Fault> {
    one(console, session, OriginColumn::Host, address, comune).await
}

async fn one(
    console: Console,
    session: Session,
    column: OriginColumn,
    address: String,
    of: String,
) -> Result<Response, Fault> {
    let address = address.parse::<IpAddr>().map_err(|_| Fault::NotFound)?.to_string();
    let role = match column {
        OriginColumn::Remote => "remote",
        OriginColumn::Host => "host",
    };
    let plain = Shown::new(&address);
    let read = console.store.look_up(move |db| {
        let filter = OriginFilter {
            role: Some(role.to_owned()),
            only: Some(address.clone()),
            comune: present(&of),
            ..OriginFilter::default()
        };
        let Some(origin) = stored::origins(db, &filter, OriginOrder::LastSeen, None, 1)?.pop() else {
            return Ok(None);
        };
        let towns = stored::origin_towns(db, &address, role, &of)?;
        let indicators = stored::origin_indicators(db, &address, role, &of, INDICATORS_MAX)?;
        let comune = present(&of);
        let hits = console_hits::hits_of_origin(db, &address, column, comune.as_deref(), PAGE_HITS + 1)?;
        let candidates = match column {
            OriginColumn::Remote => stored::named_origins(db, &address, CANDIDATES_MAX)?,
            OriginColumn::Host => Vec::new(),
        };
        Ok(Some((origin, towns, indicators, candidates, hits)))
    });
    let (origin, towns, indicators, candidates, hits) = read.await?.ok_or(Fault::NotFound)?;
    html(&OriginPage {
        chrome: Chrome::of(&session, Here::Origins),
        origin: OriginView::of(&origin),
        plain,
        indicators: indicators.iter().map(SeenWith::of).collect(),
        towns: towns.iter().map(TownView::of).collect(),
        candidates: candidates.iter().map(CandidateView::of).collect(),
        caption: Label { it: "Riscontri di questa origine", en: "Hits of this origin" },
        truncated: hits.len() > PAGE_HITS as usize,
        hits: hits.iter().take(PAGE_HITS as usize).map(HitView::of).collect(),
    })
}

impl OriginQuery {
    fn order(&self) -> Result<OriginOrder, Fault> {
        match self.sort.as_str() {
            "" => Ok(OriginOrder::LastSeen),
            "towns" => Ok(OriginOrder::Comuni),
            _ => Err(Fault::BadRequest("an unknown order")),
        }
    }

    fn filter(&self) -> Result<OriginFilter, Fault> {
        Ok(OriginFilter {
            role: known(&self.role, words::ROLES.map(|(name, _)| name))?,
            comune: present(&self.comune),
            address: refang(&self.address).into_owned(),
            only: None,
        })
    }

    fn cursor(&self) -> Result<Option<OriginCursor>, Fault> {
        if self.after.is_empty() {
            return Ok(None);
        }
        let strange = Fault::BadRequest("a page that does not exist");
        let parts: Vec<&str> = self.after.split(' ').collect();
        let [comuni, last_at, role, address, of] = parts.as_slice() else { return Err(strange) };
        let (Ok(comuni), Ok(last_at)) = (comuni.parse(), last_at.parse()) else { return Err(strange) };
        Ok(Some(OriginCursor {
            comuni,
            last_at,
            address: (*address).to_owned(),
            role: (*role).to_owned(),
            of: (*of).to_owned(),
        }))
    }

    fn address_of(&self, sort: &str, after: &str) -> String {
        address(
            "/origins",
            [
                ("role", self.role.as_str()),
                ("comune", &self.comune),
                ("address", &self.address),
                ("sort", sort),
                ("after", after),
            ],
        )
    }
}

impl OriginView {
    fn of(row: &OriginRow) -> Self {
        let [inbound, outbound, internal, transit] = row.directions;
        Self {
            href: if row.of.is_empty() {
                format!("/origins/remote/{}", row.address)
            } else {
                format!("/origins/host/{}/{}", row.of, row.address)
            },
            // A town's own host is no place to go to: it stays readable.
            address: if row.of.is_empty() {
                Shown::new(&defang_address(&row.address))
            } else {
                Shown::new(&row.address)
            },
            role: words::role(&row.role),
            comuni: Count(row.comuni),
            many: row.comuni > 1,
            names: row.names.iter().take(NAMES_MAX).map(|name| Shown::short(name)).collect(),
            names_more: row.names.len().saturating_sub(NAMES_MAX),
            first_at: When::new(row.first_at),
            last_at: When::new(row.last_at),
            inbound: Count(inbound),
            outbound: Count(outbound),
            others: Count(internal.saturating_add(transit)),
            indicators: Count(row.indicators),
        }
    }
}

impl TownView {
    fn of(town: &stored::OriginTown) -> Self {
        Self {
            name: Shown::short(&town.name),
            first_at: When::new(town.first_at),
            last_at: When::new(town.last_at),
            directions: town.directions.map(Count),
        }
    }
}

impl CandidateView {
    fn of(named: &stored::NamedOrigin) -> Self {
        Self {
            address: Shown::new(&defang_address(&named.address)),
            hits: Count(named.hits),
            comuni: Count(named.comuni),
            last_at: When::new(named.last_at),
        }
    }
}

impl SeenWith {
    fn of(row: &stored::OriginIndicator) -> Self {
        let comuni = Count(row.comuni);
        match row.json.as_deref().and_then(IndicatorView::read) {
            Some(view) => {
                Self { looks_for: view.looks_for, threat: view.threat, severity: view.severity, comuni }
            }
            // In a plain list the identifier is the value, whose kind is not known here.
            None => Self {
                looks_for: Shown::short(&defang("url", &row.id)),
                threat: Shown::default(),
                severity: None,
                comuni,
            },
        }
    }
}
