//! Signing in and out. A wrong name and a wrong password look and last the same; failures slow down whoever
//! guesses, by name and by address, whether the name exists or not.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use askama::Template;
use axum::extract::{ConnectInfo, Form, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::chrome::{Chrome, html};
use super::fault::Fault;
use super::routes::Console;
use super::session::{self, FORM_COOKIE, SESSION_COOKIE, Session};
use super::show::Shown;
use crate::accounts::{OperatorName, verify_password};
use crate::store::console_accounts::{self as stored, NewSession};
use crate::store::{StoreError, audit};

/// Failures that cost nothing, then the first wait, which doubles with each further one up to the longest.
struct Patience {
    free: i64,
    first_seconds: i64,
    longest_seconds: i64,
}

/// The longest wait is short enough that guessing at a name does not lock its owner out of a shift.
const PATIENCE_BY_NAME: Patience = Patience { free: 3, first_seconds: 5, longest_seconds: 300 };
/// Many operators may share one address.
const PATIENCE_BY_ADDRESS: Patience = Patience { free: 10, first_seconds: 5, longest_seconds: 900 };
/// Failures count for an hour.
const FAILURES_COUNT_MICROS: i64 = 60 * 60 * 1_000_000;
/// A longer text is no operator's name.
const NAME_CHARS_MAX: usize = 64;

#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct Entry {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct Leave {
    #[serde(default)]
    csrf: String,
}

/// What is said above the form, as `it` and `en`.
struct Trouble {
    it: String,
    en: String,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    chrome: Chrome,
    csrf: &'a str,
    next: &'a str,
    name: Shown,
    trouble: Option<Trouble>,
}

/// The form.
pub(super) async fn page(
    session: Option<Session>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let next = own_path(&wanted.next);
    if session.is_some() {
        return Ok(Redirect::to(next).into_response());
    }
    form(&headers, next, "", None)
}

/// The form sent: a session begins, or the form comes again with the reason.
pub(super) async fn enter(
    State(console): State<Console>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Form(entry): Form<Entry>,
) -> Result<Response, Fault> {
    let next = own_path(&entry.next);
    let expected = session::cookie(&headers, FORM_COOKIE).filter(|token| token.len() == 64);
    if !expected.is_some_and(|expected| session::same(expected, &entry.csrf)) {
        let mut again = form(&headers, next, &entry.name, Some(stale()))?;
        *again.status_mut() = StatusCode::FORBIDDEN;
        return Ok(again);
    }
    let attempt = Attempt::new(&console, &entry.name, peer.ip().to_canonical());
    if let Some(seconds) = attempt.note(&console).await? {
        tracing::info!(address = %attempt.address, "sign-in throttled");
        let mut again = form(&headers, next, &entry.name, Some(throttled(seconds)))?;
        *again.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        again.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        return Ok(again);
    }
    if !verified(&console, attempt.name.as_ref(), entry.password).await? {
        attempt.refused(&console).await?;
        tracing::info!(address = %attempt.address, "sign-in refused");
        let mut again = form(&headers, next, &entry.name, Some(wrong()))?;
        *again.status_mut() = StatusCode::FORBIDDEN;
        return Ok(again);
    }
    let token = attempt.succeeded(&console, session::cookie(&headers, SESSION_COOKIE)).await?;
    let mut response = Redirect::to(next).into_response();
    set_cookie(&mut response, SESSION_COOKIE, &token)?;
    Ok(response)
}

/// Ends the session.
pub(super) async fn leave(
    State(console): State<Console>,
    session: Session,
    Form(form): Form<Leave>,
) -> Result<Response, Fault> {
    session.check_form(&form.csrf)?;
    console
        .store
        .write(move |db| {
            stored::close_session(db, &session.token_sha256)?;
            audit::record(db, &session.operator, "sign-out", &session.operator)
        })
        .await?;
    let mut response = Redirect::to("/sign-in").into_response();
    set_cookie(&mut response, SESSION_COOKIE, "")?;
    Ok(response)
}

fn form(headers: &HeaderMap, next: &str, name: &str, trouble: Option<Trouble>) -> Result<Response, Fault> {
    let known = session::cookie(headers, FORM_COOKIE).filter(|token| token.len() == 64);
    let csrf = known.map_or_else(session::new_token, str::to_owned);
    let name: String = name.chars().take(NAME_CHARS_MAX).collect();
    let page =
        SignInPage { chrome: Chrome::for_anybody(), csrf: &csrf, next, name: Shown::new(&name), trouble };
    let mut response = html(&page)?;
    set_cookie(&mut response, FORM_COOKIE, &csrf)?;
    Ok(response)
}

fn set_cookie(response: &mut Response, name: &str, token: &str) -> Result<(), Fault> {
    let value = HeaderValue::try_from(session::set_cookie(name, token));
    let value = value.map_err(|_| Fault::BadRequest("a cookie with strange characters"))?;
    response.headers_mut().append(header::SET_COOKIE, value);
    Ok(())
}

/// A path of this console, whatever was asked for: a sign-in leads nowhere else.
fn own_path(wanted: &str) -> &str {
    let own = wanted.starts_with('/')
        && !wanted.starts_with("//")
        && wanted.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if own { wanted } else { "/hits" }
}

/// Takes as long for an unknown name as for a known one.
async fn verified(console: &Console, name: Option<&OperatorName>, password: String) -> Result<bool, Fault> {
    let wanted = name.map(|name| name.as_str().to_owned()).unwrap_or_default();
    let hash = console.store.look_up(move |db| stored::password_hash(db, &wanted)).await?;
    let permit = Arc::clone(&console.verifications).acquire_owned().await;
    let permit = permit.map_err(|_| Fault::Broken("no more verifications"))?;
    let stand_in = Arc::clone(&console.stand_in);
    let verifying = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let fits = verify_password(&password, hash.as_deref().unwrap_or(&stand_in));
        fits && hash.is_some()
    });
    verifying.await.map_err(|_| Fault::Broken("a verification ended early"))
}

/// One attempt to sign in. It counts as failed from its beginning, so that many at once are no way around the wait.
struct Attempt {
    name: Option<OperatorName>,
    address: IpAddr,
    by_name: String,
    by_address: String,
    at: i64,
}

impl Attempt {
    fn new(console: &Console, name: &str, address: IpAddr) -> Self {
        let name: Option<OperatorName> = name.trim().parse().ok();
        // Whatever is no name at all shares one count: nobody fills the store with inventions.
        let by_name = name.as_ref().map_or_else(|| "name:".to_owned(), |name| format!("name:{name}"));
        Self { name, address, by_name, by_address: address_subject(address), at: console.now() }
    }

    /// The seconds to wait, or nothing and the attempt is noted.
    async fn note(&self, console: &Console) -> Result<Option<i64>, Fault> {
        let (by_name, by_address, at) = (self.by_name.clone(), self.by_address.clone(), self.at);
        let wait = console.store.write(move |db| {
            let since = at.saturating_sub(FAILURES_COUNT_MICROS);
            stored::forget_old_failures(db, since)?;
            let name = PATIENCE_BY_NAME.seconds_left(stored::failures(db, &by_name, since)?, at);
            let address = PATIENCE_BY_ADDRESS.seconds_left(stored::failures(db, &by_address, since)?, at);
            let wait = name.max(address);
            if wait == 0 {
                stored::note_failure(db, &by_name, at)?;
                stored::note_failure(db, &by_address, at)?;
            }
            Ok(wait)
        });
        Ok(Some(wait.await?).filter(|wait| *wait > 0))
    }

    /// Records a refusal, under the name only when an operator has it: what else is typed there may be a password.
    /// Either way one row is written, so that the answer takes as long.
    async fn refused(&self, console: &Console) -> Result<(), Fault> {
        let name = self.name.clone();
        let address = self.address.to_string();
        let recorded = console.store.write(move |db| {
            let name = name.as_ref().map_or("", OperatorName::as_str);
            let known = stored::password_hash(db, name)?.is_some();
            audit::record(db, if known { name } else { "unknown" }, "sign-in refused", &address)
        });
        Ok(recorded.await?)
    }

    /// Begins a session with a new token and ends the one that the browser had.
    async fn succeeded(&self, console: &Console, old_token: Option<&str>) -> Result<String, Fault> {
        let Some(name) = self.name.clone() else { return Err(Fault::Broken("verified without a name")) };
        let token = session::new_token();
        let sha256 = session::token_sha256(&token);
        let old = old_token.map(session::token_sha256);
        let csrf_token = session::new_token();
        let (by_name, by_address, noted_at) = (self.by_name.clone(), self.by_address.clone(), self.at);
        let (address, now) = (self.address.to_string(), console.now());
        let begun = console.store.write(move |db| -> Result<(), StoreError> {
            stored::forget_failures(db, &by_name)?;
            stored::take_back_failure(db, &by_address, noted_at)?;
            stored::forget_ended_sessions(db, now, session::idle_since(now))?;
            if let Some(old) = old {
                stored::close_session(db, &old)?;
            }
            let operator = name.as_str();
            stored::open_session(
                db,
                &NewSession {
                    token_sha256: &sha256,
                    operator,
                    csrf_token: &csrf_token,
                    created_at: now,
                    expires_at: session::end_of_life(now),
                },
            )?;
            audit::record(db, operator, "sign-in", &address)
        });
        begun.await?;
        Ok(token)
    }
}

impl Patience {
    /// How long to wait after these failures; 0 when the next attempt may come.
    fn seconds_left(&self, failures: stored::Failures, now: i64) -> i64 {
        let (Some(last_at), further) = (failures.last_at, failures.count - self.free) else { return 0 };
        if further < 0 {
            return 0;
        }
        let doublings = u32::try_from(further.min(20)).unwrap_or(20);
        let wait = self.first_seconds.saturating_mul(1_i64 << doublings).min(self.longest_seconds);
        let left = last_at.saturating_add(wait * 1_000_000).saturating_sub(now);
        // A clock that was set back must not lock anybody out for longer than the wait itself.
        (left.max(0) + 999_999).div_euclid(1_000_000).min(wait)
    }
}

/// An IPv6 customer has a /64 at least: its addresses are one subject.
fn address_subject(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("address:{address}"),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("address:{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

fn wrong() -> Trouble {
    Trouble { it: "Nome o password non corretti.".to_owned(), en: "Wrong name or password.".to_owned() }
}

fn stale() -> Trouble {
    Trouble {
        it: "La pagina era scaduta: inserisci di nuovo la password.".to_owned(),
        en: "The page had expired: enter the password again.".to_owned(),
    }
}

fn throttled(seconds: i64) -> Trouble {
    let (it, en) = if seconds < 120 {
        (format!("{seconds} secondi"), format!("{seconds} seconds"))
    } else {
        let minutes = (seconds + 59) / 60;
        (format!("{minutes} minuti"), format!("{minutes} minutes"))
    };
    Trouble {
        it: format!("Troppi tentativi falliti: riprova tra {it}."),
        en: format!("Too many failed attempts: try again in {en}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::console_accounts::Failures;

    #[test]
    fn the_wait_grows_with_each_failure_and_ends() {
        let wait = |count, passed: i64| {
            let failures = Failures { count, last_at: Some(0) };
            PATIENCE_BY_NAME.seconds_left(failures, passed * 1_000_000)
        };
        assert_eq!([0, 1, 2].map(|count| wait(count, 0)), [0, 0, 0]);
        assert_eq!([3, 4, 5, 6, 9, 1000].map(|count| wait(count, 0)), [5, 10, 20, 40, 300, 300]);
        assert_eq!([wait(4, 9), wait(4, 10), wait(4, 11)], [1, 0, 0]);
        assert_eq!(wait(4, -100_000), 10, "a clock set back");
    }

    #[test]
    fn a_sign_in_leads_to_this_console_only() {
        for (wanted, path) in [
            ("/hits?kind=ip&after=3", "/hits?kind=ip&after=3"),
            ("//evil.example/", "/hits"),
            ("/\\evil.example", "/hits"),
            ("https://evil.example/", "/hits"),
            ("/hits\r\nSet-Cookie: a=b", "/hits"),
            ("", "/hits"),
        ] {
            assert_eq!(own_path(wanted), path, "{wanted:?}");
        }
    }

    #[test]
    fn addresses_of_one_customer_are_one_subject() {
        assert_eq!(address_subject("2001:db8:1:2::3".parse().unwrap()), "address:2001:db8:1:2::/64");
        assert_eq!(address_subject("192.0.2.1".parse().unwrap()), "address:192.0.2.1");
    }
}
