//! Bundles that follow from their number, and stores that take them.

use std::fs::{self, File};
use std::io::BufReader;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use protocol::bundle::{BUNDLE_FORMAT, BundleLimits, Revocation, SetHash};
use protocol::delta::DeltaWriter;
use protocol::index::{Layers, Matches, Value};
use protocol::repository::Provenance;
use protocol::{BundleHeader, BundleReader, BundleWriter, Indicator, LookFor, Serial, Timestamp};
use vedetta_agent::bundles::not_taken::NotTaken;
use vedetta_agent::bundles::store::{Applied, Arrived, BundleStore, Started, StoreConfig};

/// Domains in each bundle; each bundle drops the first of the one before and has one more.
pub const DOMAINS: u64 = 120;
const ROOT: &[u8] = b"{\"the root\": 1}";

fn indicator(value: &str) -> Indicator {
    Indicator::plain(LookFor::guess(value).unwrap())
}

/// What bundle number `serial` looks for.
pub fn indicators(serial: u64) -> Vec<Indicator> {
    let domains = (serial..serial + DOMAINS).map(|number| indicator(&format!("n{number}.evil.example")));
    let others = [
        format!("2001:db8::{serial:x}"),
        format!("2001:db8:{serial:x}::/48"),
        format!("http://evil.example/{serial}"),
        format!("{serial:064x}"),
    ];
    let mut all: Vec<Indicator> = domains.chain(others.iter().map(|value| indicator(value))).collect();
    // The same value in every bundle, by another identifier in each.
    let mut named = indicator("always.example");
    named.id = format!("indicator--{serial}");
    all.push(named);
    all
}

fn revocations(serial: u64) -> Vec<Revocation> {
    vec![Revocation::Indicator(format!("n{}.evil.example", serial + 1))]
}

/// Writes a bundle of these indicators and revocations.
pub fn write(
    path: &Path,
    serial: u64,
    indicators: Vec<Indicator>,
    revocations: Vec<Revocation>,
) -> BundleHeader {
    let header = BundleHeader {
        vedetta_bundle: BUNDLE_FORMAT,
        serial: Serial(serial),
        created: Timestamp::from_seconds(1_700_000_000, 0),
        issuer: "cosc-esempio".into(),
        indicators: 0,
        set: None,
    };
    BundleWriter::write_lines(File::create(path).unwrap(), indicators, revocations, header).unwrap()
}

/// A full bundle as verification leaves it.
pub fn full(folder: &Path, serial: u64) -> Arrived {
    full_of(folder, serial, indicators(serial), revocations(serial))
}

pub fn full_of(folder: &Path, serial: u64, lines: Vec<Indicator>, revocations: Vec<Revocation>) -> Arrived {
    let file = arrived(folder, &format!("bundle-{serial}.jsonl.zst"));
    let header = write(&file, serial, lines, revocations);
    Arrived::Full { header, provenance: signed(serial), file }
}

/// The changes from one bundle to another, as verification leaves them.
pub fn delta(folder: &Path, from: u64, to: u64) -> Arrived {
    let paths = [from, to].map(|serial| arrived(folder, &format!("made-{serial}")));
    for (path, serial) in paths.iter().zip([from, to]) {
        write(path, serial, indicators(serial), revocations(serial));
    }
    let file = arrived(folder, &format!("delta-{from}-{to}.jsonl.zst"));
    let header = {
        let [mut base, mut next] = paths.each_ref().map(|path| read(path));
        DeltaWriter::write(File::create(&file).unwrap(), &mut base, &mut next, 100_000).unwrap()
    };
    paths.iter().for_each(|path| fs::remove_file(path).unwrap());
    Arrived::Delta { header, provenance: signed(to), file }
}

/// Bundles of the same signers.
fn signed(serial: u64) -> Provenance {
    Provenance { signers: "11".repeat(32), sha256: format!("{serial:064x}") }
}

fn read(path: &Path) -> BundleReader<'static> {
    BundleReader::new(BufReader::new(File::open(path).unwrap()), BundleLimits::default()).unwrap()
}

fn arrived(folder: &Path, name: &str) -> PathBuf {
    let arrived = folder.join("arrived");
    fs::create_dir_all(&arrived).unwrap();
    arrived.join(name)
}

/// The set that bundle number `serial` is.
pub fn set(serial: u64) -> SetHash {
    let mut set = SetHash::default();
    for indicator in indicators(serial) {
        set.add(&serde_json::to_vec(&indicator).unwrap());
    }
    for revocation in revocations(serial) {
        set.add(&serde_json::to_vec(&revocation).unwrap());
    }
    set
}

fn config(folder: &Path) -> StoreConfig {
    let (folder, cosc_root) = (folder.into(), ROOT.into());
    StoreConfig { folder, cosc_root, home_networks: Vec::new(), merge_above: 1000 }
}

/// A store that is running.
pub struct Running {
    started: Option<Started>,
    pub folder: PathBuf,
}

impl Running {
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[], 1000)
    }

    pub fn start_with(folder: &Path, home_networks: &[&str], merge_above: u64) -> Self {
        let home_networks = home_networks.iter().map(|network| network.parse().unwrap()).collect();
        Self::start_as(StoreConfig { home_networks, merge_above, ..config(folder) })
    }

    /// A store of a sensor that is enrolled at another COSC.
    pub fn start_of(folder: &Path, root: &[u8]) -> Self {
        Self::start_as(StoreConfig { cosc_root: root.into(), ..config(folder) })
    }

    fn start_as(config: StoreConfig) -> Self {
        let folder = config.folder.clone();
        Self { started: Some(BundleStore::start(config).unwrap()), folder }
    }

    pub fn store(&self) -> &BundleStore {
        &self.started.as_ref().unwrap().store
    }

    pub fn apply(&self, arrived: Arrived) -> Result<Applied, NotTaken> {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(self.store().apply(arrived))
    }

    /// Waits until nothing is built and nothing is wrong.
    pub fn settle(&self) {
        wait_for("the store settles", || {
            let status = self.store().status().load();
            status.building.is_none() && status.trouble.is_empty() && status.in_force.is_some()
        });
    }

    /// Why the last one was refused.
    pub fn trouble(&self) -> String {
        self.store().status().load().trouble.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(Started { store, stopper, stage }) = self.started.take() else { return };
        drop((store, stopper));
        stage.join().unwrap().unwrap();
    }
}

pub fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn now() -> Timestamp {
    Timestamp::from_seconds(1_760_000_000, 0)
}

/// How many indicators count for a value.
pub fn found(layers: &Layers, value: Value<'_>) -> usize {
    let Matches { indicators, .. } = layers.look_up(value, now()).unwrap();
    indicators.len()
}

/// Fails unless these layers are bundle number `serial` and answer so.
pub fn check(layers: &Layers, serial: u64) {
    assert_eq!((layers.serial(), layers.set()), (Serial(serial), set(serial)));
    let domain = |number: u64| found(layers, Value::Domain(&format!("www.n{number}.evil.example")));
    assert_eq!(domain(serial), 1, "the first domain of {serial}");
    assert_eq!(domain(serial + 1), 0, "what bundle {serial} revokes");
    assert_eq!(domain(serial + DOMAINS - 1), 1, "the last domain of {serial}");
    assert_eq!(domain(serial + DOMAINS), 0, "a domain of a later bundle than {serial}");
    assert_eq!(domain(serial.wrapping_sub(1)), 0, "a domain of an earlier bundle than {serial}");
    let address = |text: String| found(layers, Value::Ip(text.parse::<IpAddr>().unwrap(), None));
    assert_eq!(address(format!("2001:db8:{serial:x}::9")), 1);
    assert_eq!(address(format!("2001:db8:{:x}::9", serial + 1)), 0);
    assert_eq!(address(format!("2001:db8::{serial:x}")), 1);
    assert_eq!(found(layers, Value::UrlKey(&url_key(serial))), 1);
    assert_eq!(found(layers, Value::UrlKey(&url_key(serial + 1))), 0);
    let always = layers.look_up(Value::Domain("always.example"), now()).unwrap();
    let ids: Vec<&str> = always.indicators.iter().map(|found| &*found.id).collect();
    assert_eq!(ids, [format!("indicator--{serial}")]);
}

fn url_key(serial: u64) -> String {
    protocol::Url::parse(&format!("http://evil.example/{serial}")).unwrap().match_key().to_string()
}

/// Every line in force, sorted.
pub fn lines(layers: &Layers) -> Vec<String> {
    let stored = layers.stored().unwrap();
    let mut lines: Vec<String> = stored.map(|line| serde_json::to_string(&line.unwrap()).unwrap()).collect();
    lines.sort();
    lines
}
