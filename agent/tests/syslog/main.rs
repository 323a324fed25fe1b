//! The syslog receiver with real sockets and a real spool.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may")]

mod receiver;
mod streams;
mod tls;

use std::net::{IpAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::message::{LossReason, Record};
use receiver::{Receiver, wait_for};
use vedetta_agent::config::Transport;

#[test]
fn datagrams_come_over_both_protocols_to_one_address() {
    let receiver = Receiver::start("[::]", Transport::Udp, |_| {});
    for (from, message) in [
        ("127.0.0.1", "<13>blocked bad0.example"),
        ("127.0.0.1", "<13>blocked bad1.example\n<13>blocked bad2.example\r\n\0"),
        ("::1", "<13>blocked bad3.example\0"),
        ("::1", "nothing"),
    ] {
        let from: IpAddr = from.parse().unwrap();
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.send_to(message.as_bytes(), (from, receiver.port)).unwrap();
    }
    wait_for("five lines", || receiver.lines() == 5);
    let v4 = receiver.status("syslog udp 127.0.0.1").unwrap();
    assert_eq!((v4.kind.as_str(), v4.read, v4.hits), ("syslog", 3, 3));
    assert!(v4.last_at.is_some());
    let hits = receiver.stop();
    let mut seen: Vec<String> = hits.iter().map(|hit| format!("{} {}", hit.input, hit.observable)).collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            "syslog udp 127.0.0.1 bad0.example",
            "syslog udp 127.0.0.1 bad1.example",
            "syslog udp 127.0.0.1 bad2.example",
            "syslog udp ::1 bad3.example"
        ]
    );
}

#[test]
fn a_message_sent_twice_is_two_hits_over_a_restart() {
    let mut receiver = Receiver::start("127.0.0.1", Transport::Udp, |_| {});
    for count in 1..=2 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"blocked bad0.example", ("127.0.0.1", receiver.port)).unwrap();
        wait_for("a line", || receiver.lines() == 1);
        receiver = receiver.restart();
        assert_eq!(receiver.hits().len(), count);
    }
    assert_eq!(receiver::identities(&receiver.stop()).len(), 2);
}

#[test]
fn who_may_not_send_is_counted_and_told() {
    let receiver = Receiver::start("127.0.0.1", Transport::Udp, |config| {
        config.senders = vec!["127.0.0.2/32".parse().unwrap()]
    });
    let listener = format!("syslog udp 127.0.0.1:{}", receiver.port);
    for from in ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"] {
        let socket = UdpSocket::bind(from).unwrap();
        socket.send_to(b"blocked bad0.example", ("127.0.0.1", receiver.port)).unwrap();
    }
    wait_for("three datagrams", || receiver.status(&listener).is_some_and(|status| status.read == 3));
    wait_for("what is told", || !receiver.status(&listener).unwrap().trouble.is_empty());
    let status = receiver.status(&listener).unwrap();
    assert_eq!(status.dropped, 2);
    assert!(status.trouble.contains("syslog.senders"), "{}", status.trouble);
    assert_eq!(receiver.refused("syslog_not_a_sender"), 2);
    assert_eq!(receiver.stop().len(), 1);
}

#[test]
fn a_refused_connection_is_closed() {
    let receiver = Receiver::start("127.0.0.1", Transport::Tcp, |config| {
        config.senders = vec!["192.0.2.0/24".parse().unwrap()];
    });
    let mut stream = TcpStream::connect(("127.0.0.1", receiver.port)).unwrap();
    receiver::wait_until_closed(&mut stream);
    wait_for("its count", || receiver.refused("syslog_not_a_sender") == 1);
    receiver.stop();
}

/// More senders than the table has entries.
#[test]
fn further_senders_share_an_entry_that_says_so() {
    let receiver = Receiver::start("[::]", Transport::Udp, |_| {});
    for number in 0..300u32 {
        let from = format!("127.0.{}.{}", 1 + number / 200, 1 + number % 200);
        let socket = UdpSocket::bind((from.as_str(), 0)).unwrap();
        let message = format!("blocked bad{number}.example");
        socket.send_to(message.as_bytes(), ("127.0.0.1", receiver.port)).unwrap();
    }
    wait_for("300 lines", || receiver.lines() == 300);
    assert_eq!(receiver.status("syslog udp further senders").unwrap().read, 44);
    assert_eq!(receiver::identities(&receiver.stop()).len(), 300);
}

/// Every datagram is either read or counted as dropped by the kernel, and the collector is told of the dropped ones.
#[test]
fn a_flood_is_read_or_counted() {
    let receiver = Receiver::start("127.0.0.1", Transport::Udp, |config| config.udp_buffer_bytes = 4096);
    let listener = format!("syslog udp 127.0.0.1:{}", receiver.port);
    let over = AtomicBool::new(false);
    let flood = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut sent = 0u64;
        while !over.load(Ordering::Relaxed) {
            sent += u64::from(socket.send_to(&[b'x'; 900], ("127.0.0.1", receiver.port)).is_ok());
        }
        sent
    };
    let sent: u64 = std::thread::scope(|scope| {
        let floods = [scope.spawn(flood), scope.spawn(flood)];
        wait_for("drops", || receiver.status(&listener).is_some_and(|status| status.dropped > 0));
        over.store(true, Ordering::Relaxed);
        floods.into_iter().map(|flood| flood.join().unwrap()).sum()
    });
    wait_for("every datagram", || {
        let status = receiver.status(&listener).unwrap();
        status.read + status.dropped == sent
    });
    let dropped = receiver.refused("syslog_kernel_dropped");
    assert!(dropped > 0 && receiver.lines() + dropped == sent);
    let told: u64 = receiver
        .stop_with_records()
        .iter()
        .filter_map(|record| match record {
            Record::Loss(loss) if loss.reason == LossReason::SyslogDropped => Some(loss.count),
            _ => None,
        })
        .sum();
    assert_eq!(told, dropped);
}

#[test]
fn an_address_in_use_is_taken_when_it_is_free() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let receiver = Receiver::start_at("127.0.0.1", port, Transport::Udp, |_| {});
    let listener = format!("syslog udp 127.0.0.1:{port}");
    wait_for("the trouble", || {
        receiver.status(&listener).is_some_and(|status| status.trouble.contains("in use"))
    });
    drop(taken);
    wait_for("the address", || receiver.status(&listener).unwrap().trouble.is_empty());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"blocked bad0.example", ("127.0.0.1", port)).unwrap();
    wait_for("a line", || receiver.lines() == 1);
    receiver.stop();
}
