//! One code, one sensor.

use std::time::Duration;

use protocol::enrolment::{EnrolRefusal, EnrolReply};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use crate::process::Collector;
use crate::sensor::{Sensor, ask_to_enrol, authority, new_request};

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
    assert_eq!(collector.agent(&agent.to_string())["comune"], "999001");

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
    let refused = collector.output(&["invite", "--istat", "999001", "--comune", "Borgo Chiaro"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("trust-root 1.root.json"));
    let root = collector.cosc.root_file();
    collector.ok(&["trust-root", root.to_str().unwrap()]);
    collector.invite("Borgo Chiaro");
    let other = crate::repository::SignedRepository::new().root_file();
    assert_eq!(collector.output(&["trust-root", other.to_str().unwrap()]).status.code(), Some(1));
}

/// What `invite` says with these arguments: the error, or nothing.
fn invited(collector: &Collector, arguments: &[&str]) -> String {
    let output = collector.output(&[&["invite"], arguments].concat());
    match output.status.success() {
        true => String::new(),
        false => String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test]
async fn a_town_is_known_by_its_istat_code() {
    let collector = Collector::made().await;
    let borgo = ["--istat", "999001", "--comune", "Borgo Chiaro"];
    for (arguments, error) in [
        (&["--comune", "Borgo Chiaro"][..], "needs its ISTAT code"),
        (&["--istat", "999001"], "needs its name"),
        (&["--istat", "99901", "--comune", "Borgo Chiaro"], "six digits"),
        (&["--istat", "99900a", "--comune", "Borgo Chiaro"], "six digits"),
        (&borgo, ""),
        // Known: either says which.
        (&borgo, ""),
        (&["--istat", "999001"], ""),
        (&["--comune", "Borgo Chiaro"], ""),
        (&["--comune", "Borgo chiaro"], "needs its ISTAT code"),
        (&["--istat", "999001", "--comune", "Borgo chiaro"], "is known as \"Borgo Chiaro\""),
        (&["--istat", "999002", "--comune", "Borgo Chiaro"], "is the name of the town 999001"),
        (&["--istat", "999002", "--comune", "Borgo Chiaro (XX)"], ""),
        (
            &["--istat", "999001", "--comune", "Borgo Chiaro (XX)", "--rename"],
            "is the name of the town 999002",
        ),
        (&["--istat", "999001", "--comune", "Borgo Nuovo", "--rename"], ""),
        (&["--comune", "Borgo Nuovo"], ""),
        (&["--istat", "999001", "--hours", "25"], "25"),
        (&[], "--istat"),
    ] {
        let said = invited(&collector, arguments);
        assert_eq!(said.is_empty(), error.is_empty(), "{arguments:?}: {said}");
        assert!(said.contains(error), "{arguments:?}: {said}");
    }
    assert_eq!(collector.count("SELECT count(*) FROM comune"), 2);
    assert_eq!(
        collector.count("SELECT count(*) FROM comune WHERE id = '999001' AND name = 'Borgo Nuovo'"),
        1
    );
}

#[tokio::test]
async fn a_sensor_that_takes_anothers_place_ends_it_in_the_same_moment() {
    let collector = Collector::start().await;
    let mut old = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let mut live = old.connect(&collector).await;
    assert!(live.run_until(&mut old, |_, live| live.welcomed).await);
    for (arguments, error) in [
        (&["--replaces", "0123456"][..], "0 sensors"),
        (&["--replaces", "0123456789"], "0 sensors"),
        (&["--replaces", &old.agent, "--comune", "Valle Scura"], "belongs to \"Borgo Chiaro\""),
    ] {
        assert!(invited(&collector, arguments).contains(error), "{arguments:?}");
    }
    let (beginning, _) = old.agent.split_at(10);
    let printed = collector.ok(&["invite", "--replaces", beginning]);
    // The invitation alone changes nothing.
    assert_eq!(collector.agent(&old.agent)["revoked"], false);
    let code = printed.lines().last().unwrap().parse().unwrap();
    let (_, request) = new_request();
    let EnrolReply::Enrolled { agent, comune, .. } = ask_to_enrol(&collector, &code, &request).await else {
        panic!("not enrolled")
    };
    assert_eq!(comune, "Borgo Chiaro");
    let closed = live.closed(Duration::from_secs(5)).await.to_string();
    assert!(closed.contains("took its place"), "{closed}");
    let (row, agent) = (collector.agent(&old.agent), agent.to_string());
    assert_eq!((&row["revoked"], &row["replaced_by"]), (&true.into(), &agent.clone().into()));
    assert_eq!(collector.agent(&agent)["replaces"], old.agent.as_str());
    let list = collector.ok(&["agents"]);
    assert!(list.contains(&format!("takes the place of {}", old.agent)), "{list}");
    assert!(list.contains(&format!("place was taken by {agent}")), "{list}");
}
