//! What holds for every request: a number, a time limit, no form from another site, and the headers that keep
//! browsers from doing more than the pages ask for.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use axum::middleware::Next;
use axum::response::Response;

use super::fault::{self, Fault};
use super::routes::Console;

/// The longest a page may take; live pages answer at once and go on after.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// No inline script or style, nothing from elsewhere, no framing, forms to this console only.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const HEADERS: [(HeaderName, &str); 8] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// The number of a request: on error pages and in the log.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestId(String);

impl RequestId {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

pub(super) async fn guard(State(console): State<Console>, mut request: Request, next: Next) -> Response {
    let id = RequestId(format!("{:08x}", rand::random::<u32>()));
    request.extensions_mut().insert(id.clone());
    let headers = request.headers().clone();
    let may_change = !matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = if may_change && !is_own_form(request.uri(), &headers) {
        fault::respond(&console, &headers, Fault::Forbidden("from another site"), &id).await
    } else {
        match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => fault::respond(&console, &headers, Fault::Slow, &id).await,
        }
    };
    let out = response.headers_mut();
    for (name, value) in HEADERS {
        out.insert(name, HeaderValue::from_static(value));
    }
    out.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whether a browser says that its own page of this console sent the form. `Sec-Fetch-Site` cannot be set by pages;
/// `Origin` is `null` under our own referrer policy, so it decides only where the former is missing.
fn is_own_form(uri: &Uri, headers: &HeaderMap) -> bool {
    let origin = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok());
    let own_origin = |origin: &str| {
        let host = uri.authority().map(Authority::as_str);
        let host = host.or_else(|| headers.get(header::HOST).and_then(|value| value.to_str().ok()));
        host.is_some_and(|host| origin.strip_prefix("https://") == Some(host))
    };
    match (headers.get("sec-fetch-site"), origin) {
        (Some(site), None | Some("null")) => site == "same-origin",
        (Some(site), Some(origin)) => site == "same-origin" && own_origin(origin),
        (None, Some(origin)) => own_origin(origin),
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&'static str, &'static str)], own: bool) {
        let mut map = HeaderMap::new();
        map.insert(header::HOST, HeaderValue::from_static("console.example:8443"));
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        assert_eq!(is_own_form(&Uri::from_static("/sign-out"), &map), own, "{headers:?}");
    }

    #[test]
    fn only_a_form_of_this_console_is_taken() {
        check(&[("sec-fetch-site", "same-origin"), ("origin", "null")], true);
        check(&[("sec-fetch-site", "same-origin")], true);
        check(&[("origin", "https://console.example:8443")], true);
        check(&[("sec-fetch-site", "same-origin"), ("origin", "https://console.example:8443")], true);
        check(&[], false);
        check(&[("origin", "null")], false);
        check(&[("origin", "https://evil.example")], false);
        check(&[("origin", "http://console.example:8443")], false);
        check(&[("sec-fetch-site", "same-site"), ("origin", "null")], false);
        check(&[("sec-fetch-site", "cross-site"), ("origin", "https://console.example:8443")], false);
        check(&[("sec-fetch-site", "none")], false);
    }
}
