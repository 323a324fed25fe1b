//! Who is sent away, with which code and sentence, and what the log says.

use std::time::{Duration, Instant};

use protocol::message::{AgentMessage, DeskMessage, PushReply};
use protocol::{ALPN_PUSH, ALPN_SESSION};
use quinn::ConnectionError;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, SanType};

use crate::desk::admitted_desk;
use crate::process::Collector;
use crate::sensor::{Credentials, Sensor, connect, hit, read, refused, write};

/// A certificate that names the sensor, signed by its own key.
fn strangers(uri: &str) -> Credentials {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let chain_pem = params.self_signed(&key).unwrap().pem();
    Credentials { chain_pem, key_pem: key.serialize_pem() }
}

#[tokio::test]
async fn strangers_and_wrong_roles_are_refused_with_a_reason() {
    let mut collector = Collector::start().await;
    let sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let desk = admitted_desk(&collector);
    let stranger = strangers(&format!("urn:vedetta:comune:999001:agent:{}", sensor.agent));

    let (code, _) = refused(connect(&collector, ALPN_SESSION, Some(&stranger)).await).await;
    assert_eq!(code, u64::MAX, "TLS itself refuses");
    collector.wait_for_line("handshake failed: the cryptographic handshake failed").await;
    collector.wait_for_line("UnknownIssuer").await;

    for alpn in [ALPN_SESSION, ALPN_PUSH] {
        let (code, sentence) = refused(connect(&collector, alpn, None).await).await;
        assert_eq!(code, 1);
        assert!(sentence.contains("no client certificate"), "{sentence}");
    }
    collector.wait_for_line("no client certificate").await;

    let (code, sentence) = refused(connect(&collector, ALPN_SESSION, Some(&desk)).await).await;
    assert_eq!(code, 2);
    assert!(sentence.contains("not for a sensor"), "{sentence}");
    let (code, sentence) = refused(connect(&collector, ALPN_PUSH, Some(&sensor.credentials)).await).await;
    assert_eq!(code, 2);
    assert!(sentence.contains("not for a desk"), "{sentence}");
    collector.wait_for_line("not for a desk: urn:vedetta:comune:999001").await;

    let unknown = connect(&collector, b"vedetta/99", Some(&sensor.credentials)).await;
    assert!(matches!(unknown, Err(ConnectionError::ConnectionClosed(_))), "{unknown:?}");
}

#[tokio::test]
async fn the_servers_own_certificate_opens_nothing() {
    let mut collector = Collector::start().await;
    let server = Credentials {
        chain_pem: std::fs::read_to_string(collector.state("server/chain.pem")).unwrap(),
        key_pem: std::fs::read_to_string(collector.state("server/key.pem")).unwrap(),
    };
    let (code, _) = refused(connect(&collector, ALPN_SESSION, Some(&server)).await).await;
    assert_eq!(code, u64::MAX);
    collector.wait_for_line("does not allow extended key usage for client authentication").await;
}

#[tokio::test]
async fn revocation_ends_a_live_connection_and_every_later_one() {
    let mut collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let mut other = Sensor::enrol(&collector, "Valle Scura").await;
    let mut live = sensor.connect(&collector).await;
    assert!(live.run_until(&mut sensor, |_, live| live.welcomed).await);
    let mut others = other.connect(&collector).await;
    assert!(others.run_until(&mut other, |_, live| live.welcomed).await);

    let (beginning, _) = sensor.agent.split_at(10);
    collector.ok(&["revoke", beginning, "--reason", "gateway stolen"]);
    let revoked_at = Instant::now();
    let closed = live.closed(Duration::from_secs(5)).await;
    assert!(revoked_at.elapsed() < Duration::from_millis(1500), "{:?}", revoked_at.elapsed());
    let ConnectionError::ApplicationClosed(closed) = closed else { panic!("{closed}") };
    assert_eq!(closed.error_code.into_inner(), 3);
    assert!(String::from_utf8_lossy(&closed.reason).contains("gateway stolen"));

    let (code, sentence) = refused(connect(&collector, ALPN_SESSION, Some(&sensor.credentials)).await).await;
    assert_eq!(code, 3);
    assert!(sentence.contains("revoked: gateway stolen"), "{sentence}");
    collector.wait_for_line("this certificate was revoked: gateway stolen").await;
    assert_eq!(collector.agent(&sensor.agent)["revoked"], true);

    other.find(hit(1));
    assert!(others.run_until(&mut other, |sensor, _| sensor.acknowledged == 1).await);
}

#[tokio::test]
async fn revocation_ends_every_kind_of_connection_within_a_second() {
    let collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let desk = admitted_desk(&collector);
    // A desk before its offer and one in the middle of it, a sensor before its greeting, one that is welcomed, and one
    // that does not read the file that it fetches.
    let idle = connect(&collector, ALPN_PUSH, Some(&desk)).await.unwrap();
    let offering = connect(&collector, ALPN_PUSH, Some(&desk)).await.unwrap();
    let (mut send, mut recv) = offering.open_bi().await.unwrap();
    write(&mut send, &DeskMessage::Offer { files: collector.cosc.files(), rollout: None }).await;
    let _want: PushReply = read(&mut recv).await;
    let silent = sensor.connect(&collector).await;
    let mut welcomed = sensor.connect(&collector).await;
    assert!(welcomed.run_until(&mut sensor, |_, live| live.welcomed).await);
    let mut fetching = sensor.connect(&collector).await;
    assert!(fetching.run_until(&mut sensor, |_, live| live.welcomed).await);
    let (mut asked, _unread) = fetching.connection.open_bi().await.unwrap();
    asked.write_all(&[0, 0]).await.unwrap();

    let kinds = [
        ("cosc-esempio", vec![idle, offering]),
        (&sensor.agent, vec![silent.connection, welcomed.connection, fetching.connection]),
    ];
    for (who, connections) in kinds {
        collector.ok(&["revoke", who, "--reason", "stolen"]);
        let revoked_at = Instant::now();
        for (number, connection) in connections.iter().enumerate() {
            let closed = tokio::time::timeout(Duration::from_secs(5), connection.closed()).await.unwrap();
            assert!(closed.to_string().contains("revoked: stolen"), "{who} {number}: {closed}");
        }
        assert!(revoked_at.elapsed() < Duration::from_millis(1500), "{who}: {:?}", revoked_at.elapsed());
    }
}

#[tokio::test]
async fn a_certificate_that_the_store_forgot_is_refused() {
    let collector = Collector::start().await;
    let sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    collector.store().execute("DELETE FROM certificate", []).unwrap();
    let (code, sentence) = refused(connect(&collector, ALPN_SESSION, Some(&sensor.credentials)).await).await;
    assert_eq!(code, 3);
    assert!(sentence.contains("does not know this certificate"), "{sentence}");
}

#[tokio::test]
async fn breaking_the_protocol_ends_the_connection_with_its_reason() {
    let mut collector = Collector::start().await;
    let sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let mut live = sensor.connect(&collector).await;
    write(&mut live.send, &AgentMessage::Batch { first: 1, records: Vec::new() }).await;
    let closed = live.closed(Duration::from_secs(5)).await.to_string();
    assert!(closed.contains("batch out of turn"), "{closed}");

    let mut live = sensor.connect(&collector).await;
    live.send.write_all(&[0xff; 64]).await.unwrap();
    let closed = live.closed(Duration::from_secs(5)).await.to_string();
    assert!(closed.contains("longer than the limit"), "{closed}");
    collector.wait_for_line("longer than the limit").await;
}
