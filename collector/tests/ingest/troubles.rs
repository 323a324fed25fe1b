//! Broken surroundings: an exit code and a sentence that says what to do.

use std::cell::Cell;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::process::{Collector, DEADLINE};
use crate::sensor::{Sensor, connect, connect_from, hit, refused};

fn check(collector: &Collector, arguments: &[&str], code: i32, sentence: &str) {
    let output = collector.output(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    assert!(errors.contains(sentence), "{arguments:?}: {errors}");
}

fn configure(collector: &Collector, ingest: &str, console: &str) {
    let text = format!(
        "state_dir = {:?}\n[ingest]\nlisten = \"{ingest}\"\n[console]\nlisten = \"{console}\"\n",
        collector.state("").to_str().unwrap().trim_end_matches('/')
    );
    std::fs::write(collector.folder.path().join("collector.toml"), text).unwrap();
}

#[tokio::test]
async fn a_busy_port_is_named_with_a_way_out() {
    let collector = Collector::made().await;
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let (udp, tcp) = (udp.local_addr().unwrap().to_string(), (udp, tcp));
    configure(&collector, &udp, "127.0.0.1:0");
    check(&collector, &["run"], 1, "another program listens on UDP");
    configure(&collector, "127.0.0.1:0", &tcp.1.local_addr().unwrap().to_string());
    check(&collector, &["run"], 1, "another program listens on 127.0.0.1");
    configure(&collector, "198.51.100.1:4740", "127.0.0.1:0");
    check(&collector, &["run"], 1, "check `listen` of [ingest]");
}

#[tokio::test]
async fn a_wrong_configuration_ends_with_78_and_names_file_and_key() {
    let collector = Collector::made().await;
    configure(&collector, "here", "127.0.0.1:0");
    check(
        &collector,
        &["run"],
        78,
        "collector.toml: ingest.listen = \"here\": expected an address with a port",
    );
    check(&collector, &["check-config"], 78, "ingest.listen");
    configure(&collector, "127.0.0.1:0", "127.0.0.1:0");
    check(&collector, &["check-config"], 0, "");
    std::fs::remove_file(collector.folder.path().join("collector.toml")).unwrap();
    check(&collector, &["run"], 78, "make it with `vedetta-collector init`");
    check(&collector, &["dance"], 2, "unrecognized subcommand");
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_said_before_anything_listens() {
    let collector = Collector::made().await;
    collector.store().pragma_update(None, "user_version", 99).unwrap();
    check(&collector, &["run"], 1, "install the newer package again");
    std::fs::write(collector.state("store.sqlite"), "this is no database, and has been none for long")
        .unwrap();
    check(&collector, &["run"], 1, "restore");
    std::fs::remove_file(collector.state("store.sqlite")).unwrap();
    check(&collector, &["run"], 1, "make it with `vedetta-collector init`");
    std::fs::create_dir(collector.state("store.sqlite")).unwrap();
    check(&collector, &["run"], 1, "cannot be opened for writing");
}

#[tokio::test]
async fn init_overwrites_nothing_and_leaves_nothing_half_made() {
    let collector = Collector::made().await;
    let key = std::fs::read(collector.state("authority/ca.key")).unwrap();
    check(&collector, &["init", "--host", "localhost", "--operator", "rossi"], 1, "overwrites nothing");
    assert_eq!(std::fs::read(collector.state("authority/ca.key")).unwrap(), key);
    for file in ["authority/ca.key", "server/key.pem", "store.sqlite"] {
        let mode = std::fs::metadata(collector.state(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    std::fs::remove_dir_all(collector.state("")).unwrap();
    let short = collector.folder.path().join("short");
    std::fs::write(&short, "short\n").unwrap();
    let short = short.to_str().unwrap();
    let arguments = ["init", "--host", "localhost", "--operator", "rossi", "--operator-password-file", short];
    check(&collector, &arguments, 1, "at least 12 characters");
    assert!(!collector.state("").exists());
    std::fs::write(collector.folder.path().join("state"), "a file").unwrap();
    check(&collector, &["init", "--host", "localhost", "--operator", "rossi"], 1, "cannot be made");
}

#[tokio::test]
async fn one_certificate_cannot_take_everybodys_place() {
    let mut collector = Collector::start().await;
    let sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    // Which of the nine comes last is up to the network.
    let mut open = tokio::task::JoinSet::new();
    for _ in 0..9 {
        let connected = connect(&collector, protocol::ALPN_SESSION, Some(&sensor.credentials)).await;
        open.spawn(refused(connected));
    }
    let (code, sentence) = open.join_next().await.unwrap().unwrap();
    assert_eq!(code, 6);
    assert!(sentence.contains("too many connections with this certificate"), "{sentence}");
    open.abort_all();
    collector.wait_for_line("too many connections with this certificate").await;
}

#[tokio::test]
async fn strangers_from_one_address_have_few_places() {
    let mut collector = Collector::start().await;
    let mut open = Vec::new();
    for _ in 0..32 {
        // Who opens no stream waits for its end, at the cost of a place.
        open.push(connect(&collector, protocol::ALPN_ENROL, None).await.unwrap());
    }
    let refused = connect(&collector, protocol::ALPN_ENROL, None).await.unwrap_err();
    assert!(refused.to_string().contains("refused"), "{refused}");
    collector.wait_for_line("too many connections at once").await;
    // Others have their places; from the sixty-fifth on they prove their address first.
    for number in 0..40 {
        let local = format!("127.0.0.{}:0", 2 + number % 2);
        open.push(connect_from(&local, &collector, protocol::ALPN_ENROL, None).await.unwrap());
    }
    drop(open);
    let end = tokio::time::Instant::now() + DEADLINE;
    while connect(&collector, protocol::ALPN_ENROL, None).await.is_err() {
        assert!(tokio::time::Instant::now() < end, "the places were not given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn who_does_not_prove_its_address_has_few_handshakes_and_who_does_has_more() {
    let mut collector = Collector::start().await;
    let mut asked = 0;
    for _ in 0..24 {
        asked += usize::from(crate::early::is_asked_to_prove(&collector, "127.0.5.1:0").await);
    }
    assert!((4..=8).contains(&asked), "{asked} of 24 were asked, 16 at once pass and one more each second");
    // Who answers is let in still, and only so often.
    let end = tokio::time::Instant::now() + DEADLINE;
    let mut open = 0;
    loop {
        assert!(tokio::time::Instant::now() < end, "{open} handshakes and no end");
        match connect_from("127.0.5.1:0", &collector, protocol::ALPN_ENROL, None).await {
            Ok(connection) => connection.close(0_u32.into(), b""),
            Err(error) => break assert!(error.to_string().contains("refused"), "{error}"),
        }
        open += 1;
    }
    assert!(open >= 32, "{open}");
    collector.wait_for_line("too many handshakes in a short time").await;
    // Another address is not touched.
    connect_from("127.0.5.2:0", &collector, protocol::ALPN_ENROL, None).await.unwrap();
}

#[tokio::test]
async fn a_crowd_of_strangers_with_addresses_of_their_own_keeps_no_sensor_out() {
    let collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    assert!(sensor.deliver(&collector).await, "its home is known from here on");
    let turned_away = &Cell::new(0_u32);
    let collector = &collector;
    let crowd = (1..=60).map(|number| async move {
        let local = format!("127.0.7.{number}:0");
        loop {
            match connect_from(&local, collector, protocol::ALPN_ENROL, None).await {
                Ok(connection) => connection.close(0_u32.into(), b""),
                Err(_) => turned_away.set(turned_away.get() + 1),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let reporting = async {
        while turned_away.get() < 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for number in 1..=5 {
            sensor.find(hit(number));
            assert!(sensor.deliver(collector).await, "hit {number} of a sensor at home was kept waiting");
        }
    };
    let reporting = tokio::time::timeout(DEADLINE, reporting);
    tokio::select! {
        _ = futures_util::future::join_all(crowd) => unreachable!("the crowd does not end"),
        reported = reporting => reported.unwrap(),
    }
}

#[tokio::test]
async fn a_certificate_that_connects_all_the_time_waits_and_another_does_not() {
    let mut collector = Collector::start().await;
    let sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let mut other = Sensor::enrol(&collector, "Valle Scura").await;
    let end = tokio::time::Instant::now() + DEADLINE;
    for number in 0.. {
        assert!(tokio::time::Instant::now() < end, "{number} connections and no end");
        // Each from an address of its own, so that only the certificate is the same.
        let local = format!("127.0.6.{}:0", 1 + number % 200);
        let connection = connect_from(&local, &collector, protocol::ALPN_SESSION, Some(&sensor.credentials))
            .await
            .unwrap();
        let mut live = sensor.over(connection).await;
        let mut again = Sensor::same_as(&sensor);
        if !live.run_until(&mut again, |_, live| live.welcomed).await {
            let closed = live.connection.closed().await.to_string();
            assert!(closed.contains("in a short time"), "{closed}");
            assert!(number >= 16, "{number}");
            break;
        }
        live.connection.close(0_u32.into(), b"");
    }
    collector.wait_for_line("too many connections with this certificate in a short time").await;
    other.find(hit(1));
    assert!(other.deliver(&collector).await);
}
