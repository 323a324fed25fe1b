//! A fleet of sensors with one collector: joins, outlives restarts, takes deltas; and what was seen of it.

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use protocol::Serial;
use protocol::bundle::{BundleLimits, BundleReader, SetHash};
use protocol::message::{BundleOutcome, PushReply};
use protocol::repository::{bundle_target, delta_target};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use crate::desk::{Push, admitted_desk};
use crate::process::Collector;
use crate::repository::{bundle, delta};
use crate::sensor::{Credentials, Sensor, read};
use crate::towns::{Common, Seen, Town, Way, What, address};

/// The steady rate: handshakes that the collector takes in a second at length, and so many sensors it asks back in one.
pub const STEADY_A_SECOND: usize = 100;
/// Indicators of the first bundle, and changes in each delta.
const INDICATORS: u64 = 5_000;
const CHANGES: u64 = 200;

/// How a collector ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Stopped,
    Killed,
}

/// What a restart did.
#[derive(Debug)]
pub struct Return {
    /// From the collector's end until the last sensor was welcomed again.
    pub all_back: Duration,
    /// The most connections that sensors began within any second.
    pub knocks_peak: usize,
    /// The most handshakes that the collector began in one of its seconds, and how many it turned away in all.
    pub begun_peak: usize,
    pub turned_away: usize,
}

/// How long a delta took to each sensor, from the moment at which its push was accepted, sorted.
#[derive(Debug)]
pub struct Spread {
    pub announced: Vec<Duration>,
    pub fetched: Vec<Duration>,
    pub applied: Vec<Duration>,
    /// The desk was told.
    pub shown: Vec<Duration>,
    /// Until the store had all of it.
    pub stored: Duration,
    /// Processor time of the collector, and of this process with all sensors.
    pub of_collector: Duration,
    pub of_sensors: Duration,
}

pub struct Fleet {
    pub collector: Collector,
    desk: Credentials,
    agents: Vec<String>,
    waiting: Vec<Town>,
    living: Vec<JoinHandle<()>>,
    seen: UnboundedReceiver<Seen>,
    verifies: Arc<AtomicBool>,
    bundles: Vec<(u64, Vec<u8>)>,
    folder: TempDir,
}

/// So many names in a bundle; each number moves some of them on.
fn made(serial: u64) -> Vec<u8> {
    let from = serial * CHANGES / 2;
    let names: Vec<String> = (from..from + INDICATORS).map(|it| format!("n{it:06}.evil.example")).collect();
    bundle(serial, &names.iter().map(String::as_str).collect::<Vec<_>>())
}

fn set_of(bundle: &[u8]) -> SetHash {
    let mut reader = BundleReader::new(bundle, BundleLimits::default()).unwrap();
    reader.indicators().for_each(|indicator| drop(indicator.unwrap()));
    reader.set()
}

impl Fleet {
    /// A collector that offers bundle 1, and so many enrolled sensors that have it and are not connected.
    pub async fn enrolled(number: usize) -> Self {
        let collector = Collector::start().await;
        let desk = admitted_desk(&collector);
        let first = made(1);
        collector.cosc.sign_files(2, &[(bundle_target(Serial(1)), first.clone())]).await;
        let (_push, reply) = Push::whole(&collector, &desk).await;
        assert!(matches!(reply, PushReply::Accepted { serial: Serial(1), .. }), "{reply:?}");
        let (seen_by, seen) = unbounded_channel();
        let folder = TempDir::new().unwrap();
        let common = Common {
            way: Way::to(&collector),
            seen: seen_by,
            verifies: Arc::new(AtomicBool::new(true)),
            folder: folder.path().to_owned(),
        };
        let (mut waiting, set) = (Vec::new(), set_of(&first));
        for number in 0..number {
            let mut sensor = Sensor::enrol_from(&address(number), &collector, "Borgo Chiaro").await;
            sensor.in_force = Serial(1);
            waiting.push(Town { number, sensor, set, common: common.clone() });
        }
        Self {
            collector,
            desk,
            agents: waiting.iter().map(|town| town.sensor.agent.clone()).collect(),
            waiting,
            living: Vec::new(),
            seen,
            verifies: common.verifies,
            bundles: vec![(1, first)],
            folder,
        }
    }

    /// Lets these connect, at half of the steady rate, and waits until all are welcome.
    pub async fn join(&mut self, numbers: RangeInclusive<usize>) {
        let (first, last) = (*numbers.start(), *numbers.end());
        for number in numbers {
            let town = self.waiting.remove(0);
            assert_eq!(town.number, number);
            let after = Duration::from_secs(2) * u32::try_from(number - first).unwrap() / rate();
            self.living.push(tokio::spawn(town.live(after)));
        }
        self.until_each(last + 1 - first, Duration::from_secs(120), |what| what == What::Welcomed).await;
    }

    /// What was seen until so many sensors did this.
    async fn until_each(
        &mut self,
        number: usize,
        within: Duration,
        did: impl Fn(What) -> bool,
    ) -> (Vec<Seen>, HashMap<usize, Instant>) {
        let (mut all, mut first) = (Vec::new(), HashMap::new());
        let end = tokio::time::Instant::now() + within;
        while first.len() < number {
            let seen = tokio::time::timeout_at(end, self.seen.recv()).await;
            let seen =
                seen.unwrap_or_else(|_| panic!("{} of {number} after {within:?}", first.len())).unwrap();
            if did(seen.what) {
                first.entry(seen.number).or_insert(seen.at);
            }
            all.push(seen);
        }
        (all, first)
    }

    fn forget_what_was_seen(&mut self) {
        while self.seen.try_recv().is_ok() {}
    }

    /// Ends the collector and starts it again; all have to be back within a time.
    pub async fn restart(&mut self, end: End, within: Duration) -> Return {
        // Thousands of verifications would keep this process from answering in time.
        self.verifies.store(false, Ordering::Relaxed);
        self.forget_what_was_seen();
        let begun = Instant::now();
        match end {
            End::Stopped => assert_eq!(self.collector.stop().await, Some(0)),
            End::Killed => self.collector.kill(),
        }
        self.collector.run().await;
        let (seen, back) = self.until_each(self.living.len(), within, |what| what == What::Welcomed).await;
        let last = back.into_values().max().unwrap();
        // The last second is told when it is over.
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        let seconds = self.collector.lines_with("many handshakes in a second");
        let told = |word: &str| seconds.iter().map(|line| field(line, word)).collect::<Vec<_>>();
        let knocks = seen.iter().filter(|seen| seen.what == What::Knocks).map(|seen| seen.at).collect();
        Return {
            all_back: last - begun,
            knocks_peak: peak(knocks),
            begun_peak: told("begun=").into_iter().max().unwrap_or(0),
            turned_away: told("turned_away=").into_iter().sum(),
        }
    }

    /// Pushes the next bundle with its delta, and waits until every sensor has it and all is shown and stored.
    pub async fn push_delta(&mut self, verifies: bool) -> Spread {
        self.verifies.store(verifies, Ordering::Relaxed);
        self.forget_what_was_seen();
        let number = self.living.len();
        let serial = self.sign_next().await;
        let (of_collector, of_sensors) = (self.processor_time(), own_processor_time());
        let (mut push, reply) = Push::whole(&self.collector, &self.desk).await;
        let begun = Instant::now();
        assert!(matches!(reply, PushReply::Accepted { .. }), "{reply:?}");
        let following = tokio::spawn(async move {
            let mut shown: HashMap<String, Instant> = HashMap::new();
            while shown.len() < number {
                if let PushReply::Progress { agent, outcome: BundleOutcome::Applied { .. }, .. } =
                    read(&mut push.recv).await
                {
                    assert!(shown.insert(agent, Instant::now()).is_none(), "shown twice");
                }
            }
            shown
        });
        let is_applied = |what| what == What::Applied(Serial(serial));
        let (seen, _) = self.until_each(number, Duration::from_secs(120), is_applied).await;
        let shown = following.await.unwrap();
        assert!(self.agents.iter().all(|agent| shown.contains_key(agent)));
        let sql = format!("SELECT count(*) FROM agent WHERE bundle_in_force = {serial}");
        self.collector.wait_for_count(&sql, i64::try_from(number).unwrap()).await;
        let stored = begun.elapsed();
        let since = |at: Instant| at.saturating_duration_since(begun);
        let of = |wanted: What| {
            sorted(seen.iter().filter(|seen| seen.what == wanted).map(|seen| since(seen.at)).collect())
        };
        Spread {
            announced: of(What::Announced(Serial(serial))),
            fetched: of(What::Fetched(Serial(serial))),
            applied: of(What::Applied(Serial(serial))),
            shown: sorted(shown.into_values().map(since).collect()),
            stored,
            of_collector: self.processor_time().saturating_sub(of_collector),
            of_sensors: own_processor_time().saturating_sub(of_sensors),
        }
    }

    /// Signs the next bundle with the delta to it; gives its number.
    async fn sign_next(&mut self) -> u64 {
        let (before, base) = self.bundles.pop().unwrap();
        let serial = before + 1;
        let next = made(serial);
        let files = [
            (bundle_target(Serial(before)), base.clone()),
            (bundle_target(Serial(serial)), next.clone()),
            (delta_target(Serial(before), Serial(serial)), delta(&base, &next)),
        ];
        self.collector.cosc.sign_files(serial + 1, &files).await;
        self.bundles.push((serial, next));
        serial
    }

    /// How long one sensor's verification takes that is alone on its gateway, without the line: the middle of some.
    pub async fn verification_alone(&self) -> Duration {
        let root = std::fs::read(self.collector.cosc.root_file()).unwrap();
        let newest = self.bundles.last().unwrap().0;
        let mut took = Vec::new();
        for number in 0..21 {
            let folder = self.folder.path().join(format!("alone-{number}"));
            std::fs::create_dir(&folder).unwrap();
            took.push(
                crate::towns::verify_folder(self.collector.cosc.path(), &root, &folder, newest - 1).await,
            );
        }
        sorted(took)[10]
    }

    fn processor_time(&self) -> Duration {
        processor_time(&format!("/proc/{}/stat", self.collector.process_id()))
    }
}

impl fmt::Display for Return {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "all back in {:.1} s; at most {} connections begun by sensors in any second, {} handshakes taken in one, {} \
             turned away in all",
            self.all_back.as_secs_f64(),
            self.knocks_peak,
            self.begun_peak,
            self.turned_away
        )
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages = [
            ("announced", &self.announced),
            ("fetched", &self.fetched),
            ("applied", &self.applied),
            ("shown", &self.shown),
        ];
        for (word, times) in stages {
            write!(f, "{word} {:.2} s, ", p99(times).as_secs_f64())?;
        }
        write!(
            f,
            "all stored {:.2} s; processor time: collector {:.2} s, sensors {:.2} s",
            self.stored.as_secs_f64(),
            self.of_collector.as_secs_f64(),
            self.of_sensors.as_secs_f64()
        )
    }
}

fn own_processor_time() -> Duration {
    processor_time("/proc/self/stat")
}

/// User and system time of a process (proc_pid_stat(5)): the kernel counts in hundredths of a second.
fn processor_time(stat: &str) -> Duration {
    let text = std::fs::read_to_string(stat).unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|at| fields[*at].parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

fn rate() -> u32 {
    u32::try_from(STEADY_A_SECOND).unwrap()
}

fn field(line: &str, word: &str) -> usize {
    line.split_whitespace().find_map(|part| part.strip_prefix(word)).unwrap().parse().unwrap()
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort();
    times
}

/// The 99th of a hundred, of what is sorted.
pub fn p99(times: &[Duration]) -> Duration {
    times[(times.len() * 99).div_ceil(100) - 1]
}

/// The most of these within any second.
pub fn peak(mut moments: Vec<Instant>) -> usize {
    moments.sort();
    let (mut first, mut most) = (0, 0);
    for (last, at) in moments.iter().enumerate() {
        while *at - moments[first] >= Duration::from_secs(1) {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}
