//! What goes wrong on a request, and the page that says so: in the console's layout, with the request's number.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};

use super::chrome::{Chrome, Here};
use super::guard::RequestId;
use super::routes::Console;
use super::session;
use super::words::Label;
use crate::store::StoreError;

/// Why a request gets no page.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// No such page, hit or origin.
    #[error("not found")]
    NotFound,
    /// The page exists and takes no such request.
    #[error("method not allowed")]
    Method,
    /// The form did not come from this console, or is older than the session.
    #[error("form refused: {0}")]
    Forbidden(&'static str),
    /// A filter or form with a value that means nothing.
    #[error("bad request: {0}")]
    BadRequest(&'static str),
    /// Too many live pages.
    #[error("too many live pages")]
    TooMany,
    /// It took too long.
    #[error("timed out")]
    Slow,
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A template failed.
    #[error("page: {0}")]
    Page(#[from] askama::Error),
    /// Something that the program counts on did not happen.
    #[error("{0}")]
    Broken(&'static str),
}

impl Fault {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::TooMany | Self::Slow => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(StoreError::Full | StoreError::Busy | StoreError::Closed) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Store(_) | Self::Page(_) | Self::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Only the status: [`dress`] makes the page, because it knows the request.
impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = status.into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

#[derive(Template)]
#[template(path = "fault.html")]
struct FaultPage<'a> {
    chrome: Chrome,
    status: u16,
    title: Label,
    advice: Label,
    request: &'a str,
}

/// Turns every bare error, also those of the framework, into a page.
pub(super) async fn dress(State(console): State<Console>, request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().cloned().unwrap_or_default();
    let headers = request.headers().clone();
    let response = next.run(request).await;
    let status = response.status();
    let bare = response.extensions().get::<Arc<Fault>>().is_some() || !is_own_page(&response);
    if !(status.is_client_error() || status.is_server_error()) || !bare {
        return response;
    }
    if let Some(fault) = response.extensions().get::<Arc<Fault>>() {
        if status.is_server_error() {
            tracing::error!(request = id.as_str(), %fault, "console request failed");
        } else {
            tracing::debug!(request = id.as_str(), %fault, "console request refused");
        }
    }
    page(&console, &headers, status, &id).await
}

/// Pages and plain answers that were made on purpose keep their body.
fn is_own_page(response: &Response) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type == Some(b"text/html; charset=utf-8")
        || response.status() == StatusCode::SERVICE_UNAVAILABLE && content_type.is_some()
}

/// The page of a fault that was found before any handler ran.
pub(super) async fn respond(
    console: &Console,
    headers: &HeaderMap,
    fault: Fault,
    id: &RequestId,
) -> Response {
    tracing::debug!(request = id.as_str(), %fault, "console request refused");
    page(console, headers, fault.status(), id).await
}

async fn page(console: &Console, headers: &HeaderMap, status: StatusCode, id: &RequestId) -> Response {
    let chrome = match session::of(console, headers).await {
        Ok(Some(session)) => Chrome::of(&session, Here::Nowhere),
        _ => Chrome::for_anybody(),
    };
    let (title, advice) = words(status);
    let page = FaultPage { chrome, status: status.as_u16(), title, advice, request: id.as_str() };
    match page.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(_) => status.into_response(),
    }
}

fn words(status: StatusCode) -> (Label, Label) {
    let label = |it, en| Label { it, en };
    match status {
        StatusCode::NOT_FOUND => (
            label("Pagina non trovata", "Page not found"),
            label(
                "L’indirizzo non esiste, oppure il dato non è più nell’archivio.",
                "There is no such address, or the data is no longer stored.",
            ),
        ),
        StatusCode::FORBIDDEN => (
            label("Richiesta rifiutata", "Request refused"),
            label(
                "Il modulo non viene da questa console o la sessione è cambiata: torna all’inizio e riprova.",
                "The form did not come from this console, or the session changed: go back to the start and try again.",
            ),
        ),
        StatusCode::SERVICE_UNAVAILABLE => (
            label("Servizio occupato", "Service busy"),
            label(
                "Riprova tra poco; se dura, guarda i messaggi di vedetta-collector.",
                "Try again soon; if it lasts, read the messages of vedetta-collector.",
            ),
        ),
        status if status.is_server_error() => (
            label("Errore interno", "Internal error"),
            label(
                "Comunica il numero della richiesta a chi gestisce il collettore: la causa è nei suoi messaggi.",
                "Tell the request number to whoever runs the collector: its messages have the cause.",
            ),
        ),
        _ => (
            label("Richiesta non valida", "Invalid request"),
            label(
                "Un filtro o un modulo contiene un valore che la console non capisce.",
                "A filter or form has a value that the console does not understand.",
            ),
        ),
    }
}
