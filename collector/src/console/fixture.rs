//! A console over a store of invented towns, for tests and for eyes. Hits go in by the same door as a sensor's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, Response, StatusCode, header};
use protocol::identity::{AgentId, Epoch};
use protocol::message::{BundleOutcome, Record, SourceStatus};
use protocol::repository::Provenance;
use protocol::{BundleHeader, Hit, Indicator, Serial, Timestamp};
use tempfile::TempDir;
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::routes::{Console, router};
use crate::accounts;
use crate::arrivals::{Arrival, Arrivals};
use crate::authority::Issued;
use crate::bundles::rollout::Reach;
use crate::store::invitations::NewInvitation;
use crate::store::origins::Tally;
use crate::store::records::Clipped;
use crate::store::sensors::Applicant;
use crate::store::sessions::{self, Greeting, Health, Spool};
use crate::store::{Store, bundles, courses, invitations, sensors};

pub(super) const PASSWORD: &str = "correct horse battery";

/// The console, its store, and what a test turns.
pub(super) struct Fixture {
    pub(super) folder: TempDir,
    pub(super) store: Store,
    pub(super) arrivals: Arrivals,
    pub(super) router: Router,
    pub(super) stop: watch::Sender<bool>,
    clock: Arc<AtomicI64>,
}

/// A page as a test looks at it.
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) headers: axum::http::HeaderMap,
    pub(super) text: String,
}

/// A browser with its cookies.
#[derive(Clone, Default)]
pub(super) struct Browser {
    pub(super) cookies: Vec<(String, String)>,
}

pub(super) fn micros(utc: &str) -> i64 {
    utc.parse::<Timestamp>().unwrap().as_micros()
}

impl Fixture {
    /// An empty store with the operator `rossi`.
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("store.sqlite")).unwrap();
        accounts::add(&store, &"rossi".parse().unwrap(), PASSWORD).await.unwrap();
        let clock = Arc::new(AtomicI64::new(micros("2026-11-22T10:00:00Z")));
        let (arrivals, (stop, stopping)) = (Arrivals::default(), watch::channel(false));
        let time = Arc::clone(&clock);
        let now = Arc::new(move || Timestamp::from_micros(time.load(Ordering::SeqCst)));
        let stand_in = accounts::hash_password(&accounts::generate_password()).unwrap();
        let router = router(Console::new(store.clone(), arrivals.clone(), stopping, stand_in, now));
        Self { folder, store, arrivals, router, stop, clock }
    }

    pub(super) fn pass_seconds(&self, seconds: i64) {
        self.clock.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.clock.load(Ordering::SeqCst))
    }

    /// Enrols a sensor; `number` makes its identifier.
    pub(super) async fn enrol(&self, name: &str, number: u8) -> Spool {
        let comune: protocol::identity::ComuneId = format!("9990{number:02}").parse().unwrap();
        let secret = format!("{number:02x}");
        let invitation = NewInvitation {
            istat: Some(comune.clone()),
            name: Some(name.into()),
            rename: false,
            replaces: None,
            secret_sha256: secret.clone(),
            expires_at: Timestamp::from_seconds(253_402_207_000, 0),
        };
        invitations::invite(&self.store, invitation).await.unwrap().unwrap();
        let applicant = Applicant {
            secret_sha256: secret.clone(),
            host_name: format!("gw-{comune}"),
            version: "0.1.0".into(),
        };
        let issue = move |_: &protocol::Identity| {
            let not_after = Timestamp::from_seconds(1_800_000_000, 0);
            Ok(Issued { serial: secret, not_after, chain_pem: String::new() })
        };
        let agent = AgentId([number; 16]);
        sensors::enrol(&self.store, applicant, agent, issue).await.unwrap().unwrap();
        Spool { comune, agent, epoch: Epoch([number; 16]) }
    }

    /// A session of the sensor as of `at`, with these sources.
    pub(super) async fn greet(&self, spool: &Spool, at: Timestamp, sources: Vec<SourceStatus>) {
        let spool = spool.clone();
        let greeting = Greeting {
            version: "0.1.0".into(),
            bundle: Serial(1),
            skew_micros: 350_000,
            address: format!("198.51.100.{}", spool.agent.0[0]),
            certificate: String::new(),
        };
        let health =
            Health { bundle: Serial(1), spooled: 3, skew_micros: 350_000, sources, fresh_until: None };
        let written = self.store.write(move |db| {
            sessions::greet(db, &spool, &greeting, at)?;
            sessions::keep_health(db, spool.agent, &health, at)
        });
        written.await.unwrap();
    }

    pub(super) async fn outcome(&self, spool: &Spool, serial: u64, outcome: BundleOutcome) {
        let (agent, at) = (spool.agent, self.now());
        let written =
            self.store.write(move |db| sessions::keep_outcome(db, agent, Serial(serial), &outcome, at));
        written.await.unwrap();
    }

    /// The sensor is told of a bundle.
    pub(super) async fn offered(&self, spool: &Spool, serial: u64) {
        let (agent, at) = (spool.agent, self.now());
        let written = self.store.write(move |db| courses::offered(db, agent, Serial(serial), at));
        written.await.unwrap();
    }

    /// Takes a bundle in, as after its verification.
    pub(super) async fn bundle(&self, serial: u64, indicators: Vec<Indicator>) {
        self.bundle_to(Reach::All, serial, indicators).await;
    }

    /// The same, for those whom it reaches at once.
    pub(super) async fn bundle_to(&self, reach: Reach, serial: u64, indicators: Vec<Indicator>) {
        self.bundle_by("11", reach, serial, indicators).await;
    }

    /// The same, signed by others.
    pub(super) async fn bundle_by(
        &self,
        signers: &str,
        reach: Reach,
        serial: u64,
        indicators: Vec<Indicator>,
    ) {
        let header = BundleHeader {
            vedetta_bundle: 1,
            serial: Serial(serial),
            created: self.now(),
            issuer: "cosc-esempio".into(),
            indicators: indicators.len() as u64,
            set: None,
        };
        bundles::keep_indicators(&self.store, Serial(serial), indicators).await.unwrap();
        let provenance =
            Provenance { signers: signers.repeat(32), sha256: format!("{signers}{serial:062x}") };
        let by = "urn:vedetta:desk:cosc-esempio".into();
        bundles::keep(&self.store, (header, provenance), by, reach).await.unwrap();
    }

    /// Stores records as the ingest does and announces them; gives the rows.
    pub(super) async fn store(&self, spool: &Spool, first: u64, records: Vec<Record>) -> Vec<i64> {
        let (spool, at, records) = (spool.clone(), self.now(), Clipped::from(records));
        let kept = self.store.write(move |db| {
            let mut origins = Tally::default();
            let rows = sessions::keep_records(db, (&spool, first, &records), &mut origins, at)?;
            origins.write(db)?;
            Ok(rows)
        });
        let rows = kept.await.unwrap().unwrap();
        for hit_row in &rows {
            self.arrivals.announce(Arrival { hit_row: *hit_row });
        }
        rows
    }

    pub(super) async fn ask(&self, request: Request<Body>) -> Response<Body> {
        let peer: SocketAddr = "192.0.2.77:50000".parse().unwrap();
        self.ask_from(peer, request).await
    }

    pub(super) async fn ask_from(&self, peer: SocketAddr, mut request: Request<Body>) -> Response<Body> {
        request.extensions_mut().insert(ConnectInfo(peer));
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(super) async fn page(&self, request: Request<Body>) -> Page {
        Page::of(self.ask(request).await).await
    }

    pub(super) async fn get(&self, browser: &Browser, path: &str) -> Page {
        self.page(browser.get(path)).await
    }

    /// A browser that signed in.
    pub(super) async fn signed_in(&self) -> Browser {
        let mut browser = Browser::default();
        let page = browser.sign_in(self, "rossi", PASSWORD).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
        browser
    }
}

impl Page {
    async fn of(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, 4 << 20).await.unwrap();
        Self { status: head.status, headers: head.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Browser {
    pub(super) fn get(&self, path: &str) -> Request<Body> {
        let request = Request::get(path).header(header::HOST, "console.example:8443");
        request.header(header::COOKIE, self.cookie_line()).body(Body::empty()).unwrap()
    }

    pub(super) fn post(&self, path: &str, form: &[(&str, &str)]) -> Request<Body> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        Request::post(path)
            .header(header::HOST, "console.example:8443")
            .header(header::ORIGIN, "null")
            .header("sec-fetch-site", "same-origin")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::COOKIE, self.cookie_line())
            .body(Body::from(body))
            .unwrap()
    }

    /// Opens the form and sends it, as a person does.
    pub(super) async fn sign_in(&mut self, fixture: &Fixture, name: &str, password: &str) -> Page {
        let page = fixture.get(self, "/sign-in").await;
        self.take_cookies(&page);
        let csrf = self.cookie("__Host-vedetta-form").to_owned();
        let form = [("csrf", csrf.as_str()), ("name", name), ("password", password), ("next", "/towns")];
        let page = fixture.page(self.post("/sign-in", &form)).await;
        self.take_cookies(&page);
        page
    }

    pub(super) fn cookie(&self, name: &str) -> &str {
        self.cookies.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub(super) fn take_cookies(&mut self, page: &Page) {
        for value in page.headers.get_all(header::SET_COOKIE) {
            let (name, value) = value.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    fn cookie_line(&self) -> String {
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }
}

/// A hit as a sensor sends it; `changes` are JSON fields that differ from an outbound DNS question.
pub(super) fn hit(number: u32, changes: serde_json::Value) -> Record {
    let mut json = serde_json::json!({
        "hit_id": format!("{number:032x}"), "at": "2026-11-22T09:59:00Z", "last_at": "2026-11-22T09:59:00Z",
        "input": "lan0", "kind": "domain", "value": "evil.example", "seen_in": "dns.query",
        "flow": {"proto": "udp", "src": "192.168.1.10", "src_port": 53124, "dst": "192.168.1.1", "dst_port": 53},
        "indicator": "indicator--1", "direction": "outbound", "host": "192.168.1.10", "count": 1, "bundle": 1,
        "evidence": "A evil.example",
    });
    json.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    if changes.get("line").is_some() {
        json.as_object_mut().unwrap().remove("flow");
    }
    Record::Hit(Box::new(serde_json::from_value::<Hit>(json).unwrap()))
}

/// An indicator for a value.
pub(super) fn indicator(id: &str, value: &str, changes: serde_json::Value) -> Indicator {
    let mut json = serde_json::to_value(Indicator::plain(protocol::LookFor::guess(value).unwrap())).unwrap();
    json["id"] = id.into();
    json.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(json).unwrap()
}
