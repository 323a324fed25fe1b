//! The bundles that the collector verified and offered, and what became of them on each sensor.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::chrome::{Chrome, Here, html};
use super::fault::Fault;
use super::routes::Console;
use super::session::Session;
use super::show::{Count, Shown, When};
use super::towns::SensorView;
use crate::store::console_towns as stored;

/// Bundles on the page; older ones are superseded many times over.
const PAGE_BUNDLES: u32 = 100;

#[derive(Template)]
#[template(path = "bundles.html")]
struct BundlesPage {
    chrome: Chrome,
    bundles: Vec<BundleView>,
    sensors: Vec<SensorView>,
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
        Ok((stored::bundles(db, PAGE_BUNDLES)?, stored::sensors(db)?, stored::town_names(db)?))
    });
    let (bundles, sensors, towns) = read.await?;
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
        bundles: bundles.iter().map(bundle).collect(),
        sensors: sensors
            .iter()
            .filter(|sensor| !sensor.revoked)
            .map(|sensor| SensorView::of(sensor, name(&sensor.comune), now))
            .collect(),
    })
}
