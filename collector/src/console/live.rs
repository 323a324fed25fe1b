//! New hits as server-sent events. Announcements only wake this up: what is sent comes from the store, from the last
//! row that the browser has on, so that a lost connection or a missed announcement loses no row.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::sleep;

use super::fault::Fault;
use super::hits::{HitQuery, HitView};
use super::routes::Console;
use super::session::{self, SESSION_COOKIE};
use crate::arrivals::Arrival;
use crate::store::console_hits::{self as stored, HitFilter};

/// Live pages at the same time, of all operators.
pub(super) const LIVE_PAGES_MAX: usize = 128;
/// Rows that a browser is sent at once; with more it is told to load the page again.
const ROWS_AT_ONCE_MAX: u32 = 300;
/// Rows whose count rose that are sent again at once; the others change with the next load of the page.
const CHANGED_AT_ONCE_MAX: usize = 50;
/// Announcements of this long are answered together.
const GATHER: Duration = Duration::from_millis(150);
/// A session that ended is noticed within this long, and proxies see that the connection lives.
const CHECK_EVERY: Duration = Duration::from_secs(20);
/// After a lost connection the browser comes back this soon.
const RETRY: Duration = Duration::from_secs(3);

#[derive(Template)]
#[template(path = "hit_row.html")]
struct HitRowPart {
    hit: HitView,
}

/// The stream of a page's new hits; `Last-Event-ID`, or else `after`, says what the browser has.
pub(super) async fn stream(
    State(console): State<Console>,
    headers: HeaderMap,
    Query(query): Query<HitQuery>,
) -> Result<Response, Fault> {
    let token = session::cookie(&headers, SESSION_COOKIE).map(session::token_sha256).unwrap_or_default();
    if session::alive(&console, &token).await?.is_none() {
        // A redirect or a refusal would make the browser's EventSource try for ever.
        let gone = stream::iter([Ok::<_, Infallible>(signed_out())]);
        return Ok(Sse::new(gone).into_response());
    }
    let place = Arc::clone(&console.live_pages).try_acquire_owned().map_err(|_| Fault::TooMany)?;
    let last_event = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let after = last_event.unwrap_or(&query.after);
    let last: i64 = after.parse().map_err(|_| Fault::BadRequest("a live page without its beginning"))?;
    let filter = query.filter(console.now())?;
    let feed = Feed {
        arrivals: console.arrivals.subscribe(),
        stopping: console.stopping.clone(),
        events: VecDeque::from([Event::default().retry(RETRY).comment("vedetta")]),
        changed: BTreeSet::new(),
        console,
        token,
        filter,
        last,
        fresh: true,
        ended: false,
        _place: place,
    };
    let events = stream::unfold(feed, |mut feed| async move {
        let event = feed.next().await?;
        Some((Ok::<_, Infallible>(event), feed))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(CHECK_EVERY)).into_response())
}

/// One live page.
struct Feed {
    console: Console,
    token: String,
    filter: HitFilter,
    /// The newest row that the browser has or does not want.
    last: i64,
    arrivals: broadcast::Receiver<Arrival>,
    stopping: watch::Receiver<bool>,
    events: VecDeque<Event>,
    /// Rows up to `last` whose count rose.
    changed: BTreeSet<i64>,
    /// Whether what was missed is still to be read.
    fresh: bool,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

/// What ends a wait.
enum Woken {
    Arrival(Arrival),
    Missed,
    Check,
    Stop,
}

impl Feed {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            if !self.fresh {
                self.wait().await;
            }
            self.fresh = false;
            if !self.ended && self.look().await.is_err() {
                // The store does not answer: the browser comes back and asks again from where it is.
                self.ended = true;
            }
        }
    }

    /// Until something arrived, the session is due for a look, or the console stops.
    async fn wait(&mut self) {
        let woken = tokio::select! {
            arrival = self.arrivals.recv() => match arrival {
                Ok(arrival) => Woken::Arrival(arrival),
                Err(RecvError::Lagged(_)) => Woken::Missed,
                Err(RecvError::Closed) => Woken::Stop,
            },
            // An error means that whoever stops the collector is gone.
            _ = self.stopping.wait_for(|stop| *stop) => Woken::Stop,
            () = sleep(CHECK_EVERY) => Woken::Check,
        };
        match woken {
            Woken::Arrival(arrival) => self.note(arrival),
            Woken::Missed => {}
            Woken::Check => return,
            Woken::Stop => {
                self.ended = true;
                return;
            }
        }
        sleep(GATHER).await;
        loop {
            match self.arrivals.try_recv() {
                Ok(arrival) => self.note(arrival),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn note(&mut self, arrival: Arrival) {
        if arrival.hit_row <= self.last && self.changed.len() < CHANGED_AT_ONCE_MAX {
            self.changed.insert(arrival.hit_row);
        }
    }

    /// Reads what is new and turns it into events.
    async fn look(&mut self) -> Result<(), Fault> {
        if session::alive(&self.console, &self.token).await?.is_none() {
            self.events.push_back(signed_out());
            self.ended = true;
            return Ok(());
        }
        let (filter, last, changed) = (self.filter.clone(), self.last, std::mem::take(&mut self.changed));
        let read = self.console.store.look_up(move |db| {
            let newest = stored::newest_hit(db)?;
            let rows = stored::hits_since(db, &filter, last, ROWS_AT_ONCE_MAX + 1)?;
            let again = changed.into_iter().map(|id| stored::hit_in(db, &filter, id));
            Ok((newest, rows, again.collect::<Result<Vec<_>, _>>()?))
        });
        let (newest, rows, again) = read.await?;
        if rows.len() > ROWS_AT_ONCE_MAX as usize {
            self.events.push_back(Event::default().event("reload").data("reload"));
            self.ended = true;
            return Ok(());
        }
        for row in again.iter().flatten() {
            self.events.push_back(Event::default().event("changed").data(part(HitView::of(row))?));
        }
        for row in &rows {
            let html = part(HitView::of(row))?;
            self.events.push_back(Event::default().event("hit").id(row.id.to_string()).data(html));
            self.last = self.last.max(row.id);
        }
        self.last = self.last.max(newest);
        Ok(())
    }
}

fn part(hit: HitView) -> Result<String, Fault> {
    // A carriage return would end a line of the event; shown text has none, the template's file may.
    Ok(HitRowPart { hit }.render()?.replace('\r', ""))
}

fn signed_out() -> Event {
    Event::default().event("signed-out").data("signed-out")
}
