//! Sessions: a random token in a cookie, its SHA-256 and everything else in the store.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use protocol::text::Hex;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::fault::Fault;
use super::routes::Console;
use crate::store::console_accounts::{self, SessionRow};

/// The session's cookie. `__Host-` binds it to this host, to HTTPS and to all paths (RFC 6265bis §4.1.3.2).
pub(super) const SESSION_COOKIE: &str = "__Host-vedetta";
/// The cookie that binds the sign-in form to the browser that asked for it.
pub(super) const FORM_COOKIE: &str = "__Host-vedetta-form";
/// A session ends after this long without a request; a live page on a wall does not count as one
/// (NIST SP 800-63B-4 §2.2.3 asks for an hour at most).
const IDLE_MICROS: i64 = 60 * 60 * 1_000_000;
/// A session ends after this long, whatever happens: one shift.
const LIFE_MICROS: i64 = 12 * 60 * 60 * 1_000_000;
/// How far behind the stored time of last use may be: it saves a write on each request.
const TOUCH_MICROS: i64 = 60 * 1_000_000;

/// A signed-in operator. As an argument of a handler it sends everybody else to the sign-in.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) operator: String,
    pub(super) csrf_token: String,
    pub(super) token_sha256: String,
}

impl Session {
    /// Refuses a form that does not carry this session's token.
    pub(super) fn check_form(&self, csrf: &str) -> Result<(), Fault> {
        if same(csrf, &self.csrf_token) { Ok(()) } else { Err(Fault::Forbidden("wrong form token")) }
    }
}

/// A token of 256 random bits, hexadecimal.
pub(super) fn new_token() -> String {
    Hex(&rand::random::<[u8; 32]>()).to_string()
}

/// What the store knows a token by.
pub(super) fn token_sha256(token: &str) -> String {
    Hex(&Sha256::digest(token.as_bytes())).to_string()
}

/// Whether two tokens are the same; the time it takes does not say where they differ.
pub(super) fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

/// When a session that begins now ends at the latest.
pub(super) fn end_of_life(now: i64) -> i64 {
    now.saturating_add(LIFE_MICROS)
}

/// Sessions last used before this have ended.
pub(super) fn idle_since(now: i64) -> i64 {
    now.saturating_sub(IDLE_MICROS)
}

/// The session of a request, noting that it was used.
pub(super) async fn of(console: &Console, headers: &HeaderMap) -> Result<Option<Session>, Fault> {
    let Some(token) = cookie(headers, SESSION_COOKIE) else { return Ok(None) };
    let token_sha256 = token_sha256(token);
    let Some(row) = alive(console, &token_sha256).await? else { return Ok(None) };
    let now = console.now();
    if now.saturating_sub(row.last_used_at) > TOUCH_MICROS {
        let used = token_sha256.clone();
        console.store.write(move |db| Ok(console_accounts::touch_session(db, &used, now)?)).await?;
    }
    Ok(Some(Session { operator: row.operator, csrf_token: row.csrf_token, token_sha256 }))
}

/// The stored session when it has not ended; does not count as use.
pub(super) async fn alive(console: &Console, token_sha256: &str) -> Result<Option<SessionRow>, Fault> {
    let wanted = token_sha256.to_owned();
    let row = console.store.look_up(move |db| console_accounts::session(db, &wanted)).await?;
    let now = console.now();
    Ok(row.filter(|row| now < row.expires_at && row.last_used_at >= idle_since(now)))
}

/// The value of a cookie; of two with the same name, the first.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// A `Set-Cookie` value; an empty token takes the cookie back.
pub(super) fn set_cookie(name: &str, token: &str) -> String {
    let age = if token.is_empty() { "; Max-Age=0" } else { "" };
    format!("{name}={token}; Path=/; Secure; HttpOnly; SameSite=Strict{age}")
}

/// To the sign-in, and back afterwards.
pub(super) fn to_sign_in(uri: &Uri) -> Redirect {
    let wanted = uri.path_and_query().map_or("/", |wanted| wanted.as_str());
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("next", wanted).finish();
    Redirect::to(&format!("/sign-in?{query}"))
}

impl FromRequestParts<Console> for Session {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Response> {
        match of(console, &parts.headers).await {
            Ok(Some(session)) => Ok(session),
            Ok(None) if parts.method == Method::GET || parts.method == Method::HEAD => {
                Err(to_sign_in(&parts.uri).into_response())
            }
            Ok(None) => Err(Redirect::to("/sign-in").into_response()),
            Err(fault) => Err(fault.into_response()),
        }
    }
}

impl OptionalFromRequestParts<Console> for Session {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Option<Self>, Response> {
        of(console, &parts.headers).await.map_err(|fault| fault.into_response())
    }
}
