//! The bundles that the collector verified and offered, and what became of them on each sensor.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::chrome::{Chrome, Here, html};
use super::fault::Fault;
use super::routes::Console;
use super::session::Session;
use super::show::{Count, Maybe, Shown, When, when};
use super::towns::SensorView;
use super::words::Label;
use crate::store::console_towns as stored;

/// Bundles on the page; older ones are superseded many times over.
const PAGE_BUNDLES: u32 = 100;

#[derive(Template)]
#[template(path = "bundles.html")]
struct BundlesPage {
    chrome: Chrome,
    upkeep: Option<UpkeepView>,
    bundles: Vec<BundleView>,
    sensors: Vec<SensorView>,
}

/// Who keeps the signatures on offer fresh, and until when they are.
struct UpkeepView {
    label: Label,
    class: &'static str,
    symbol: &'static str,
    until: Maybe<When>,
    trouble: Shown,
}

impl UpkeepView {
    fn of(upkeep: &stored::Upkeep, now: i64) -> Self {
        let is_over = upkeep.fresh_until.is_some_and(|until| until < now);
        let (label, class, symbol) = match upkeep.state.as_str() {
            _ if is_over => (
                Label {
                    it: "firme scadute: i sensori non si fidano più di questa offerta",
                    en: "signatures have expired: sensors take nothing new",
                },
                "bad",
                "✕",
            ),
            "signed" => (
                Label {
                    it: "rinnovate ogni ora da questo collettore",
                    en: "renewed every hour by this collector",
                },
                "good",
                "✓",
            ),
            "not_named" => (
                Label {
                    it: "valgono quelle del COSC: la sua radice non nomina la chiave di questo collettore (vedetta-collector online-key)",
                    en: "the desk's: its root does not name this collector's key",
                },
                "wait",
                "…",
            ),
            _ => (Label { it: "NON rinnovate", en: "not renewed" }, "bad", "✕"),
        };
        Self { label, class, symbol, until: when(upkeep.fresh_until), trouble: Shown::new(&upkeep.trouble) }
    }
}

struct BundleView {
    serial: i64,
    issuer: Shown,
    created_at: When,
    received_at: When,
    pushed_by: Shown,
    indicators: Count,
    in_force: Count,
    refused: Count,
}

/// The page.
pub(super) async fn page(State(console): State<Console>, session: Session) -> Result<Response, Fault> {
    let now = console.now();
    let read = console.store.look_up(|db| {
        let bundles = stored::bundles(db, PAGE_BUNDLES)?;
        Ok((bundles, stored::sensors(db)?, stored::town_names(db)?, stored::upkeep(db)?))
    });
    let (bundles, sensors, towns, upkeep) = read.await?;
    let towns: HashMap<String, String> = towns.into_iter().collect();
    let name = |comune: &str| towns.get(comune).map(String::as_str).unwrap_or_default();
    let bundle = |row: &stored::Bundle| BundleView {
        serial: row.serial,
        issuer: Shown::short(&row.issuer),
        created_at: When::new(row.created_at),
        received_at: When::new(row.received_at),
        pushed_by: Shown::short(&row.pushed_by),
        indicators: Count(row.indicators),
        in_force: Count(row.in_force),
        refused: Count(row.refused),
    };
    html(&BundlesPage {
        chrome: Chrome::of(&session, Here::Bundles),
        upkeep: upkeep.map(|upkeep| UpkeepView::of(&upkeep, now)),
        bundles: bundles.iter().map(bundle).collect(),
        sensors: sensors
            .iter()
            .filter(|sensor| !sensor.revoked)
            .map(|sensor| SensorView::of(sensor, name(&sensor.comune), now))
            .collect(),
    })
}
