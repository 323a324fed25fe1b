//! Sets and values where look-ups go wrong first: nothing, one, thousands on one value, full pages, edges of networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use protocol::bundle::Line;
use protocol::indicator::Addresses;
use protocol::{Indicator, LookFor, Observable, Timestamp};

use super::index::{check, one_layer, with_value};
use super::random::Random;
use super::{made, spelled};

fn line(look_for: LookFor, id: String) -> Line {
    Line::Indicator(Indicator { id, ..Indicator::plain(look_for) })
}

fn value(text: &str) -> Observable {
    Observable::guess(text).unwrap()
}

#[test]
fn an_empty_index_and_one_with_one_answer_for_every_kind() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let lines = made::lines(&mut random, usize::from(seed >= 20));
        let layers = one_layer(&lines);
        for _ in 0..50 {
            let spelled = spelled::spelled(&mut random, &lines);
            let Some(seen) = spelled.observable() else { continue };
            check(&layers, &lines, (&seen, spelled.port), made::time(&mut random)).unwrap();
        }
    }
}

#[test]
fn pages_that_fill_up_lose_nothing() {
    for size in (1..12).chain([100, 385, 386, 387, 454, 455, 772, 1500]) {
        let number = |number: usize| value(&format!("{:032x}", number * 0x9e37_79b9));
        let lines: Vec<Line> =
            (0..size).map(|at| line(LookFor::Observable(number(at)), format!("indicator--{at}"))).collect();
        let layers = one_layer(&lines);
        for at in 0..2 * size {
            let found =
                with_value(&number(at), None, |value| layers.look_up(value, Timestamp::default())).unwrap();
            let ids: Vec<&str> = found.indicators.iter().map(|found| &*found.id).collect();
            let expected: Vec<String> = (at < size).then(|| format!("indicator--{at}")).into_iter().collect();
            assert_eq!(ids, expected, "{at} of {size}");
        }
    }
}

#[test]
fn many_on_one_value_are_all_named_and_thousands_are_held_back_and_do_not_hide_others() {
    let [evil, twin] = ["evil.example", "good.example"].map(value);
    for size in [100, 256, 257, 5000] {
        let mut lines: Vec<Line> = (0..size)
            .map(|at| line(LookFor::Observable(evil.clone()), format!("indicator--{at:05}")))
            .collect();
        lines.insert(size / 2, line(LookFor::Observable(twin.clone()), "indicator--twin".into()));
        let layers = one_layer(&lines);
        let held: u64 = layers.base().meta().held.values().map(|held| held.count).sum();
        assert_eq!(held, size.saturating_sub(256) as u64);
        assert_eq!(layers.indicators() + held, lines.len() as u64);
        for seen in [&twin, &value("notevil.example")] {
            check(&layers, &lines, (seen, None), Timestamp::default()).unwrap();
        }
        for seen in [&evil, &value("www.evil.example")] {
            let found = with_value(seen, None, |value| layers.look_up(value, Timestamp::default())).unwrap();
            let ids: Vec<&str> = found.indicators.iter().map(|found| &*found.id).collect();
            let expected: Vec<String> = (0..size.min(256)).map(|at| format!("indicator--{at:05}")).collect();
            assert_eq!(ids, expected, "{size}");
        }
    }
}

/// Networks of every length around one address: each edge, and what lies beside it.
fn check_edges(address: IpAddr, lengths: std::ops::RangeInclusive<u8>) {
    let networks: Vec<IpNet> = lengths.map(|length| IpNet::new(address, length).unwrap().trunc()).collect();
    let lines: Vec<Line> = networks
        .iter()
        .map(|network| {
            line(LookFor::Addresses(Addresses::Network(*network)), format!("indicator--{network}"))
        })
        .collect();
    let layers = one_layer(&lines);
    for network in &networks {
        for edge in [network.network(), network.broadcast()] {
            for step in [-1_i8, 0, 1] {
                let seen = Observable::Ip(match edge {
                    IpAddr::V4(v4) => {
                        Ipv4Addr::from_bits(v4.to_bits().wrapping_add_signed(step.into())).into()
                    }
                    IpAddr::V6(v6) => {
                        Ipv6Addr::from_bits(v6.to_bits().wrapping_add_signed(step.into())).to_canonical()
                    }
                });
                check(&layers, &lines, (&seen, None), Timestamp::default()).unwrap();
            }
        }
    }
}

#[test]
fn networks_of_every_length_end_where_they_end() {
    for address in ["203.0.113.77", "0.0.0.0", "255.255.255.255", "128.0.0.0", "127.255.255.255"] {
        check_edges(address.parse().unwrap(), 0..=32);
        check_edges(address.parse().unwrap(), 30..=31);
    }
    check_edges("2001:db8::1".parse().unwrap(), 40..=128);
    for address in ["::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "8000::", "2001:db8:0:1::"] {
        for first in [0, 31, 60, 92, 120] {
            check_edges(address.parse().unwrap(), first..=first + 8);
        }
    }
}

#[test]
fn names_as_deep_as_they_come_are_found() {
    let deep = format!("{}evil.example", "a.".repeat(120));
    let lines: Vec<Line> = ["evil.example", &deep[2..], &deep[100..]]
        .iter()
        .map(|name| line(LookFor::Observable(value(name)), (*name).into()))
        .collect();
    let layers = one_layer(&lines);
    for start in (0..deep.len() - 12).step_by(2) {
        check(&layers, &lines, (&value(&deep[start..]), None), Timestamp::default()).unwrap();
    }
}
