//! Towns and their sensors: which of them are silent, behind on bundles, losing packets or hits.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use protocol::message::SourceStatus;

use super::chrome::{Chrome, Here, html};
use super::fault::Fault;
use super::routes::Console;
use super::session::Session;
use super::show::{Count, Maybe, Shown, Span, When, when};
use super::words::{self, Label, Marked};
use crate::store::console_towns::{self as stored, Gap, Losses, Sensor, Town};
use crate::store::courses::{self, Course};

/// A sensor sends its health about once a minute: five without a message are silence.
const SILENT_AFTER_MICROS: i64 = 5 * 60 * 1_000_000;
/// A clock this far off makes the times of hits doubtful.
const SKEW_MAX_MICROS: i64 = 5 * 1_000_000;
/// Losses older than this are history.
const LOSSES_SHOWN_MICROS: i64 = 7 * 86_400 * 1_000_000;
/// How many places of a sensor's losses are named.
const GAPS_SHOWN_MAX: u32 = 10;
const DAY_MICROS: i64 = 86_400 * 1_000_000;

#[derive(Template)]
#[template(path = "towns.html")]
struct TownsPage {
    chrome: Chrome,
    newest: i64,
    attention: Vec<Attention>,
    towns: Vec<TownView>,
    sensors_count: usize,
    silent_count: usize,
    refused_count: usize,
    behind_count: usize,
}

/// A sensor that somebody should look at, and why.
struct Attention {
    mark: Marked,
    comune: String,
    town: Shown,
    host_name: Shown,
}

struct TownView {
    id: String,
    name: Shown,
    hits_recent: Count,
    last_hit_at: Maybe<When>,
    sensors: Vec<SensorView>,
}

/// A sensor as pages show it.
pub(super) struct SensorView {
    pub(super) id: Shown,
    pub(super) host_name: Shown,
    pub(super) version: Shown,
    pub(super) address: Shown,
    pub(super) state: Marked,
    pub(super) revoked_reason: Shown,
    pub(super) last_seen: Option<LastSeen>,
    pub(super) enrolled_at: When,
    pub(super) certificate_until: Maybe<When>,
    pub(super) certificate_ended: bool,
    pub(super) twin_signs: Vec<Label>,
    pub(super) twin_at: Maybe<When>,
    pub(super) replaces: Shown,
    pub(super) replaced_by: Shown,
    pub(super) in_force: i64,
    pub(super) offered: i64,
    pub(super) outcome: Option<Marked>,
    pub(super) outcome_at: Maybe<When>,
    pub(super) refusal: Shown,
    pub(super) stale: Option<Marked>,
    pub(super) fresh_until: Maybe<When>,
    pub(super) spooled: Count,
    pub(super) skew: Skew,
    pub(super) skew_bad: bool,
    pub(super) sources: Vec<SourceView>,
    pub(super) losses: Vec<LossView>,
    pub(super) courses: Vec<CourseView>,
}

/// What became of one bundle.
pub(super) struct CourseView {
    pub(super) serial: u64,
    pub(super) offered_at: Maybe<When>,
    pub(super) fetched_at: Maybe<When>,
    pub(super) applied_at: Maybe<When>,
    pub(super) refused_at: Option<When>,
    pub(super) reason: Shown,
}

pub(super) struct LastSeen {
    pub(super) at: When,
    pub(super) ago: Span,
}

pub(super) struct SourceView {
    pub(super) name: Shown,
    pub(super) kind: Label,
    pub(super) read: Count,
    pub(super) dropped: Count,
    pub(super) drops: bool,
    pub(super) hits: Count,
    pub(super) trouble: Shown,
}

pub(super) struct LossView {
    pub(super) count: Count,
    pub(super) reason: Label,
    pub(super) noticed_at: When,
    pub(super) gaps: Vec<GapView>,
}

pub(super) struct GapView {
    pub(super) input: Shown,
    pub(super) from: Count,
    pub(super) to: Option<Count>,
    pub(super) noticed_at: When,
}

const CONNECTED: Marked =
    Marked { label: Label { it: "collegato", en: "connected" }, class: "good", symbol: "✓" };
const AWAY: Marked =
    Marked { label: Label { it: "scollegato da poco", en: "just left" }, class: "wait", symbol: "…" };
const SILENT: Marked =
    Marked { label: Label { it: "IN SILENZIO", en: "silent" }, class: "bad", symbol: "✕" };
const NEVER: Marked =
    Marked { label: Label { it: "mai collegato", en: "never connected" }, class: "bad", symbol: "✕" };
const REFUSED: Marked =
    Marked { label: Label { it: "raccolta rifiutata", en: "refused a bundle" }, class: "bad", symbol: "✕" };
const TROUBLE: Marked = Marked {
    label: Label { it: "fonte con problemi", en: "trouble with a source" },
    class: "wait",
    symbol: "⚠",
};
const STALE: Marked = Marked {
    label: Label {
        it: "firme scadute: forse non riceve le raccolte nuove",
        en: "stale: may be kept from newer bundles",
    },
    class: "bad",
    symbol: "⚠",
};
const TWIN: Marked = Marked {
    label: Label { it: "identità duplicata", en: "identity in use twice" },
    class: "bad",
    symbol: "⚠",
};
const ENDED: Marked =
    Marked {
        label: Label { it: "certificato scaduto", en: "certificate ended" }, class: "bad", symbol: "✕"
    };
const REVOKED: Marked =
    Marked { label: Label { it: "revocato", en: "revoked" }, class: "bad", symbol: "⊘" };

/// The page.
pub(super) async fn page(State(console): State<Console>, session: Session) -> Result<Response, Fault> {
    let now = console.now();
    let read = console.store.look_up(move |db| {
        let recent = now.saturating_sub(LOSSES_SHOWN_MICROS);
        let losses = (stored::losses(db, recent)?, stored::gaps(db, recent, GAPS_SHOWN_MAX)?);
        let towns = stored::towns(db, now.saturating_sub(DAY_MICROS))?;
        let bundles = (stored::newest_bundle(db)?, stored::withdrawn_bundles(db)?, courses::all(db)?);
        Ok((towns, stored::sensors(db)?, losses, bundles))
    });
    let (towns, sensors, (losses, gaps), (newest, withdrawn, courses)) = read.await?;
    let is_behind = |in_force: i64| in_force < newest || withdrawn.contains(&in_force);
    let losses: Vec<(&str, LossView)> =
        losses.iter().map(|loss| (loss.agent.as_str(), LossView::of(loss, &gaps))).collect();
    let in_use = || sensors.iter().filter(|sensor| !sensor.revoked);
    let page = TownsPage {
        chrome: Chrome::of(&session, Here::Towns),
        newest,
        sensors_count: sensors.len(),
        silent_count: in_use().filter(|sensor| is_silent(sensor, now)).count(),
        refused_count: in_use().filter(|sensor| sensor.bundle_outcome == "refused").count(),
        behind_count: in_use().filter(|sensor| is_behind(sensor.bundle_in_force)).count(),
        attention: in_use().flat_map(|sensor| attention(sensor, &towns, now)).collect(),
        towns: views(&towns, &sensors, (losses, courses), now),
    };
    html(&page)
}

/// The last bundles of each sensor by its identifier.
type Courses = HashMap<String, Vec<Course>>;

fn views(
    towns: &[Town],
    sensors: &[Sensor],
    (losses, mut courses): (Vec<(&str, LossView)>, Courses),
    now: i64,
) -> Vec<TownView> {
    let mut by_sensor: HashMap<&str, Vec<LossView>> = HashMap::new();
    for (sensor, loss) in losses {
        by_sensor.entry(sensor).or_default().push(loss);
    }
    let mut by_town: HashMap<&str, Vec<SensorView>> = HashMap::new();
    for sensor in sensors {
        let losses = by_sensor.remove(sensor.id.as_str()).unwrap_or_default();
        let courses = courses.remove(&sensor.id).unwrap_or_default();
        let courses = courses.iter().map(CourseView::of).collect();
        let view = SensorView { losses, courses, ..SensorView::of(sensor, now) };
        by_town.entry(&sensor.comune).or_default().push(view);
    }
    let view = |town: &Town| TownView {
        id: town.id.clone(),
        name: Shown::new(&town.name),
        hits_recent: Count(town.hits_recent),
        last_hit_at: when(town.last_hit_at),
        sensors: by_town.remove(town.id.as_str()).unwrap_or_default(),
    };
    towns.iter().map(view).collect()
}

fn attention(sensor: &Sensor, towns: &[Town], now: i64) -> Vec<Attention> {
    let town = name_of(towns, sensor);
    let sources: Vec<SourceStatus> = serde_json::from_str(&sensor.sources).unwrap_or_default();
    let marks = [
        is_silent(sensor, now).then(|| state(sensor, now)),
        sensor.twin_at.is_some().then_some(TWIN),
        has_ended(sensor, now).then_some(ENDED),
        (sensor.bundle_outcome == "refused").then_some(REFUSED),
        is_stale(sensor, now).then_some(STALE),
        sources.iter().any(|source| !source.trouble.is_empty()).then_some(TROUBLE),
    ];
    let entry = |mark| Attention {
        mark,
        comune: sensor.comune.clone(),
        town: Shown::short(town),
        host_name: Shown::short(&sensor.host_name),
    };
    marks.into_iter().flatten().map(entry).collect()
}

fn name_of<'a>(towns: &'a [Town], sensor: &Sensor) -> &'a str {
    towns.iter().find(|town| town.id == sensor.comune).map_or("", |town| town.name.as_str())
}

fn has_ended(sensor: &Sensor, now: i64) -> bool {
    sensor.certificate_until.is_some_and(|until| until <= now)
}

fn is_silent(sensor: &Sensor, now: i64) -> bool {
    sensor.last_seen_at.is_none_or(|seen| now.saturating_sub(seen) > SILENT_AFTER_MICROS)
}

/// Whether nothing fresh reached it in time; a silent sensor does not know.
fn is_stale(sensor: &Sensor, now: i64) -> bool {
    !is_silent(sensor, now) && sensor.fresh_until.is_some_and(|until| until < now)
}

fn state(sensor: &Sensor, now: i64) -> Marked {
    if sensor.revoked {
        REVOKED
    } else if sensor.last_seen_at.is_none() {
        NEVER
    } else if is_silent(sensor, now) {
        SILENT
    } else if sensor.connected {
        CONNECTED
    } else {
        AWAY
    }
}

impl SensorView {
    pub(super) fn of(sensor: &Sensor, now: i64) -> Self {
        let sources: Vec<SourceStatus> = serde_json::from_str(&sensor.sources).unwrap_or_default();
        let refused = sensor.bundle_outcome == "refused";
        Self {
            id: Shown::new(&sensor.id),
            host_name: Shown::short(&sensor.host_name),
            version: Shown::short(&sensor.version),
            address: Shown::new(sensor.address.as_deref().unwrap_or("—")),
            state: state(sensor, now),
            revoked_reason: Shown::new(if sensor.revoked { &sensor.revoked_reason } else { "" }),
            last_seen: sensor.last_seen_at.map(|seen| LastSeen {
                at: When::new(seen),
                ago: Span::micros(now.saturating_sub(seen).max(0)),
            }),
            enrolled_at: When::new(sensor.enrolled_at),
            certificate_until: when(sensor.certificate_until),
            certificate_ended: !sensor.revoked && has_ended(sensor, now),
            twin_signs: match (sensor.revoked, sensor.twin_signs.as_str()) {
                (true, _) | (_, "") => Vec::new(),
                (false, signs) => signs.split(',').map(words::twin_sign).collect(),
            },
            twin_at: when(sensor.twin_at),
            replaces: Shown::new(sensor.replaces.as_deref().unwrap_or_default()),
            replaced_by: Shown::new(sensor.replaced_by.as_deref().unwrap_or_default()),
            in_force: sensor.bundle_in_force,
            offered: sensor.bundle_offered,
            outcome: words::outcome(&sensor.bundle_outcome),
            outcome_at: when(sensor.bundle_at),
            refusal: Shown::new(if refused { &sensor.bundle_reason } else { "" }),
            stale: is_stale(sensor, now).then_some(STALE),
            fresh_until: when(sensor.fresh_until),
            spooled: Count(sensor.spooled),
            skew: Skew(sensor.skew_micros),
            skew_bad: sensor.skew_micros.unsigned_abs() > SKEW_MAX_MICROS.unsigned_abs(),
            sources: sources.iter().map(SourceView::of).collect(),
            losses: Vec::new(),
            courses: Vec::new(),
        }
    }
}

impl CourseView {
    fn of(course: &Course) -> Self {
        let at = |time: Option<protocol::Timestamp>| when(time.map(|time| time.as_micros()));
        Self {
            serial: course.serial,
            offered_at: at(course.offered_at),
            fetched_at: at(course.fetched_at),
            applied_at: at(course.applied_at),
            refused_at: course.refused_at.map(|time| When::new(time.as_micros())),
            reason: Shown::new(&course.reason),
        }
    }
}

impl SourceView {
    fn of(source: &SourceStatus) -> Self {
        let count = |number: u64| Count(i64::try_from(number).unwrap_or(i64::MAX));
        Self {
            name: Shown::short(&source.name),
            kind: words::source(&source.kind),
            read: count(source.read),
            dropped: count(source.dropped),
            drops: source.dropped > 0,
            hits: count(source.hits),
            trouble: Shown::new(&source.trouble),
        }
    }
}

impl LossView {
    fn of(loss: &Losses, gaps: &[Gap]) -> Self {
        let gaps = gaps.iter().filter(|gap| gap.agent == loss.agent && gap.reason == loss.reason);
        Self {
            count: Count(loss.count),
            reason: words::loss(&loss.reason),
            noticed_at: When::new(loss.noticed_at),
            gaps: gaps.map(GapView::of).collect(),
        }
    }
}

impl GapView {
    fn of(gap: &Gap) -> Self {
        Self {
            input: Shown::new(&gap.input),
            from: Count(gap.from),
            to: gap.to.map(Count),
            noticed_at: When::new(gap.noticed_at),
        }
    }
}

/// A sensor's clock against the collector's: `+0,350 s`, or a span when it is far off.
pub(super) struct Skew(i64);

impl std::fmt::Display for Skew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { '−' } else { '+' };
        let millis = self.0.unsigned_abs() / 1000;
        if millis < 60_000 {
            write!(f, "{sign}{},{:03} s", millis / 1000, millis % 1000)
        } else {
            write!(f, "{sign}{}", Span::micros(self.0))
        }
    }
}
