//! Nobody gets in who should not: sign-in, throttling, sessions, forms, headers.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};

use super::fixture::{Browser, Fixture, PASSWORD};

const PAGES: [&str; 9] = [
    "/",
    "/hits",
    "/hits/1",
    "/hits/live?after=0",
    "/origins",
    "/origins/remote/203.0.113.5",
    "/origins/host/borgo/192.0.2.1",
    "/towns",
    "/bundles",
];

#[tokio::test]
async fn a_good_sign_in_opens_every_page_with_a_guarded_cookie() {
    let fixture = Fixture::new().await;
    let mut browser = Browser::default();
    let page = browser.sign_in(&fixture, "rossi", PASSWORD).await;
    assert_eq!((page.status, page.header("location")), (StatusCode::SEE_OTHER, "/towns"));
    let cookie = page.header("set-cookie");
    assert!(cookie.starts_with("__Host-vedetta="), "{cookie}");
    for guard in ["Path=/", "Secure", "HttpOnly", "SameSite=Strict"] {
        assert!(cookie.contains(guard), "{guard} in {cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    for path in ["/hits", "/origins", "/towns", "/bundles"] {
        assert_eq!(fixture.get(&browser, path).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn without_a_session_there_is_only_the_sign_in() {
    let fixture = Fixture::new().await;
    let forged = Browser { cookies: vec![("__Host-vedetta".into(), "ab".repeat(32))] };
    for browser in [Browser::default(), forged] {
        for path in PAGES {
            let page = fixture.get(&browser, path).await;
            if path == "/hits/live?after=0" {
                assert!(page.text.contains("event: signed-out") && !page.text.contains("event: hit"));
            } else if path == "/" {
                assert_eq!((page.status, page.header("location")), (StatusCode::SEE_OTHER, "/hits"));
            } else {
                assert_eq!(page.status, StatusCode::SEE_OTHER, "{path}");
                assert!(page.header("location").starts_with("/sign-in?next="), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_name_and_a_wrong_password_get_the_same_answer() {
    let fixture = Fixture::new().await;
    let mut answers = Vec::new();
    for (name, password) in [("rossi", "wrong password 1"), ("bianchi", PASSWORD), ("not a name!", PASSWORD)]
    {
        let mut browser = Browser::default();
        let page = browser.sign_in(&fixture, name, password).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{name}");
        assert!(browser.cookie("__Host-vedetta").is_empty(), "{name}");
        let token = browser.cookie("__Host-vedetta-form");
        answers.push(page.text.replace(token, "").replace(&super::show::Shown::new(name).to_string(), ""));
    }
    assert!(answers[0].contains("Nome o password non corretti."));
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

#[tokio::test]
async fn guessing_is_slowed_down_by_name_whether_it_exists_or_not() {
    let fixture = Fixture::new().await;
    for name in ["rossi", "nobody"] {
        let mut browser = Browser::default();
        for _ in 0..3 {
            assert_eq!(
                browser.sign_in(&fixture, name, "guess guess guess").await.status,
                StatusCode::FORBIDDEN
            );
        }
        let page = browser.sign_in(&fixture, name, PASSWORD).await;
        assert_eq!((page.status, page.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "5"), "{name}");
        assert!(page.text.contains("riprova tra 5 secondi"), "{}", page.text);
    }
    fixture.pass_seconds(6);
    let mut browser = Browser::default();
    assert_eq!(browser.sign_in(&fixture, "rossi", PASSWORD).await.status, StatusCode::SEE_OTHER);
    let mut again = Browser::default();
    let page = again.sign_in(&fixture, "rossi", "guess guess guess").await;
    assert_eq!(page.status, StatusCode::FORBIDDEN, "a good sign-in clears the name's failures");
}

#[tokio::test]
async fn guessing_many_names_is_slowed_down_by_address() {
    let fixture = Fixture::new().await;
    let mut browser = Browser::default();
    for number in 0..10 {
        let name = format!("name{number}");
        assert_eq!(browser.sign_in(&fixture, &name, "guess guess guess").await.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(browser.sign_in(&fixture, "rossi", PASSWORD).await.status, StatusCode::TOO_MANY_REQUESTS);
    let csrf = browser.cookie("__Host-vedetta-form").to_owned();
    let form = [("csrf", csrf.as_str()), ("name", "rossi"), ("password", PASSWORD)];
    let elsewhere = fixture.ask_from("192.0.2.200:1".parse().unwrap(), browser.post("/sign-in", &form)).await;
    assert_eq!(elsewhere.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn many_guesses_at_once_are_no_way_around_the_wait() {
    let fixture = Fixture::new().await;
    let mut browser = Browser::default();
    let page = fixture.get(&browser, "/sign-in").await;
    browser.take_cookies(&page);
    let csrf = browser.cookie("__Host-vedetta-form").to_owned();
    let form = [("csrf", csrf.as_str()), ("name", "rossi"), ("password", "guess guess guess")];
    let attempts = (0..12).map(|_| fixture.ask(browser.post("/sign-in", &form)));
    let answers = futures_util::future::join_all(attempts).await;
    let verified = answers.iter().filter(|answer| answer.status() == StatusCode::FORBIDDEN).count();
    assert_eq!(verified, 3);
}

#[tokio::test]
async fn a_session_ends_when_idle_after_a_shift_and_by_sign_out() {
    let fixture = Fixture::new().await;
    let idle = fixture.signed_in().await;
    fixture.pass_seconds(59 * 60);
    assert_eq!(fixture.get(&idle, "/towns").await.status, StatusCode::OK);
    fixture.pass_seconds(59 * 60);
    assert_eq!(fixture.get(&idle, "/towns").await.status, StatusCode::OK, "used meanwhile");
    fixture.pass_seconds(61 * 60);
    assert_eq!(fixture.get(&idle, "/towns").await.status, StatusCode::SEE_OTHER);

    let busy = fixture.signed_in().await;
    for _ in 0..23 {
        fixture.pass_seconds(30 * 60);
        assert_eq!(fixture.get(&busy, "/towns").await.status, StatusCode::OK);
    }
    fixture.pass_seconds(31 * 60);
    assert_eq!(fixture.get(&busy, "/towns").await.status, StatusCode::SEE_OTHER);

    let mut leaving = fixture.signed_in().await;
    let kept = leaving.clone();
    let csrf = form_token(&fixture.get(&leaving, "/towns").await.text);
    let page = fixture.page(leaving.post("/sign-out", &[("csrf", &csrf)])).await;
    leaving.take_cookies(&page);
    assert_eq!((page.header("location"), leaving.cookie("__Host-vedetta")), ("/sign-in", ""));
    assert_eq!(fixture.get(&kept, "/towns").await.status, StatusCode::SEE_OTHER, "the old token is dead");
}

#[tokio::test]
async fn a_disabled_operators_session_is_over() {
    let fixture = Fixture::new().await;
    let browser = fixture.signed_in().await;
    crate::accounts::disable(&fixture.store, &"rossi".parse().unwrap()).await.unwrap();
    assert_eq!(fixture.get(&browser, "/hits").await.status, StatusCode::SEE_OTHER);
    let mut again = Browser::default();
    assert_eq!(again.sign_in(&fixture, "rossi", PASSWORD).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn each_sign_in_has_a_new_token_and_ends_the_one_before() {
    let fixture = Fixture::new().await;
    let mut browser = fixture.signed_in().await;
    let before = browser.clone();
    browser.cookies.retain(|(name, _)| name != "__Host-vedetta-form");
    // A signed-in browser is sent away from the form, so the second sign-in comes from a form opened before.
    let csrf = "cd".repeat(32);
    browser.cookies.push(("__Host-vedetta-form".into(), csrf.clone()));
    let form = [("csrf", csrf.as_str()), ("name", "rossi"), ("password", PASSWORD)];
    let page = fixture.page(browser.post("/sign-in", &form)).await;
    browser.take_cookies(&page);
    assert_ne!(browser.cookie("__Host-vedetta"), before.cookie("__Host-vedetta"));
    assert_eq!(fixture.get(&browser, "/hits").await.status, StatusCode::OK);
    assert_eq!(fixture.get(&before, "/hits").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn forms_of_other_sites_and_without_their_token_are_refused() {
    let fixture = Fixture::new().await;
    let browser = fixture.signed_in().await;
    let csrf = form_token(&fixture.get(&browser, "/towns").await.text);
    let mut cross = browser.post("/sign-out", &[("csrf", &csrf)]);
    cross.headers_mut().insert("sec-fetch-site", "cross-site".parse().unwrap());
    for request in [
        cross,
        browser.post("/sign-out", &[("csrf", "wrong")]),
        browser.post("/sign-out", &[]),
        browser.post("/sign-in", &[("csrf", "wrong"), ("name", "rossi"), ("password", PASSWORD)]),
    ] {
        let page = fixture.page(request).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN);
        assert!(page.text.contains("<html lang=\"it\">"));
    }
    assert_eq!(fixture.get(&browser, "/towns").await.status, StatusCode::OK, "still signed in");
}

#[tokio::test]
async fn only_a_hash_of_the_token_and_of_the_password_is_stored() {
    let fixture = Fixture::new().await;
    let browser = fixture.signed_in().await;
    let token = browser.cookie("__Host-vedetta").to_owned();
    assert_eq!(token.len(), 64);
    let mut stored = Vec::new();
    for file in std::fs::read_dir(fixture.folder.path()).unwrap() {
        stored.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let holds = |text: &str| stored.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(&super::session::token_sha256(&token)));
    assert!(!holds(&token) && !holds(PASSWORD));
}

#[tokio::test]
async fn every_answer_has_the_guarding_headers_and_no_page_has_inline_code() {
    let fixture = Fixture::new().await;
    let browser = fixture.signed_in().await;
    let anybody = Browser::default();
    let mut pages = vec![
        ("sign-in", fixture.get(&anybody, "/sign-in").await),
        ("health", fixture.get(&anybody, "/health").await),
        ("css", fixture.get(&anybody, "/static/console.css").await),
        ("js", fixture.get(&anybody, "/static/console.js").await),
        ("redirect", fixture.get(&anybody, "/hits").await),
        ("404", fixture.get(&browser, "/nothing").await),
        ("404 for anybody", fixture.get(&anybody, "/nothing").await),
        ("405", fixture.page(browser.post("/hits", &[])).await),
        ("400", fixture.get(&browser, "/hits?kind=poem").await),
        ("403", fixture.page(Request::post("/sign-out").body(Body::empty()).unwrap()).await),
    ];
    for path in ["/hits", "/origins", "/towns", "/bundles"] {
        pages.push((path, fixture.get(&browser, path).await));
    }
    for (name, page) in pages {
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{name}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{name}");
        assert_eq!(page.header("x-content-type-options"), "nosniff", "{name}");
        assert_eq!(page.header("referrer-policy"), "no-referrer", "{name}");
        assert!(page.header("strict-transport-security").starts_with("max-age="), "{name}");
        if page.header("content-type").starts_with("text/html") {
            assert_eq!(page.header("cache-control"), "no-store", "{name}");
            assert!(page.text.contains("<main"), "{name}");
            for inline in ["<style", "style=", "onclick", "onload", "javascript:", "<script>"] {
                assert!(!page.text.contains(inline), "{inline} in {name}");
            }
        }
    }
}

#[tokio::test]
async fn errors_have_the_layout_and_a_request_number() {
    let fixture = Fixture::new().await;
    let browser = fixture.signed_in().await;
    for (path, status, title) in [
        ("/nothing", StatusCode::NOT_FOUND, "Pagina non trovata"),
        ("/hits/999", StatusCode::NOT_FOUND, "Pagina non trovata"),
        ("/hits/..%2f..%2fetc", StatusCode::NOT_FOUND, "Pagina non trovata"),
        ("/origins/remote/hello", StatusCode::NOT_FOUND, "Pagina non trovata"),
        ("/hits?severity=huge", StatusCode::BAD_REQUEST, "Richiesta non valida"),
        ("/hits?from=yesterday", StatusCode::BAD_REQUEST, "Richiesta non valida"),
        ("/hits?before=x", StatusCode::BAD_REQUEST, "Richiesta non valida"),
    ] {
        let page = fixture.get(&browser, path).await;
        assert_eq!(page.status, status, "{path}");
        assert!(page.text.contains(title) && page.text.contains("Richiesta <i lang=\"en\">"), "{path}");
        assert!(page.text.contains("Comuni e sensori"), "the menu stays: {path}");
    }
    let long = "x".repeat(20_000);
    let page = fixture.page(Browser::default().post("/sign-in", &[("name", &long)])).await;
    assert_eq!(page.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(page.text.contains("<main"));
}

#[tokio::test]
async fn health_answers_anybody_and_says_nothing_else() {
    let fixture = Fixture::new().await;
    let page = fixture.get(&Browser::default(), "/health").await;
    assert_eq!((page.status, page.text.as_str()), (StatusCode::OK, "ok\n"));
    assert!(page.headers.get(header::SET_COOKIE).is_none());
}

pub(super) fn form_token(html: &str) -> String {
    let (_, rest) = html.split_once("name=\"csrf\" value=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}
