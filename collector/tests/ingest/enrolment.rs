//! One code, one sensor.

use protocol::enrolment::{EnrolRefusal, EnrolReply};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use crate::process::Collector;
use crate::sensor::{ask_to_enrol, authority, new_request};

fn refusal(reply: EnrolReply) -> EnrolRefusal {
    match reply {
        EnrolReply::Refused { reason } => reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_code_enrols_one_sensor_once_and_pins_authority_and_root() {
    let mut collector = Collector::start().await;
    let code = collector.invite("Borgo Chiaro");
    let sha256 = |bytes: &[u8]| <[u8; 32]>::from(Sha256::digest(bytes));
    assert_eq!(code.authority_sha256, sha256(&authority(&collector)));
    assert_eq!(code.addresses, [format!("localhost:{}", collector.ingest.port())]);

    let (_, request) = new_request();
    let EnrolReply::Enrolled { agent, comune, chain_pem, cosc_root, addresses } =
        ask_to_enrol(&collector, &code, &request).await
    else {
        panic!("not enrolled")
    };
    assert_eq!(comune, "Borgo Chiaro");
    assert_eq!(addresses, code.addresses);
    assert_eq!(sha256(cosc_root.as_bytes()), code.root_sha256);
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect::<Result<_, _>>().unwrap();
    assert_eq!(chain.len(), 2);
    assert_eq!(chain[1], authority(&collector));
    assert_eq!(collector.agent(&agent.to_string())["comune"], "borgo-chiaro");

    assert_eq!(refusal(ask_to_enrol(&collector, &code, &request).await), EnrolRefusal::Used);
    collector.wait_for_line("this code was used already").await;
    assert_eq!(collector.count("SELECT count(*) FROM agent"), 1);
}

#[tokio::test]
async fn two_sensors_with_one_code_at_once_are_one_sensor() {
    let collector = Collector::start().await;
    let code = collector.invite("Borgo Chiaro");
    let ((_, first), (_, second)) = (new_request(), new_request());
    let replies =
        tokio::join!(ask_to_enrol(&collector, &code, &first), ask_to_enrol(&collector, &code, &second));
    let enrolled =
        [replies.0, replies.1].iter().filter(|it| matches!(it, EnrolReply::Enrolled { .. })).count();
    assert_eq!(enrolled, 1);
    assert_eq!(collector.count("SELECT count(*) FROM agent"), 1);
}

#[tokio::test]
async fn expired_codes_and_bad_requests_are_refused_and_a_bad_request_uses_nothing_up() {
    let collector = Collector::start().await;
    let (_, request) = new_request();
    let code = collector.invite("Borgo Chiaro");
    let nonsense = ask_to_enrol(&collector, &code, "nonsense").await;
    assert_eq!(refusal(nonsense), EnrolRefusal::BadRequest);
    let sql = "UPDATE invitation SET expires_at = 1";
    collector.store().execute(sql, []).unwrap();
    assert_eq!(refusal(ask_to_enrol(&collector, &code, &request).await), EnrolRefusal::Expired);
    let fresh = collector.invite("Borgo Chiaro");
    assert!(matches!(ask_to_enrol(&collector, &fresh, &request).await, EnrolReply::Enrolled { .. }));
}

#[tokio::test]
async fn guessing_closes_the_door_even_for_the_right_code() {
    let mut collector = Collector::start().await;
    let (_, request) = new_request();
    let right = collector.invite("Borgo Chiaro");
    let mut wrong = right.clone();
    wrong.secret = [9; 16];
    for _ in 0..5 {
        assert_eq!(refusal(ask_to_enrol(&collector, &wrong, &request).await), EnrolRefusal::Unknown);
    }
    assert_eq!(refusal(ask_to_enrol(&collector, &right, &request).await), EnrolRefusal::Unknown);
    collector.wait_for_line("does not know this code").await;
}

#[tokio::test]
async fn no_sensor_is_invited_before_a_cosc_is_trusted() {
    let collector = Collector::made().await;
    std::fs::remove_file(collector.state("cosc-root.json")).unwrap();
    let refused = collector.output(&["invite", "--comune", "Borgo Chiaro"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("trust-root 1.root.json"));
    let root = collector.cosc.root_file();
    collector.ok(&["trust-root", root.to_str().unwrap()]);
    collector.invite("Borgo Chiaro");
    let other = crate::repository::SignedRepository::new().root_file();
    assert_eq!(collector.output(&["trust-root", other.to_str().unwrap()]).status.code(), Some(1));
}

#[tokio::test]
async fn two_towns_whose_names_look_alike_are_not_mixed() {
    let collector = Collector::made().await;
    collector.invite("Borgo Chiaro");
    collector.invite("Borgo Chiaro");
    let refused = collector.output(&["invite", "--comune", "Borgo chiaro"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is known as \"Borgo Chiaro\""));
    assert_eq!(collector.count("SELECT count(*) FROM comune"), 1);
}
