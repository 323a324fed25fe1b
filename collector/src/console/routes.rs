//! Which address shows which page, and what every page works with.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use protocol::Timestamp;
use tokio::sync::{Semaphore, watch};

use super::fault::Fault;
use super::{bundles, fault, guard, hit, hits, live, origins, sign_in, towns};
use crate::arrivals::Arrivals;
use crate::store::{Store, console_hits};

/// Bytes of a form: two short texts and a token.
const FORM_BYTES_MAX: usize = 8 << 10;
/// Passwords that are verified at the same time; each takes 19 MiB and a core for a moment. More wait.
const VERIFICATIONS_MAX: usize = 2;

/// What every page works with; clones share it.
#[derive(Clone)]
pub(super) struct Console {
    pub(super) store: Store,
    pub(super) arrivals: Arrivals,
    pub(super) stopping: watch::Receiver<bool>,
    /// A password hash that no password fits: it is verified when a name is unknown, so that both take as long.
    pub(super) stand_in: Arc<str>,
    pub(super) verifications: Arc<Semaphore>,
    pub(super) live_pages: Arc<Semaphore>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Console {
    pub(super) fn new(
        store: Store,
        arrivals: Arrivals,
        stopping: watch::Receiver<bool>,
        stand_in: String,
        clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Self {
        Self {
            store,
            arrivals,
            stopping,
            stand_in: stand_in.into(),
            verifications: Arc::new(Semaphore::new(VERIFICATIONS_MAX)),
            live_pages: Arc::new(Semaphore::new(live::LIVE_PAGES_MAX)),
            clock,
        }
    }

    /// Now, in microseconds.
    pub(super) fn now(&self) -> i64 {
        (self.clock)().as_micros()
    }
}

/// The console's pages behind the guard.
pub(super) fn router(console: Console) -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::to("/hits") }))
        .route("/sign-in", get(sign_in::page).post(sign_in::enter))
        .route("/sign-out", post(sign_in::leave))
        .route("/hits", get(hits::page))
        .route("/hits/live", get(live::stream))
        .route("/hits/{id}", get(hit::page))
        .route("/origins", get(origins::page))
        .route("/origins/remote/{address}", get(origins::remote))
        .route("/origins/host/{comune}/{address}", get(origins::host))
        .route("/towns", get(towns::page))
        .route("/bundles", get(bundles::page))
        .route("/health", get(health))
        .route("/static/console.css", get(|| asset("text/css; charset=utf-8", CSS)))
        .route("/static/console.js", get(|| asset("text/javascript; charset=utf-8", JS)))
        .route("/static/vedetta.svg", get(|| asset("image/svg+xml", ICON)))
        .fallback(|| async { Fault::NotFound })
        .method_not_allowed_fallback(|| async { Fault::Method })
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(from_fn_with_state(console.clone(), fault::dress))
        .layer(from_fn_with_state(console.clone(), guard::guard))
        .with_state(console)
}

const CSS: &str = include_str!("../../assets/console.css");
const JS: &str = include_str!("../../assets/console.js");
const ICON: &str = include_str!("../../assets/vedetta.svg");

/// A file of this binary. It changes with the program only, and asking again costs little.
async fn asset(content_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")], text).into_response()
}

/// For monitoring: 200 when the store answers, 503 when it does not. Says nothing else to anybody.
async fn health(axum::extract::State(console): axum::extract::State<Console>) -> Response {
    match console.store.look_up(console_hits::newest_hit).await {
        Ok(_) => "ok\n".into_response(),
        Err(_) => (axum::http::StatusCode::SERVICE_UNAVAILABLE, "store does not answer\n").into_response(),
    }
}
