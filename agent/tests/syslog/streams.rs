//! TCP: framing told apart per connection, connections cut and refused, many of them, and a full spool.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};

use vedetta_agent::config::Transport;

use crate::receiver::{Receiver, hits_of, identities, wait_for, wait_until_closed};

fn connect(receiver: &Receiver) -> TcpStream {
    TcpStream::connect(("127.0.0.1", receiver.port)).unwrap()
}

fn counted(message: &str) -> String {
    format!("{} {message}", message.len())
}

#[test]
fn each_connection_has_its_own_framing() {
    let receiver = Receiver::start("[::]", Transport::Tcp, |_| {});
    let mut counting = connect(&receiver);
    let mut lines = connect(&receiver);
    let mut zeros = TcpStream::connect(("::1", receiver.port)).unwrap();
    let of = |number: u32| format!("<13>blocked bad{number}.example");
    for (number, half) in (0..30).zip([true, false].into_iter().cycle()) {
        let (message, stream) = match number % 3 {
            0 => (counted(&of(number)), &mut counting),
            1 => (format!("{}\n", of(number)), &mut lines),
            _ => (format!("{}\0", of(number)), &mut zeros),
        };
        let (begin, end) = message.split_at(if half { 7 } else { 0 });
        stream.write_all(begin.as_bytes()).unwrap();
        stream.write_all(end.as_bytes()).unwrap();
    }
    wait_for("30 lines", || receiver.lines() == 30);
    assert_eq!(receiver.status("syslog tcp ::1").unwrap().read, 10);
    assert_eq!(identities(&receiver.stop()).len(), 30);
}

#[test]
fn what_a_connection_left_unfinished_is_read_up_to_a_whole_word() {
    let receiver = Receiver::start("127.0.0.1", Transport::Tcp, |_| {});
    let mut cut = connect(&receiver);
    cut.write_all(b"300 <13>blocked bad1.example and bad2.example").unwrap();
    cut.shutdown(Shutdown::Write).unwrap();
    wait_until_closed(&mut cut);
    let mut whole = connect(&receiver);
    whole.write_all(b"<13>blocked bad3.example").unwrap();
    whole.shutdown(Shutdown::Write).unwrap();
    wait_until_closed(&mut whole);
    wait_for("both lines", || (receiver.lines(), receiver.refused("syslog_frames_cut")) == (2, 1));
    let hits = receiver.stop();
    let values: Vec<String> = hits.iter().map(|hit| hit.observable.to_string()).collect();
    assert_eq!(values, ["bad1.example", "bad3.example"]);
}

#[test]
fn a_count_that_makes_no_sense_closes_its_connection_only() {
    let receiver = Receiver::start("127.0.0.1", Transport::Tcp, |_| {});
    let mut good = connect(&receiver);
    for (number, begin) in ["99999999 <13>", "4 abcdx", "4 abcd65537 "].into_iter().enumerate() {
        let mut bad = connect(&receiver);
        bad.write_all(begin.as_bytes()).unwrap();
        wait_until_closed(&mut bad);
        wait_for("its count", || receiver.refused("syslog_frames_malformed") == 1 + number as u64);
    }
    let status = receiver.status("syslog tcp 127.0.0.1").unwrap();
    assert_eq!((status.malformed, status.read), (3, 2));
    assert!(status.trouble.contains("frame"), "{}", status.trouble);
    good.write_all(counted("<13>blocked bad0.example").as_bytes()).unwrap();
    wait_for("the good one", || receiver.lines() == 3);
    assert_eq!(receiver.stop().len(), 1);
}

#[test]
fn a_thousand_connections_are_read_and_no_more() {
    let receiver = Receiver::start("127.0.0.1", Transport::Tcp, |config| config.connections_max = 1000);
    let mut streams: Vec<TcpStream> = Vec::new();
    for number in 0..1000 {
        let mut stream = connect(&receiver);
        stream.write_all(format!("<13>blocked bad{number}.example\n<13>half").as_bytes()).unwrap();
        streams.push(stream);
    }
    wait_for("a line of each", || receiver.lines() == 1000);
    wait_until_closed(&mut connect(&receiver));
    wait_for("its count", || receiver.refused("syslog_connections_refused") == 1);
    for stream in &mut streams {
        stream.write_all(b" a line\n").unwrap();
    }
    wait_for("another line of each", || receiver.lines() == 2000);
    assert_eq!(identities(&receiver.stop()).len(), 1000);
}

#[test]
fn one_sender_does_not_take_all_connections() {
    let receiver =
        Receiver::start("127.0.0.1", Transport::Tcp, |config| config.connections_per_sender_max = 2);
    let mut streams = [connect(&receiver), connect(&receiver)];
    for stream in &mut streams {
        stream.write_all(b"<13>a\n").unwrap();
    }
    wait_for("two connections", || receiver.lines() == 2);
    wait_until_closed(&mut connect(&receiver));
    wait_for("its count", || receiver.refused("syslog_connections_refused") == 1);
    receiver.stop();
}

/// While the spool is full the sender waits; when the collector has taken some, everything arrives, once.
#[test]
fn a_full_spool_lets_the_sender_wait() {
    const LINES: u64 = 8000;
    let receiver = Receiver::start("127.0.0.1", Transport::Tcp, |_| {}).with_spool(2 << 20);
    let mut stream = connect(&receiver);
    let sender = std::thread::spawn(move || {
        for number in 0..LINES {
            let padding = "y ".repeat(450);
            writeln!(stream, "<13>blocked bad{number}.example {padding}").unwrap();
        }
    });
    wait_for("a full spool", || receiver.control.is_full());
    assert!(receiver.lines() < LINES, "lines were read that have no room");
    let mut hits = Vec::new();
    while (hits.len() as u64) < LINES {
        wait_for("hits", || !receiver.records().is_empty());
        let safe = *receiver.control.safe.borrow();
        let records = receiver.records();
        assert!(safe.newest() - safe.stored() <= records.len() as u64);
        hits.extend(
            hits_of(records).into_iter().take(usize::try_from(safe.newest() - safe.stored()).unwrap()),
        );
        receiver.control.acknowledge(&safe, safe.newest());
        wait_for("the acknowledgement", || receiver.control.safe.borrow().stored() >= safe.newest());
    }
    sender.join().unwrap();
    assert_eq!((hits.len() as u64, identities(&hits).len() as u64), (LINES, LINES));
    assert_eq!(receiver.control.lost(), 0);
    assert_eq!(receiver.stop().len(), 0, "a hit came twice");
}
