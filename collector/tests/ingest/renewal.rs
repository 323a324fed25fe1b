//! The next certificate of a sensor, and the end of the one before.

use std::time::Duration;

use protocol::ALPN_SESSION;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::process::Collector;
use crate::sensor::{Credentials, Live, Sensor, connect, hit, new_request, refused};

const DAY_MICROS: i64 = 86_400 * 1_000_000;

async fn welcomed(sensor: &mut Sensor, collector: &Collector) -> Live {
    let mut live = sensor.connect(collector).await;
    assert!(live.run_until(sensor, |_, live| live.welcomed).await);
    live
}

/// Asks over an open session, and gives the pair or the refusal.
async fn renew(live: &mut Live, sensor: &mut Sensor) -> Result<Credentials, String> {
    let (key, request) = new_request();
    live.session.handle_renewal(request);
    assert!(live.run_until(sensor, |sensor, _| sensor.renewal.is_some()).await);
    let chain_pem = sensor.renewal.take().unwrap()?;
    Ok(Credentials { chain_pem, key_pem: key.serialize_pem() })
}

fn uri_and_days(chain_pem: &str) -> (String, i64) {
    let leaf = CertificateDer::from_pem_slice(chain_pem.as_bytes()).unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    let now = jiff::Timestamp::now().as_second();
    (format!("{:?}", names.value.general_names), (leaf.validity().not_after.timestamp() - now + 60) / 86_400)
}

#[tokio::test]
async fn the_old_certificate_is_good_until_the_new_one_was_welcomed() {
    let mut collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let (uri, days) = uri_and_days(&sensor.credentials.chain_pem);
    assert_eq!(days, 30);
    let old = sensor.credentials.clone();
    let mut live = welcomed(&mut sensor, &collector).await;
    let new = renew(&mut live, &mut sensor).await.unwrap();
    assert_eq!(
        uri_and_days(&new.chain_pem),
        (uri, 30),
        "the identity of the connection, whatever the request says"
    );
    collector.wait_for_line("certificate renewed").await;
    // The answer may be lost: until the new one is used the old one opens sessions.
    live.connection.close(0_u32.into(), b"");
    let again = welcomed(&mut sensor, &collector).await;
    again.connection.close(0_u32.into(), b"");
    assert_eq!(collector.count("SELECT count(*) FROM certificate WHERE revoked_at IS NULL"), 2);

    sensor.credentials = new;
    sensor.find(hit(1));
    assert!(sensor.deliver(&collector).await);
    assert_eq!(collector.count("SELECT count(*) FROM certificate WHERE revoked_at IS NULL"), 1);
    assert_eq!(collector.agent(&sensor.agent)["revoked"], false);
    let (code, sentence) = refused(connect(&collector, ALPN_SESSION, Some(&old)).await).await;
    assert_eq!(code, 3);
    assert!(sentence.contains("uses a newer one"), "{sentence}");
    assert_eq!(collector.count("SELECT count(*) FROM audit WHERE action = 'renew'"), 1);
}

#[tokio::test]
async fn a_renewal_is_refused_with_a_reason_and_the_session_goes_on() {
    let mut collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let mut live = welcomed(&mut sensor, &collector).await;
    live.session.handle_renewal("rubbish".into());
    assert!(live.run_until(&mut sensor, |sensor, _| sensor.renewal.is_some()).await);
    let reason = sensor.renewal.take().unwrap().unwrap_err();
    assert!(reason.contains("not a certificate request"), "{reason}");
    // The one of the enrolment and three more.
    for _ in 0..3 {
        renew(&mut live, &mut sensor).await.unwrap();
    }
    let reason = renew(&mut live, &mut sensor).await.err().unwrap();
    assert!(reason.contains("tomorrow"), "{reason}");
    collector.wait_for_line("enough certificates today").await;
    sensor.find(hit(1));
    assert!(live.run_until(&mut sensor, |sensor, _| sensor.acknowledged == 1).await);
    assert_eq!(collector.count("SELECT count(*) FROM certificate"), 4);
}

#[tokio::test]
async fn a_connection_ends_with_its_certificate() {
    let collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let seconds = 5;
    sensor.credentials =
        crate::forge::Forge::of(&collector).sensor(&sensor.agent).ends_in_seconds(seconds).keep();
    let live = welcomed(&mut sensor, &collector).await;
    let closed = live.closed(Duration::from_secs(20)).await.to_string();
    assert!(closed.contains("has ended") && closed.contains("new code"), "{closed}");
}

#[tokio::test]
async fn the_list_says_when_a_certificate_ends() {
    let collector = Collector::start().await;
    let sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let row = collector.agent(&sensor.agent);
    let until: protocol::Timestamp = row["certificate_until"].as_str().unwrap().parse().unwrap();
    let days = until.micros_since(crate::sensor::now()) / DAY_MICROS;
    assert!((29..=30).contains(&days), "{until}");
}
