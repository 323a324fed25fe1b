//! A collector under somebody else's root.

use protocol::ALPN_PUSH;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use crate::desk::admitted_desk;
use crate::process::Collector;
use crate::sensor::{Sensor, authority, connect, hit};

type Ca = CertifiedIssuer<'static, KeyPair>;

fn params(name: &str, depth: Option<u8>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(depth.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn root(depth: Option<u8>) -> Ca {
    Ca::self_signed(params("Invented root", depth), KeyPair::generate().unwrap()).unwrap()
}

fn under(above: &Ca, params: CertificateParams) -> Ca {
    Ca::signed_by(params, KeyPair::generate().unwrap(), above).unwrap()
}

/// The certificates as a chain, and the first one's key.
fn files(collector: &Collector, chain: &[&Ca]) -> [String; 2] {
    let pem: String = chain.iter().map(|it| it.pem()).collect();
    written(collector, &pem, &chain[0].key().serialize_pem())
}

fn written(collector: &Collector, chain: &str, key: &str) -> [String; 2] {
    [("given.pem", chain), ("given.key", key)].map(|(name, text)| {
        let path = collector.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

#[tokio::test]
async fn peers_of_a_collector_under_an_existing_root_pin_its_own_authority() {
    let mut collector = Collector::unmade().await;
    let root = root(None);
    let region = under(&root, params("Invented region", Some(1)));
    let own = under(&region, params("Invented centre", Some(0)));
    let [chain, key] = files(&collector, &[&own, &region, &root]);
    collector.init(&["--authority-chain", &chain, "--authority-key", &key]);
    collector.run().await;
    let code = collector.invite("Borgo Chiaro");
    assert_eq!(code.authority_sha256.as_slice(), Sha256::digest(own.der()).as_slice());
    assert_eq!(authority(&collector), *own.der());

    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let given = CertificateDer::pem_slice_iter(sensor.credentials.chain_pem.as_bytes()).count();
    assert_eq!(given, 4, "the sensor's, the authority's and those above it");
    sensor.find(hit(1));
    assert!(sensor.deliver(&collector).await);
    assert_eq!(collector.count("SELECT count(*) FROM hit"), 1);
    let desk = admitted_desk(&collector);
    connect(&collector, ALPN_PUSH, Some(&desk)).await.unwrap().open_bi().await.unwrap();

    // The root's other children are not believed.
    let other = under(&root, params("Invented neighbour", None));
    let stranger = crate::forge::Forge::by(&collector, &other).sensor(&sensor.agent).sign();
    let connected = connect(&collector, protocol::ALPN_SESSION, Some(&stranger)).await;
    assert_eq!(crate::sensor::refused(connected).await.0, u64::MAX);
}

#[tokio::test]
async fn a_chain_that_does_not_fit_is_refused_with_what_to_do() {
    let collector = Collector::unmade().await;
    let root = root(None);
    let good = under(&root, params("Invented centre", None));
    let refused = |[chain, key]: [String; 2], words: &str| {
        let arguments = [
            "init",
            "--host",
            "localhost",
            "--operator",
            "rossi",
            "--authority-chain",
            &chain,
            "--authority-key",
            &key,
        ];
        let output = collector.output(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(words), "{words}: {said}");
        assert!(!collector.state("").exists(), "{words}: something was made");
    };
    let with = |change: &dyn Fn(&mut CertificateParams)| {
        let mut changed = params("Invented centre", None);
        change(&mut changed);
        under(&root, changed)
    };
    let key = good.key().serialize_pem();
    refused(written(&collector, "", &key), "holds no certificate");
    refused(written(&collector, "rubbish", &key), "holds no certificate");
    refused(written(&collector, &good.pem(), "rubbish"), "openssl pkcs8");
    refused(written(&collector, &good.pem(), &root.key().serialize_pem()), "does not belong to the first");
    refused(files(&collector, &[&with(&|it| it.is_ca = IsCa::ExplicitNoCa), &root]), "ask who runs the root");
    refused(
        files(&collector, &[&with(&|it| it.key_usages = vec![KeyUsagePurpose::DigitalSignature]), &root]),
        "keyCertSign",
    );
    refused(
        files(&collector, &[&with(&|it| it.not_after = date_time_ymd(2020, 1, 1)), &root]),
        "ended at 2020",
    );
    refused(
        files(&collector, &[&with(&|it| it.not_before = date_time_ymd(2099, 1, 1)), &root]),
        "begins at 2099",
    );
    let servers_only = with(&|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    refused(files(&collector, &[&servers_only, &root]), "server and client certificates");
    refused(files(&collector, &[&good, &self::root(None)]), "would not be believed");
    let short = self::root(Some(0));
    refused(files(&collector, &[&under(&short, params("Invented centre", None)), &short]), "path length");
    let many: Vec<Ca> = std::iter::successors(Some(under(&root, params("1", None))), |above| {
        Some(under(above, params(&"long ".repeat(40), None)))
    })
    .take(25)
    .collect();
    let chain: Vec<&Ca> = many.iter().rev().chain([&root]).collect();
    refused(files(&collector, &chain), "a handshake takes");
    refused([collector.folder.path().join("nothing").to_str().unwrap().into(), "x".into()], "nothing");
}
