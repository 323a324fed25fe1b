//! A receiver on a port of its own, with a spool that nobody empties unless a test does.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use detect::{DetectorConfig, Matcher};
use protocol::message::{Record, SourceStatus};
use protocol::{Hit, Indicator, LookFor, Serial};
use vedetta_agent::config::{Listen, SpoolConfig, SyslogConfig, Transport};
use vedetta_agent::published::Published;
use vedetta_agent::sources::joining;
use vedetta_agent::sources::syslog::{self, SyslogParts};
use vedetta_agent::sources::{self, Board, Stopper};
use vedetta_agent::spool::{self, SpoolControl, SpoolReader};
use vedetta_agent::stages::Stage;

const DEADLINE: Duration = Duration::from_secs(60);
/// `bad0.example` to `bad7999.example`.
const INDICATORS: u64 = 8000;

pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the receiver closes the connection.
pub fn wait_until_closed(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    match stream.read(&mut [0; 9]) {
        Ok(0) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        other => panic!("not closed: {other:?}"),
    }
}

pub fn identities(hits: &[Hit]) -> BTreeSet<String> {
    hits.iter().map(|hit| hit.hit_id.to_string()).collect()
}

pub struct Receiver {
    folder: tempfile::TempDir,
    config: SyslogConfig,
    bytes_max: u64,
    pub port: u16,
    pub board: Board,
    pub control: SpoolControl,
    stopper: Stopper,
    /// In the order in which they end.
    stages: [Stage; 3],
}

impl Receiver {
    pub fn start(host: &str, transport: Transport, change: impl FnOnce(&mut SyslogConfig)) -> Self {
        let any = (host.trim_matches(['[', ']']), 0);
        let port = match transport {
            Transport::Udp => UdpSocket::bind(any).unwrap().local_addr(),
            _ => TcpListener::bind(any).unwrap().local_addr(),
        };
        Self::start_at(host, port.unwrap().port(), transport, change)
    }

    pub fn start_at(
        host: &str,
        port: u16,
        transport: Transport,
        change: impl FnOnce(&mut SyslogConfig),
    ) -> Self {
        let address = format!("{host}:{port}").parse().unwrap();
        let mut config = SyslogConfig {
            listens: vec![Listen { transport, address, only_v6: false }],
            tls: None,
            senders: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            udp_buffer_bytes: 1 << 20,
            connections_max: 2000,
            connections_per_sender_max: 2000,
            idle: Duration::from_secs(3600),
        };
        change(&mut config);
        Self::with(tempfile::tempdir().unwrap(), config, 256 << 20)
    }

    /// The same with a spool of this size.
    pub fn with_spool(self, bytes_max: u64) -> Self {
        let Self { folder, config, stopper, stages, .. } = self;
        end(stopper, stages);
        Self::with(folder, config, bytes_max)
    }

    fn with(folder: tempfile::TempDir, config: SyslogConfig, bytes_max: u64) -> Self {
        let indicators = (0..INDICATORS)
            .map(|number| Indicator::plain(LookFor::guess(&format!("bad{number}.example")).unwrap()));
        let spool = spool::start(&folder.path().join("spool"), &SpoolConfig { bytes_max }).unwrap();
        let board = Board::default();
        let joining = joining::start(&DetectorConfig::default(), spool.sink, None).unwrap();
        let parts = SyslogParts {
            config: config.clone(),
            detector: DetectorConfig { cooldown_seconds: 0, ..DetectorConfig::default() },
            matcher: Published::new(Matcher::build(Serial(1), indicators).unwrap()),
            hits: joining.logged,
            board: board.clone(),
        };
        let port = config.listens[0].address.port();
        let (stopper, stop) = sources::stop();
        let stage = syslog::start(parts, stop).unwrap();
        let (control, stages) = (spool.control, [stage, joining.stage, spool.thread]);
        let receiver = Self { folder, config, bytes_max, port, board, control, stopper, stages };
        // Its socket is open before anything is sent, unless another has the port.
        wait_for("the receiver", || is_open(port) || !receiver.statuses("listen")[0].trouble.is_empty());
        receiver
    }

    pub fn restart(self) -> Self {
        let Self { folder, config, bytes_max, stopper, stages, .. } = self;
        end(stopper, stages);
        Self::with(folder, config, bytes_max)
    }

    pub fn statuses(&self, kind: &str) -> Vec<SourceStatus> {
        self.board.statuses().into_iter().filter(|status| status.kind == kind).collect()
    }

    pub fn status(&self, name: &str) -> Option<SourceStatus> {
        self.board.statuses().into_iter().find(|status| status.name == name)
    }

    /// Lines of all senders.
    pub fn lines(&self) -> u64 {
        self.statuses("syslog").iter().map(|status| status.read).sum()
    }

    pub fn refused(&self, name: &str) -> u64 {
        self.board.refused().get(name).copied().unwrap_or(0)
    }

    /// What is safe and not acknowledged.
    pub fn records(&self) -> Vec<Record> {
        read(&self.folder, &self.control)
    }

    pub fn hits(&self) -> Vec<Hit> {
        hits_of(self.records())
    }

    pub fn stop(self) -> Vec<Hit> {
        hits_of(self.stop_with_records())
    }

    pub fn stop_with_records(self) -> Vec<Record> {
        let Self { folder, control, stopper, stages, .. } = self;
        end(stopper, stages);
        read(&folder, &control)
    }
}

/// proc_net_tcp(5): sockets that listen, and those for datagrams.
fn is_open(port: u16) -> bool {
    let suffix = format!(":{port:04X}");
    ["tcp", "tcp6", "udp", "udp6"].iter().any(|table| {
        let table = std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        let mut rows = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
        rows.any(|row| row.len() > 3 && row[1].ends_with(&suffix) && matches!(row[3], "0A" | "07"))
    })
}

fn end(stopper: Stopper, stages: [Stage; 3]) {
    drop(stopper);
    stages.into_iter().for_each(|stage| stage.join().unwrap().unwrap());
}

fn read(folder: &tempfile::TempDir, control: &SpoolControl) -> Vec<Record> {
    let safe = *control.safe.borrow();
    let mut reader = SpoolReader::new(&folder.path().join("spool"));
    let mut records = Vec::new();
    let mut from = safe.stored() + 1;
    while let Some(batch) = reader.read(&safe, from, 1000).unwrap() {
        from = batch.first + batch.records.len() as u64;
        records.extend(batch.records);
    }
    records
}

pub fn hits_of(records: Vec<Record>) -> Vec<Hit> {
    let hits = records.into_iter().filter_map(|record| match record {
        Record::Hit(hit) => Some(*hit),
        _ => None,
    });
    hits.collect()
}
