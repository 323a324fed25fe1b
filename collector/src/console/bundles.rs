//! The bundles that the collector verified and offered, and what became of them on each sensor.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::chrome::{Chrome, Here, html};
use super::fault::Fault;
use super::routes::Console;
use super::session::Session;
use super::show::{Count, Maybe, Shown, When, when};
use super::words::{self, Label, Marked};
use crate::store::console_towns as stored;
use crate::store::lag::{self, Progress};
use crate::store::rollouts::{self, Rollout};

/// Bundles on the page; older ones are superseded many times over.
const PAGE_BUNDLES: u32 = 100;

#[derive(Template)]
#[template(path = "bundles.html")]
struct BundlesPage {
    chrome: Chrome,
    upkeep: Option<UpkeepView>,
    rollout: Option<RolloutView>,
    bundles: Vec<BundleView>,
    sensors: Vec<ProgressView>,
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

/// A bundle that some towns have first.
struct RolloutView {
    serial: u64,
    before: u64,
    label: Label,
    class: &'static str,
    symbol: &'static str,
    towns: Vec<Shown>,
    is_watched: bool,
    until: When,
    reason: Shown,
}

impl RolloutView {
    fn of(rollout: &Rollout) -> Self {
        let (label, class, symbol) = match rollout.state.as_str() {
            "canary" => (Label { it: "in prova", en: "first towns only" }, "wait", "…"),
            "release_asked" | "released" => {
                (Label { it: "estesa a tutti", en: "for all towns" }, "good", "✓")
            }
            "stopped" => (Label { it: "FERMATA", en: "stopped" }, "bad", "✕"),
            _ => (Label { it: "sostituita", en: "replaced" }, "wait", "…"),
        };
        Self {
            serial: rollout.serial,
            before: rollout.before,
            label,
            class,
            symbol,
            towns: rollout.towns.iter().map(|town| Shown::short(town)).collect(),
            is_watched: rollout.state == "canary",
            until: When::new(rollout.until().as_micros()),
            reason: Shown::new(&rollout.reason),
        }
    }
}

/// A sensor and the bundles that it was offered.
struct ProgressView {
    comune: String,
    town: Shown,
    host_name: Shown,
    first: bool,
    offered: u64,
    in_force: u64,
    outcome: Option<Marked>,
    outcome_of: u64,
    outcome_at: Maybe<When>,
    refusal: Shown,
    behind: u64,
    behind_since: Maybe<When>,
    stale: bool,
}

impl ProgressView {
    fn of(sensor: &Progress, now: i64) -> Self {
        let at = |time: Option<protocol::Timestamp>| when(time.map(|time| time.as_micros()));
        Self {
            comune: sensor.comune.clone(),
            town: Shown::short(&sensor.comune_name),
            host_name: Shown::short(&sensor.host_name),
            first: sensor.first,
            offered: sensor.offered,
            in_force: sensor.in_force,
            outcome: words::outcome(&sensor.outcome),
            outcome_of: sensor.outcome_of,
            outcome_at: at(sensor.outcome_at),
            refusal: Shown::new(if sensor.outcome == "refused" { &sensor.reason } else { "" }),
            behind: sensor.behind,
            behind_since: at(sensor.behind_since),
            stale: sensor.fresh_until.is_some_and(|until| until.as_micros() < now),
        }
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
    withdrawn_at: Option<When>,
}

/// The page.
pub(super) async fn page(State(console): State<Console>, session: Session) -> Result<Response, Fault> {
    let now = console.now();
    let read = console.store.look_up(|db| {
        Ok((
            stored::bundles(db, PAGE_BUNDLES)?,
            stored::upkeep(db)?,
            lag::progress(db)?,
            rollouts::newest(db)?,
        ))
    });
    let (bundles, upkeep, sensors, rollout) = read.await?;
    let bundle = |row: &stored::Bundle| BundleView {
        serial: row.serial,
        issuer: Shown::short(&row.issuer),
        created_at: When::new(row.created_at),
        received_at: When::new(row.received_at),
        pushed_by: Shown::short(&row.pushed_by),
        indicators: Count(row.indicators),
        in_force: Count(row.in_force),
        refused: Count(row.refused),
        withdrawn_at: row.withdrawn_at.map(When::new),
    };
    html(&BundlesPage {
        chrome: Chrome::of(&session, Here::Bundles),
        upkeep: upkeep.map(|upkeep| UpkeepView::of(&upkeep, now)),
        rollout: rollout.map(|rollout| RolloutView::of(&rollout)),
        bundles: bundles.iter().map(bundle).collect(),
        sensors: sensors.iter().map(|sensor| ProgressView::of(sensor, now)).collect(),
    })
}
