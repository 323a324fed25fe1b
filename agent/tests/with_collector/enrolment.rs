//! `enrol` against a real QUIC server: the key stays here, the code's authority and root are believed, nothing else.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use crate::peer::{AGENT, Authority, Peer, Store, state_dir};
use protocol::enrolment::EnrolmentCode;
use vedetta_agent::config::{Config, ConfigError};
use vedetta_agent::enrol;
use vedetta_agent::identity::Identity;

fn config(state: &Path) -> Config {
    let text = format!("state_dir = {state:?}\n[capture]\ninterfaces = [\"lan0\"]\n");
    Config::parse(&text, Path::new("agent.toml")).unwrap()
}

fn world() -> (tempfile::TempDir, std::path::PathBuf, Arc<Authority>, Peer) {
    let (folder, state) = state_dir();
    let authority = Arc::new(Authority::new());
    let peer = Peer::start(&authority, "127.0.0.1:0", Arc::new(Mutex::new(Store::default())));
    (folder, state, authority, peer)
}

/// Enrolment fails with these words and leaves no identity.
fn check_refused(state: &Path, code: &EnrolmentCode, words: &str) {
    let error = enrol::run(&config(state), &code.to_string(), false).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains(words), "{error:?} does not say {words:?}");
    assert!(Identity::read(state).is_err(), "an identity was left");
    assert!(!state.join("identity.new").exists(), "a draft was left");
}

#[test]
fn a_code_becomes_an_identity_once() {
    let (_folder, state, authority, peer) = world();
    let code = peer.code(&authority).to_string();
    enrol::run(&config(&state), &code, false).unwrap();
    let identity = Identity::read(&state).unwrap();
    assert_eq!(identity.enrolment.agent, AGENT);
    assert_eq!(identity.enrolment.comune, "Borgo Chiaro");
    assert_eq!(identity.enrolment.addresses, ["collector.example:4740"]);
    assert_eq!(identity.authority_pem.trim(), authority.pem().trim());
    assert!(identity.credentials_pem.contains("PRIVATE KEY"));

    let again = enrol::run(&config(&state), &code, false).unwrap_err().to_string();
    assert!(again.contains("--replace"), "{again}");
    enrol::run(&config(&state), &code, true).unwrap();
    assert_ne!(Identity::read(&state).unwrap().credentials_pem, identity.credentials_pem);
}

#[test]
fn another_authority_than_the_codes_is_not_believed() {
    let (_folder, state, _, peer) = world();
    check_refused(&state, &peer.code(&Authority::new()), "authority pinned at enrolment");
}

#[test]
fn another_cosc_root_than_the_codes_is_not_believed() {
    let (_folder, state, authority, peer) = world();
    peer.mood.other_root.store(true, Ordering::Relaxed);
    check_refused(&state, &peer.code(&authority), "another COSC root");
}

#[test]
fn refused_codes_say_why() {
    let (_folder, state, authority, peer) = world();
    let unknown = EnrolmentCode { secret: [0; 16], ..peer.code(&authority) };
    check_refused(&state, &unknown, "does not know this code");
    peer.mood.used.store(true, Ordering::Relaxed);
    check_refused(&state, &peer.code(&authority), "used already");
    let mistyped = enrol::run(&config(&state), "VEDETTA1-abc", false).unwrap_err().to_string();
    assert!(mistyped.contains("copy it again"), "{mistyped}");
}

#[test]
fn a_collector_that_is_not_there_leaves_the_code_unused() {
    let (_folder, state, authority, peer) = world();
    let code = peer.code(&authority);
    peer.stop();
    check_refused(&state, &code, "The code was not used");
}

#[test]
fn a_service_enrols_itself_once_with_the_code_it_is_handed() {
    let (folder, state, authority, peer) = world();
    let credentials = folder.path();
    let start = || enrol::at_first_start(&config(&state), Some(credentials));
    enrol::at_first_start(&config(&state), None).unwrap();
    start().unwrap();
    assert!(Identity::read(&state).is_err(), "enrolled without a code");

    // A code that the collector refuses is final, one that it could not be asked about is not.
    let code = folder.path().join("enrolment-code");
    let unknown = EnrolmentCode { secret: [0; 16], ..peer.code(&authority) };
    for text in [unknown.to_string(), "VEDETTA1-cut".into()] {
        std::fs::write(&code, text).unwrap();
        let error = start().unwrap_err();
        assert!(error.is::<ConfigError>(), "{error:#}");
        assert!(error.to_string().contains("code"), "{error:#}");
    }
    let nobody = EnrolmentCode { addresses: vec!["127.0.0.1:9".into()], ..peer.code(&authority) };
    std::fs::write(&code, nobody.to_string()).unwrap();
    assert!(!start().unwrap_err().is::<ConfigError>());

    std::fs::write(&code, format!("  {}\n", peer.code(&authority))).unwrap();
    start().unwrap();
    let first = Identity::read(&state).unwrap().credentials_pem;
    start().unwrap();
    assert_eq!(Identity::read(&state).unwrap().credentials_pem, first, "enrolled twice");
    assert_eq!(enrol::code_in(&code).unwrap().trim(), peer.code(&authority).to_string());
    assert!(enrol::code_in(&folder.path().join("nothing")).unwrap_err().to_string().contains("nothing"));
}
