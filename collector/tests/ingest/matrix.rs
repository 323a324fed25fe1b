//! Who may open what: every kind of certificate against every role, over real connections, while a good sensor goes
//! on undisturbed.

use std::sync::Arc;
use std::time::Duration;

use protocol::{ALPN_ENROL, ALPN_PUSH, ALPN_SESSION};
use quinn::{Connection, ConnectionError};
use rcgen::ExtendedKeyUsagePurpose;

use crate::desk::admitted_desk;
use crate::forge::Forge;
use crate::process::{Collector, DEADLINE};
use crate::sensor::{Credentials, Sensor, connect_from, hit};

const DAY: i64 = 86_400;

/// How a connection is refused: by TLS with an alert (RFC 8446 §6), or by the collector with its own code.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Alert(u64),
    Code(u64),
}
use End::{Alert, Code};

const CERTIFICATE_EXPIRED: u64 = 45;
const UNSUPPORTED_CERTIFICATE: u64 = 43;
const CERTIFICATE_UNKNOWN: u64 = 46;
const UNKNOWN_CA: u64 = 48;
const DECRYPT_ERROR: u64 = 51;

struct Case {
    name: &'static str,
    alpn: &'static [u8],
    credentials: Option<Credentials>,
    end: End,
    words: &'static str,
}

fn case(
    name: &'static str,
    alpn: &'static [u8],
    credentials: Option<Credentials>,
    (end, words): (End, &'static str),
) -> Case {
    Case { name, alpn, credentials, end, words }
}

/// What became of a connection that must not be served.
async fn end_of(connected: Result<Connection, ConnectionError>) -> (End, String) {
    let error = match connected {
        Err(error) => error,
        Ok(connection) => tokio::time::timeout(DEADLINE, connection.closed()).await.unwrap(),
    };
    match error {
        ConnectionError::ApplicationClosed(close) => {
            (Code(close.error_code.into_inner()), String::from_utf8_lossy(&close.reason).into_owned())
        }
        ConnectionError::ConnectionClosed(close) => {
            let reason = String::from_utf8_lossy(&close.reason).into_owned();
            (Alert(u64::from(close.error_code).wrapping_sub(0x100)), reason)
        }
        other => panic!("not refused: {other}"),
    }
}

/// Certificates whose dates, authority, names or purpose are wrong.
fn forged(collector: &Collector, agent: &str) -> Vec<Case> {
    let ours = || Forge::of(collector);
    let urn = format!("urn:vedetta:comune:{}:agent:{agent}", "999001");
    let elsewhere = format!("urn:vedetta:comune:999777:agent:{agent}");
    let session = |name, forge: Forge<'_>, end| case(name, ALPN_SESSION, Some(forge.sign()), end);
    vec![
        session("expired", ours().uri(&urn).lasts(-30 * DAY, -DAY), (Alert(CERTIFICATE_EXPIRED), "expired")),
        session(
            "not yet valid",
            ours().uri(&urn).lasts(DAY, 30 * DAY),
            (Alert(CERTIFICATE_EXPIRED), "not valid yet"),
        ),
        session(
            "another authority of the same name",
            Forge::stranger(collector).uri(&urn),
            (Alert(DECRYPT_ERROR), "BadSignature"),
        ),
        session("no name", ours(), (Code(3), "does not know this certificate")),
        session("two names", ours().uri(&urn).uri(&urn), (Code(3), "does not know this certificate")),
        session(
            "a host's name beside",
            ours().uri(&urn).dns("sensor.example"),
            (Code(3), "does not know this"),
        ),
        session(
            "another scheme",
            ours().uri("https://vedetta.example/sensor"),
            (Code(3), "does not know this"),
        ),
        session("another town's code", ours().uri(&elsewhere), (Code(3), "does not know this certificate")),
        session(
            "another town's code by another authority",
            Forge::stranger(collector).uri(&elsewhere),
            (Alert(DECRYPT_ERROR), "BadSignature"),
        ),
        session(
            "a serial that the store does not have",
            ours().uri(&urn),
            (Code(3), "does not know this certificate"),
        ),
        session(
            "for servers only",
            ours().uri(&urn).usage(ExtendedKeyUsagePurpose::ServerAuth),
            (Alert(UNSUPPORTED_CERTIFICATE), "extended key usage"),
        ),
        session(
            "a chain of 20 kB",
            ours().uri(&urn).with_bytes_behind(20_000),
            (Alert(CERTIFICATE_UNKNOWN), "ChainTooLong"),
        ),
    ]
}

/// Good certificates for what they are not for, and none at all.
async fn misplaced(collector: &Collector, sensor: &Sensor) -> Vec<Case> {
    let text = |name: &str| std::fs::read_to_string(collector.state(name)).unwrap();
    let server = Credentials { chain_pem: text("server/chain.pem"), key_pem: text("server/key.pem") };
    let desk = admitted_desk(collector);
    let revoked = Sensor::enrol(collector, "Rocca Bianca").await;
    collector.ok(&["revoke", &revoked.agent, "--reason", "gateway stolen"]);
    let own = || Some(sensor.credentials.clone());
    vec![
        case("none as a sensor", ALPN_SESSION, None, (Code(1), "no client certificate")),
        case("none as a desk", ALPN_PUSH, None, (Code(1), "no client certificate")),
        case("a sensor as a desk", ALPN_PUSH, own(), (Code(2), "not for a desk")),
        case("a sensor as one that enrols", ALPN_ENROL, own(), (Code(2), "not for an enrolment")),
        case("a desk as a sensor", ALPN_SESSION, Some(desk.clone()), (Code(2), "not for a sensor")),
        case("a desk as one that enrols", ALPN_ENROL, Some(desk), (Code(2), "not for an enrolment")),
        case(
            "a revoked sensor",
            ALPN_SESSION,
            Some(revoked.credentials),
            (Code(3), "revoked: gateway stolen"),
        ),
        case(
            "the server's own",
            ALPN_SESSION,
            Some(server),
            (Alert(UNSUPPORTED_CERTIFICATE), "extended key usage"),
        ),
    ]
}

#[tokio::test]
async fn every_kind_of_certificate_is_refused_where_it_does_not_belong() {
    let mut collector = Collector::start().await;
    let mut good = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let mut live = good.connect(&collector).await;
    assert!(live.run_until(&mut good, |_, live| live.welcomed).await);
    let mut cases = forged(&collector, &good.agent);
    cases.extend(misplaced(&collector, &good).await);
    for (number, case) in cases.iter().enumerate() {
        // Each from an address of its own, so that no limit of one touches the next.
        let local = format!("127.0.1.{}:0", number + 1);
        let connected = connect_from(&local, &collector, case.alpn, case.credentials.as_ref()).await;
        let (end, reason) = end_of(connected).await;
        assert_eq!(end, case.end, "{}: {reason}", case.name);
        assert!(reason.contains(case.words), "{}: {reason}", case.name);
    }
    // Of one whose certificate ended the log names sensor and remedy; of a forged one it names nobody.
    let line = collector.wait_for_line("its certificate ended at").await;
    assert!(line.contains(&good.agent) && line.contains("invite --replaces"), "{line}");

    good.find(hit(1));
    assert!(live.run_until(&mut good, |sensor, _| sensor.acknowledged == 1).await);
    assert!(live.connection.close_reason().is_none(), "a good sensor was disturbed");
    assert_eq!(collector.count("SELECT count(*) FROM hit"), 1);
    assert_eq!(collector.count("SELECT count(*) FROM agent"), 2);
}

#[tokio::test]
async fn an_authority_that_nobody_knows_is_refused() {
    let collector = Collector::start().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    let credentials = Credentials { chain_pem: own.pem(), key_pem: key.serialize_pem() };
    let connected = connect_from("127.0.0.1:0", &collector, ALPN_SESSION, Some(&credentials)).await;
    assert_eq!(end_of(connected).await.0, Alert(UNKNOWN_CA));
}

#[tokio::test]
async fn no_ticket_is_given_and_one_from_elsewhere_brings_neither_early_data_nor_a_short_handshake() {
    let collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let tickets = Arc::new(crate::early::Tickets::default());
    let config = crate::early::client(&collector, Some(&sensor.credentials), &tickets);
    let client = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connect =
        || client.connect_with(config.clone(), collector.ingest, protocol::COLLECTOR_SERVER_NAME).unwrap();
    let first = connect().await.unwrap();
    let mut live = sensor.over(first).await;
    assert!(live.run_until(&mut sensor, |_, live| live.welcomed).await);
    live.connection.close(0_u32.into(), b"");
    assert_eq!(tickets.given(), 0, "the collector gave a ticket");
    assert!(connect().into_0rtt().is_err(), "early data without a ticket");

    // A server with the collector's own key that gives tickets: what it gave is worth nothing here.
    crate::early::fetch_tickets(&collector, &client, &config).await;
    assert!(tickets.given() > 0);
    let Ok((early, accepted)) = connect().into_0rtt() else { panic!("the ticket was not used") };
    let (mut send, _recv) = early.open_bi().await.unwrap();
    send.write_all(b"early").await.unwrap();
    assert!(!tokio::time::timeout(DEADLINE, accepted).await.unwrap(), "early data was accepted");
    let mut live = sensor.over(early).await;
    assert!(live.run_until(&mut sensor, |_, live| live.welcomed).await, "not a whole handshake");

    // Nor does a ticket bring in who was revoked since.
    collector.ok(&["revoke", &sensor.agent, "--reason", "gateway stolen"]);
    let closed = live.closed(Duration::from_secs(5)).await.to_string();
    assert!(closed.contains("gateway stolen"), "{closed}");
    crate::early::fetch_tickets(&collector, &client, &config).await;
    let Ok((early, accepted)) = connect().into_0rtt() else { panic!("the ticket was not used") };
    assert!(!accepted.await);
    let (end, reason) = end_of(Ok(early)).await;
    assert!(end == Code(3) && reason.contains("gateway stolen"), "{end:?} {reason}");
}

#[tokio::test]
async fn tls_1_2_is_refused_at_the_first_packet() {
    let collector = Collector::start().await;
    assert_eq!(crate::early::hello_of_tls_1_2(&collector).await, 0x100 + 70, "protocol_version");
    // The same packet as it should be is answered.
    assert_eq!(crate::early::hello_as_it_should_be(&collector).await, 0);
}
