//! What the pages say about an invented store: filters, pages, hostile text, times, live arrival.

use std::time::Duration;

use axum::body::BodyDataStream;
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use protocol::message::{BundleOutcome, LogGap, Loss, LossReason, Record, SourceStatus};
use serde_json::json;

use super::fixture::{Browser, Fixture, hit, indicator};
use crate::bundles::rollout::Reach;
use crate::store::sessions::Spool;
use crate::store::twins::{self, Sign};

const DEADLINE: Duration = Duration::from_secs(20);

/// Two towns with four hits: three of Borgo, one of Rocca.
async fn two_towns() -> (Fixture, Browser, Spool, Spool) {
    let fixture = Fixture::new().await;
    let threat = json!({"threat": "Invented Stealer", "severity": "critical", "confidence": 90, "tlp": "green",
        "alert": "COSC-ESEMPIO-2026-0001", "source": "alert.csv", "valid_until": "2027-01-01T00:00:00Z"});
    let others = json!({"threat": "Scanner", "severity": "low"});
    let known = vec![
        indicator("indicator--1", "evil.example", threat),
        indicator("indicator--2", "203.0.113.5", others),
    ];
    fixture.bundle(1, known).await;
    let borgo = fixture.enrol("Borgo Chiaro", 1).await;
    let rocca = fixture.enrol("Rocca Bianca", 2).await;
    let scan = json!({"kind": "ip", "value": "203.0.113.5", "seen_in": "log.src", "line": 7, "input": "/var/log/syslog",
        "direction": "inbound", "indicator": "indicator--2", "remote": "203.0.113.5", "host": "192.168.1.2",
        "evidence": "sshd: Failed password for root from 203.0.113.5", "at": "2026-11-22T09:00:00Z"});
    let url = json!({"kind": "url", "value": "http://evil.example/a?b=c", "seen_in": "http.url", "remote": "203.0.113.9",
        "indicator": "unknown", "at": "2026-11-20T09:00:00Z"});
    fixture.store(&borgo, 1, vec![hit(1, json!({})), hit(2, scan.clone()), hit(3, url)]).await;
    fixture.store(&rocca, 1, vec![hit(4, scan)]).await;
    let browser = fixture.signed_in().await;
    (fixture, browser, borgo, rocca)
}

/// The numbers of the hits on a page, in its order.
fn rows(html: &str) -> Vec<i64> {
    html.split("data-hit=\"").skip(1).map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn hits_are_listed_newest_first_with_everything_an_operator_needs() {
    let (fixture, browser, ..) = two_towns().await;
    let page = fixture.get(&browser, "/hits").await;
    assert_eq!(rows(&page.text), [4, 3, 2, 1]);
    for said in [
        "Borgo Chiaro",
        "evil[.]example",
        "203[.]0[.]113[.]5",
        "hxxp://evil[.]example/a?b=c",
        "Invented Stealer",
        "dns.query",
        "192.168.1.10",
        "critica",
        "in entrata",
        "href=\"/origins/remote/203.0.113.5\"",
        "href=\"/origins/host/999001/192.168.1.10\"",
    ] {
        assert!(page.text.contains(said), "{said}");
    }
}

#[tokio::test]
async fn filters_and_orders_are_parameters() {
    let (fixture, browser, ..) = two_towns().await;
    for (query, expected) in [
        ("comune=999002", vec![4]),
        ("direction=inbound", vec![4, 2]),
        ("kind=domain", vec![1]),
        ("severity=low", vec![4, 2]),
        ("severity=critical&comune=999001", vec![1]),
        ("value=EVIL", vec![3, 1]),
        ("value=hxxp%3A%2F%2Fevil%5B.%5Dexample", vec![3]),
        ("value=100%25", vec![]),
        ("period=1h", vec![4, 2, 1]),
        ("period=24h&direction=outbound", vec![1]),
        ("from=2026-11-22T10%3A30", vec![1]),
        ("until=2026-11-22T10%3A00", vec![3]),
        ("sort=time", vec![1, 4, 2, 3]),
        ("comune=&direction=&value=&from=", vec![4, 3, 2, 1]),
    ] {
        let page = fixture.get(&browser, &format!("/hits?{query}")).await;
        assert_eq!((page.status, rows(&page.text)), (StatusCode::OK, expected), "{query}");
    }
}

#[tokio::test]
async fn older_pages_follow_without_a_gap_or_a_repeat_in_both_orders() {
    let fixture = Fixture::new().await;
    let spool = fixture.enrol("Borgo Chiaro", 1).await;
    // Several hits share a time, and times run against the arrival.
    let records = (0..250_u32).map(|number| {
        let at = format!("2026-11-22T08:{:02}:00Z", (250 - number) / 10);
        hit(number, json!({"at": at, "last_at": at}))
    });
    fixture.store(&spool, 1, records.collect()).await;
    let browser = fixture.signed_in().await;
    for order in ["", "sort=time"] {
        let mut path = format!("/hits?{order}");
        let mut seen = Vec::new();
        loop {
            let page = fixture.get(&browser, &path).await;
            seen.extend(rows(&page.text));
            let Some((before, _)) = page.text.split_once("\" rel=\"next\"") else { break };
            path = before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&");
        }
        let mut sorted = seen.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (1..=250).collect::<Vec<i64>>(), "{order}");
        let first = if order.is_empty() { 250 } else { 1 };
        assert_eq!(seen[0], first, "{order}");
    }
}

#[tokio::test]
async fn a_hits_page_has_evidence_indicator_and_the_value_elsewhere() {
    let (fixture, browser, ..) = two_towns().await;
    let page = fixture.get(&browser, "/hits/1").await;
    for said in [
        "A evil.example",
        "indicator--1",
        "COSC-ESEMPIO-2026-0001",
        "TLP:green",
        "90 / 100",
        "alert.csv",
        "192.168.1.1</bdi> <span class=\"muted\">porta</span> 53",
        "cosc-esempio",
        "gw-999001",
        "nessuno: il flusso porta solo il valore",
    ] {
        assert!(page.text.contains(said), "{said}");
    }
    let page = fixture.get(&browser, "/hits/2").await;
    assert!(page.text.contains("2 comuni</strong>") && rows(&page.text) == [4]);
    assert!(page.text.contains("Riga del registro") && page.text.contains("Failed password for root"));
}

/// An inbound request through a proxy and a gateway, with everything that a sensor can say of it.
fn request_through_a_proxy() -> serde_json::Value {
    let flow = json!({"proto": "tcp", "src": "203.0.113.5", "src_port": 40000, "dst": "192.168.1.2", "dst_port": 443});
    let outer = json!({"proto": "tcp", "src": "203.0.113.5", "src_port": 40000, "dst": "198.51.100.1", "dst_port": 8443});
    json!({"kind": "ip", "value": "203.0.113.5", "seen_in": "flow.src", "direction": "inbound", "flow": flow,
        "indicator": "indicator--2", "remote": "203.0.113.5", "host": "192.168.1.2",
        "notes": ["ech_offered", "midstream", "of_tomorrow"], "named_origins": ["198.51.100.77", "2001:db8::7"],
        "traffic": {"packets_out": 1234, "packets_back": 5, "bytes_out": 98765, "bytes_back": 400, "established": true},
        "nat": {"outer": "198.51.100.1", "outer_port": 8443, "vantage": "inside", "by": "conntrack", "outer_flow": outer},
        "logged": {"format": "fortigate", "host": "fw-uno", "time": "date=2026-11-22 <b>", "flow": flow},
        "witnesses": ["wan0"]})
}

#[tokio::test]
async fn a_hits_page_says_how_it_was_seen() {
    let (fixture, browser, borgo, _) = two_towns().await;
    let row = fixture.store(&borgo, 4, vec![hit(50, request_through_a_proxy())]).await[0];
    let page = fixture.get(&browser, &format!("/hits/{row}")).await;
    let expect =
        |text: &str, said: &[&str]| said.iter().for_each(|said| assert!(text.contains(said), "{said}"));
    expect(
        &page.text,
        &[
            "1.234 pacchetti, 98.765 byte",
            "5 pacchetti, 400 byte",
            "stabilita da entrambe le parti",
            "ancora aperto",
            "198[.]51[.]100[.]1",
            "dal lato interno",
            "tabella delle connessioni del gateway",
            "nome cifrato (ECH)",
            "chi ha iniziato è un’ipotesi",
            "Una nota di un sensore più recente",
            "<bdi>wan0</bdi>",
            "<bdi>fortigate</bdi>",
            "<bdi>fw-uno</bdi>",
            "date=2026-11-22 &#60;b&#62;",
            "Dichiarato da un proxy, non verificato",
            "198[.]51[.]100[.]77",
            "2001[:]db8[:][:]7",
        ],
    );
    let plain = fixture.get(&browser, "/hits/1").await;
    for absent in ["Traffico del flusso", "NAT", "Origini dichiarate", "Da sapere prima"] {
        assert!(!plain.text.contains(absent), "{absent}");
    }

    // The flow goes on and ends: the same hit, seen no more often.
    let mut last = request_through_a_proxy();
    last["traffic"] = json!({"packets_out": 2000, "bytes_out": 99000, "established": true, "ended": "reset"});
    last["last_at"] = json!("2026-11-22T10:03:00Z");
    assert_eq!(fixture.store(&borgo, 5, vec![hit(50, last)]).await, [row]);
    let page = fixture.get(&browser, &format!("/hits/{row}")).await;
    expect(&page.text, &["2.000 pacchetti, 99.000 byte", "interrotto (RST)"]);
}

#[tokio::test]
async fn what_a_proxy_names_is_a_candidate_and_no_origin() {
    let (fixture, browser, borgo, rocca) = two_towns().await;
    fixture.store(&borgo, 4, vec![hit(50, request_through_a_proxy())]).await;
    fixture.store(&rocca, 2, vec![hit(51, request_through_a_proxy())]).await;
    let page = fixture.get(&browser, "/origins/remote/203.0.113.5").await;
    assert!(page.text.contains("Candidati dietro questa origine"));
    let row = page.text.split("198[.]51[.]100[.]77").nth(1).unwrap();
    assert!(row.starts_with("</bdi></th><td class=\"number\">2</td><td class=\"number\">2</td>"), "{row}");
    assert!(!fixture.get(&browser, "/origins").await.text.contains("198[.]51[.]100[.]77"));
    assert_eq!(fixture.get(&browser, "/origins/remote/198.51.100.77").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn times_are_romes_with_utc_beside_in_winter_and_summer() {
    let fixture = Fixture::new().await;
    let spool = fixture.enrol("Borgo Chiaro", 1).await;
    let summer = json!({"at": "2026-07-01T22:30:00Z", "last_at": "2026-07-01T22:30:00Z"});
    fixture.store(&spool, 1, vec![hit(1, json!({})), hit(2, summer)]).await;
    let browser = fixture.signed_in().await;
    let text = fixture.get(&browser, "/hits").await.text;
    assert!(text.contains("title=\"2026-11-22 09:59:00 UTC\">22/11/2026 10:59:00</time>"), "{text}");
    assert!(text.contains("title=\"2026-07-01 22:30:00 UTC\">02/07/2026 00:30:00</time>"));
}

const HOSTILE: &str =
    "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u{202e}gpj.\u{200b}\u{0}\n&amp;{{7*7}}";

#[tokio::test]
async fn hostile_text_is_shown_and_does_nothing() {
    let fixture = Fixture::new().await;
    let long = "A".repeat(200);
    let agent = format!("Mozilla/5.0 </td></tr></table><script>alert(3)</script> {long}");
    let bad = indicator(
        "<b>id</b>",
        "evil.example",
        json!({"threat": HOSTILE, "alert": HOSTILE, "source": HOSTILE}),
    );
    fixture.bundle(1, vec![bad]).await;
    let spool = fixture.enrol("Borgo <i>\u{202e}", 1).await;
    let sources = vec![SourceStatus {
        name: HOSTILE.into(),
        trouble: HOSTILE.into(),
        kind: HOSTILE.into(),
        ..SourceStatus::default()
    }];
    fixture.greet(&spool, fixture.now(), sources).await;
    fixture.outcome(&spool, 2, BundleOutcome::Refused { reason: HOSTILE.into() }).await;
    let first = json!({"indicator": "<b>id</b>", "also": [HOSTILE], "input": HOSTILE, "evidence": HOSTILE,
        "remote": "203.0.113.5", "kind": "user_agent", "value": agent, "seen_in": "http.user_agent"});
    fixture.store(&spool, 1, vec![hit(1, first)]).await;
    let browser = fixture.signed_in().await;
    let search = "/hits?value=%22%3E%3Cscript%3Ealert(4)%3C%2Fscript%3E%E2%80%AE&comune=%22%3E%3Cb%3E";
    let paths = [
        "/hits",
        "/hits/1",
        "/origins",
        "/origins/remote/203.0.113.5",
        "/towns",
        "/bundles",
        search,
        "/sign-in?next=%22%3E%3Cscript%3E",
        "/%3Cscript%3Ealert(5)%3C%2Fscript%3E",
    ];
    for path in paths {
        let page = fixture.get(&browser, path).await;
        for harm in [
            "<script>alert",
            "<img",
            "<b>",
            "</table><script",
            "\u{202e}",
            "\u{200b}",
            "\u{0}",
            "onerror=alert(2)>\u{202e}",
        ] {
            assert!(!page.text.contains(harm), "{harm:?} on {path}");
        }
    }
    let page = fixture.get(&browser, "/hits/1").await;
    assert!(page.text.contains("&#60;script&#62;alert(1)") && page.text.contains("\\u{202e}gpj."));
    let mut stream = follow(&fixture, &browser, "/hits/live?after=0", None).await;
    let event = next_event(&mut stream, "hit").await;
    assert!(
        event.contains("&#60;/table&#62;&#60;script&#62;alert(3)") && !event.contains("<script"),
        "{event}"
    );
}

#[tokio::test]
async fn an_identity_in_use_twice_and_a_certificate_that_ended_say_what_to_do() {
    let (fixture, browser, borgo, rocca) = two_towns().await;
    fixture.greet(&borgo, fixture.now(), Vec::new()).await;
    fixture.greet(&rocca, fixture.now(), Vec::new()).await;
    assert!(!fixture.get(&browser, "/towns").await.text.contains("identità duplicata"));
    let (agent, at) = (borgo.agent, fixture.now());
    for sign in [Sign::TwoConnections, Sign::EpochCameBack, Sign::EpochCameBack] {
        fixture.store.write(move |db| twins::note(db, agent, sign, at)).await.unwrap();
    }
    let text = fixture.get(&browser, "/towns").await.text;
    for said in [
        "identità duplicata <i lang=\"en\">identity in use twice</i>",
        "due macchine collegate insieme",
        "è tornato uno stato precedente",
        "vedetta-collector revoke 01010101010101010101010101010101 --reason",
        "enrol both machines anew",
    ] {
        assert!(text.contains(said), "{said}");
    }
    assert_eq!(text.matches("Due macchine usano").count(), 1, "only the sensor that it is about");
    assert!(!text.contains("certificato scaduto"));
    // The fixture's certificates end on 15 January 2027.
    fixture.pass_seconds(60 * 86_400);
    let browser = fixture.signed_in().await;
    let text = fixture.get(&browser, "/towns").await.text;
    assert!(text.contains("certificato scaduto") && text.contains("invite --replaces 0202020202"), "{text}");
}

#[tokio::test]
async fn origins_are_counted_over_towns_and_a_private_host_is_its_towns_own() {
    let (fixture, browser, _, rocca) = two_towns().await;
    fixture.store(&rocca, 2, vec![hit(9, json!({"at": "2026-11-22T09:30:00Z"}))]).await;
    let list = fixture.get(&browser, "/origins?sort=towns").await.text;
    let remote = list.find("203[.]0[.]113[.]5").unwrap();
    assert!(remote < list.find("203[.]0[.]113[.]9").unwrap(), "more towns first");
    assert!(list.contains("Borgo Chiaro</bdi>, <bdi>Rocca Bianca"));
    assert_eq!(list.matches(">192.168.1.10<").count(), 2, "one for each town");

    let page = fixture.get(&browser, "/origins/remote/203.0.113.5").await;
    assert_eq!(rows(&page.text), [4, 2]);
    assert!(page.text.contains("Scanner") && page.text.contains("Rocca Bianca"));
    let page = fixture.get(&browser, "/origins/host/999002/192.168.1.10").await;
    assert_eq!(rows(&page.text), [5]);
    assert_eq!(
        fixture.get(&browser, "/origins/host/999001/192.168.1.99").await.status,
        StatusCode::NOT_FOUND
    );
    for (query, count) in
        [("role=host", 2), ("comune=999002", 2), ("address=203%5B.%5D0", 2), ("address=nope", 0)]
    {
        let text = fixture.get(&browser, &format!("/origins?{query}")).await.text;
        assert_eq!(text.matches("data-label=\"Indirizzo\"").count(), count, "{query}");
    }
}

#[tokio::test]
async fn pages_of_origins_follow_without_a_gap_or_a_repeat() {
    let fixture = Fixture::new().await;
    let towns = [fixture.enrol("Borgo Chiaro", 1).await, fixture.enrol("Rocca Bianca", 2).await];
    for (spool, addresses) in towns.iter().zip([230_u32, 50]) {
        let records = (0..addresses).map(|number| {
            let remote = format!("203.0.113.{number}");
            hit(number, json!({"kind": "ip", "value": remote, "remote": remote, "seen_in": "flow.dst"}))
        });
        fixture.store(spool, 1, records.collect()).await;
    }
    let browser = fixture.signed_in().await;
    for order in ["", "&sort=towns"] {
        let mut path = format!("/origins?role=remote{order}");
        let mut seen = Vec::new();
        loop {
            let text = fixture.get(&browser, &path).await.text;
            seen.extend(
                text.split("href=\"/origins/remote/")
                    .skip(1)
                    .map(|rest| rest.split('"').next().unwrap().to_owned()),
            );
            let Some((before, _)) = text.split_once("\" rel=\"next\"") else { break };
            path = before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&");
        }
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!((count, seen.len()), (230, 230), "{order}");
    }
}

#[tokio::test]
async fn a_silent_sensor_and_a_refused_bundle_are_marked_in_words() {
    let (fixture, browser, borgo, rocca) = two_towns().await;
    let source = SourceStatus {
        name: "lan0".into(),
        kind: "capture".into(),
        read: 1_234_567,
        dropped: 89,
        hits: 3,
        trouble: "link is down".into(),
        ..SourceStatus::default()
    };
    fixture.greet(&borgo, fixture.now(), vec![source]).await;
    fixture.outcome(&borgo, 2, BundleOutcome::Refused { reason: "bad signature".into() }).await;
    let at = fixture.now();
    let loss =
        Loss { id: None, count: 17, reason: LossReason::SpoolFull, first_at: at, last_at: at, gap: None };
    fixture.store(&borgo, 4, vec![Record::Loss(loss)]).await;
    fixture.greet(&rocca, fixture.now().plus_seconds(-301), Vec::new()).await;
    let text = fixture.get(&browser, "/towns").await.text;
    let (_, rocca_part) = text.split_once("id=\"comune-999002\"").unwrap();
    let borgo_part =
        text.split_once("id=\"comune-999001\"").unwrap().1.split("id=\"comune-999002").next().unwrap();
    assert!(rocca_part.contains("IN SILENZIO") && !borgo_part.contains("IN SILENZIO"));
    for said in [
        "collegato",
        "rifiutata: <bdi>bad signature",
        "1.234.567",
        "89",
        "link is down",
        "+0,350 s",
        "Persi 17: coda del sensore piena",
        "198.51.100.1",
        "gw-999001",
    ] {
        assert!(borgo_part.contains(said), "{said}");
    }
    assert!(text.contains("1 in silenzio"));
    fixture.pass_seconds(302);
    assert!(fixture.get(&browser, "/towns").await.text.contains("2 in silenzio"));
    let text = fixture.get(&browser, "/bundles").await.text;
    for said in ["cosc-esempio", "urn:vedetta:desk:cosc-esempio", "bad signature", "rifiutata"] {
        assert!(text.contains(said), "{said}");
    }
}

#[tokio::test]
async fn a_bundle_that_some_towns_have_first_is_shown_with_who_is_behind() {
    let (fixture, browser, borgo, rocca) = two_towns().await;
    fixture.greet(&borgo, fixture.now(), Vec::new()).await;
    fixture.greet(&rocca, fixture.now(), Vec::new()).await;
    let text = fixture.get(&browser, "/bundles").await.text;
    assert!(!text.contains("in prova") && !text.contains("fra i primi") && !text.contains("di 1 <i"));
    let towns = [borgo.comune.as_str().to_owned()].into();
    fixture.bundle_to(Reach::First { minutes: 10, towns }, 2, Vec::new()).await;
    let text = fixture.get(&browser, "/bundles").await.text;
    let of = |town: &str| {
        let row = text.split("<tr>").find(|row| row.contains(&format!("#comune-{town}"))).unwrap();
        ["fra i primi", "di 1 <i"].map(|said| row.contains(said))
    };
    assert_eq!((of("999001"), of("999002")), ([true, true], [false, false]));
    for said in ["in prova", "gli altri avevano", "vedetta-collector bundles release"] {
        assert!(text.contains(said), "{said}");
    }
}

#[tokio::test]
async fn a_gap_in_a_log_is_shown_with_its_place() {
    let (fixture, browser, borgo, rocca) = two_towns().await;
    let at = fixture.now();
    let loss = |input: &str, from, to| {
        let gap = Some(LogGap { input: input.into(), generation: 1, from, to });
        Record::Loss(Loss {
            id: None,
            count: 1,
            reason: LossReason::LogTruncated,
            first_at: at,
            last_at: at,
            gap,
        })
    };
    fixture.store(&borgo, 4, vec![loss("/var/log/auth.log", 1_234_567, Some(1_240_000))]).await;
    fixture.store(&borgo, 5, vec![loss("<script>/var/log/a", 7, None)]).await;
    let many = (0..12).map(|number| loss("/var/log/syslog", 1000 + number, None)).collect();
    fixture.store(&rocca, 2, many).await;
    let text = fixture.get(&browser, "/towns").await.text;
    let (_, rocca_part) = text.split_once("id=\"comune-999002\"").unwrap();
    let borgo_part =
        text.split_once("id=\"comune-999001\"").unwrap().1.split("id=\"comune-999002").next().unwrap();
    for said in [
        "Persi 2: registro troncato",
        "<bdi>/var/log/auth.log</bdi>: dal byte 1.234.567 al byte 1.240.000",
        "<bdi>&#60;script&#62;/var/log/a</bdi>: dal byte 7 in poi, forse nulla",
    ] {
        assert!(borgo_part.contains(said), "{said}");
    }
    assert!(!text.contains("<script>/var"), "the name of a log is text");
    assert!(rocca_part.contains("Persi 12: registro troncato"));
    let shown: Vec<bool> = (1000..1012)
        .map(|from: u64| rocca_part.contains(&format!("dal byte 1.{:03} ", from % 1000)))
        .collect();
    assert_eq!(shown, [vec![false; 2], vec![true; 10]].concat(), "the newest ten");
}

/// Opens a live page and gives what it sends.
async fn follow(fixture: &Fixture, browser: &Browser, path: &str, last_event: Option<&str>) -> Lines {
    let mut request = browser.get(path);
    if let Some(id) = last_event {
        request.headers_mut().insert("last-event-id", id.parse().unwrap());
    }
    let response = fixture.ask(request).await;
    assert_eq!(response.headers().get("content-type").unwrap(), "text/event-stream");
    Lines { body: response.into_body().into_data_stream(), text: String::new() }
}

struct Lines {
    body: BodyDataStream,
    text: String,
}

/// The next event, comments passed over; its name must be `name`. `ended` for the stream's end.
async fn next_event(stream: &mut Lines, name: &str) -> String {
    let read = async {
        loop {
            while let Some((event, rest)) = stream.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                stream.text = rest;
                if event.contains("event:") {
                    return event;
                }
            }
            match stream.body.next().await {
                Some(bytes) => stream.text.push_str(std::str::from_utf8(&bytes.unwrap()).unwrap()),
                None => return "event: ended".to_owned(),
            }
        }
    };
    let event = tokio::time::timeout(DEADLINE, read).await.unwrap();
    assert!(event.contains(&format!("event: {name}")), "{event}");
    event
}

fn id_of(event: &str) -> i64 {
    event.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().parse().unwrap()
}

#[tokio::test]
async fn new_hits_arrive_live_and_only_those_that_fit_the_filters() {
    let (fixture, browser, borgo, rocca) = two_towns().await;
    let page = fixture.get(&browser, "/hits?comune=999002").await.text;
    assert!(page.contains("data-live=\"/hits/live?comune=999002&#38;after=4\""), "{page}");
    let mut stream = follow(&fixture, &browser, "/hits/live?comune=999002&after=4", None).await;
    fixture.store(&borgo, 4, vec![hit(20, json!({}))]).await;
    fixture.store(&rocca, 2, vec![hit(21, json!({}))]).await;
    let event = next_event(&mut stream, "hit").await;
    assert_eq!(id_of(&event), 6);
    assert!(event.contains("Rocca Bianca") && event.contains("data-hit=\"6\""), "{event}");

    fixture.store(&rocca, 3, vec![hit(21, json!({"count": 12}))]).await;
    let event = next_event(&mut stream, "changed").await;
    assert!(event.contains("data-hit=\"6\"") && event.contains(">12<"), "{event}");
}

#[tokio::test]
async fn a_browser_that_comes_back_gets_what_it_missed() {
    let (fixture, browser, borgo, _) = two_towns().await;
    fixture.store(&borgo, 4, vec![hit(30, json!({})), hit(31, json!({}))]).await;
    let mut stream = follow(&fixture, &browser, "/hits/live?after=0", Some("4")).await;
    assert_eq!(id_of(&next_event(&mut stream, "hit").await), 5);
    assert_eq!(id_of(&next_event(&mut stream, "hit").await), 6);
    fixture.store(&borgo, 6, vec![hit(32, json!({}))]).await;
    assert_eq!(id_of(&next_event(&mut stream, "hit").await), 7);
}

#[tokio::test]
async fn after_a_long_absence_the_page_is_to_be_loaded_again() {
    let fixture = Fixture::new().await;
    let spool = fixture.enrol("Borgo Chiaro", 1).await;
    fixture.store(&spool, 1, (0..301).map(|number| hit(number, json!({}))).collect()).await;
    let browser = fixture.signed_in().await;
    let mut stream = follow(&fixture, &browser, "/hits/live?after=0", None).await;
    next_event(&mut stream, "reload").await;
    next_event(&mut stream, "ended").await;
}

#[tokio::test]
async fn a_live_page_ends_with_its_session_and_with_the_collector() {
    let (fixture, browser, borgo, _) = two_towns().await;
    let mut stopped = follow(&fixture, &browser, "/hits/live?after=4", None).await;
    let mut signed_out = follow(&fixture, &browser, "/hits/live?after=4", None).await;
    let csrf = super::door_tests::form_token(&fixture.get(&browser, "/towns").await.text);
    fixture.page(browser.post("/sign-out", &[("csrf", &csrf)])).await;
    fixture.store(&borgo, 4, vec![hit(40, json!({}))]).await;
    next_event(&mut signed_out, "signed-out").await;
    next_event(&mut signed_out, "ended").await;
    next_event(&mut stopped, "signed-out").await;

    let browser = fixture.signed_in().await;
    let mut stream = follow(&fixture, &browser, "/hits/live?after=5", None).await;
    fixture.stop.send(true).unwrap();
    next_event(&mut stream, "ended").await;
}

#[tokio::test]
async fn an_empty_console_says_what_to_do() {
    let fixture = Fixture::new().await;
    let browser = fixture.signed_in().await;
    assert!(fixture.get(&browser, "/hits").await.text.contains("i nuovi compaiono qui da soli"));
    assert!(fixture.get(&browser, "/towns").await.text.contains("vedetta-collector invite"));
    assert!(fixture.get(&browser, "/bundles").await.text.contains("vedetta-cosc push"));
}
