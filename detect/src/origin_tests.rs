//! Who attacks whom, by what logs say of it: both sides of a translation, proxies, and addresses that are no origin.

use std::sync::Arc;

use protocol::hit::Nat;
use protocol::{Flow, Hit, Indicator, LookFor, Note, Serial, Timestamp};

use crate::detector::{Detector, DetectorConfig, Line, Report};
use crate::matcher::Matcher;

const TOWN: [&str; 2] = ["10.0.0.0/8", "192.0.2.0/24"];
const PROXY: &str = "10.0.0.2/32";

/// The one hit of a line in which one value is looked for.
fn hit(line: &str, value: &str) -> Hit {
    let matcher = Matcher::build(Serial(1), [Indicator::plain(LookFor::guess(value).unwrap())]).unwrap();
    let config = DetectorConfig {
        home_networks: TOWN.iter().map(|network| network.parse().unwrap()).collect(),
        trusted_proxies: vec![PROXY.parse().unwrap()],
        report: Report::AtEnd,
        ..DetectorConfig::default()
    };
    let at: Timestamp = "2026-11-22T09:00:05Z".parse().unwrap();
    let mut detector = Detector::new(&config, "fw.log", Arc::new(matcher));
    detector.handle_line(at, Line { number: 1, offset: None, bytes: line.as_bytes() });
    detector.finish(at);
    let hit = detector.poll_hit().unwrap_or_else(|| panic!("no hit in {line}"));
    assert!(detector.poll_hit().is_none(), "more than one hit in {line}");
    hit
}

/// `inbound 10.0.0.9 <- 203.0.113.5`: direction, host and remote.
fn check(line: &str, value: &str, expected: &str) -> Hit {
    let hit = hit(line, value);
    let shown = |address: Option<std::net::IpAddr>| address.map_or("?".into(), |address| address.to_string());
    let found = format!("{} {} {}", hit.direction.as_str(), shown(hit.host), shown(hit.remote));
    assert_eq!(found, expected, "{line}");
    hit
}

fn shown(flow: &Flow) -> String {
    format!("{:?} {}:{} {}:{}", flow.proto, flow.src, flow.src_port, flow.dst, flow.dst_port)
}

fn check_nat(hit: &Hit, inner: &str, outer: &str) {
    let logged = hit.logged.as_ref().unwrap();
    assert_eq!(shown(logged.flow.as_ref().unwrap()), inner);
    let Nat { outer_flow, .. } = hit.nat.unwrap();
    assert_eq!(shown(&outer_flow), outer);
}

#[test]
fn the_towns_host_is_the_one_before_source_translation() {
    let fortigate = "date=2026-11-22 time=10:00:00 devname=\"fw\" devid=\"FGT0\" logid=\"0000000013\" type=\"traffic\" subtype=\"forward\" srcip=10.0.0.4 srcport=53000 dstip=203.0.113.5 dstport=443 proto=6 trandisp=\"snat\" transip=192.0.2.1 transport=60964";
    let asa = "Nov 22 2026 10:00:00: %ASA-6-302013: Built outbound TCP connection 89743274 for outside:203.0.113.5/443 (203.0.113.5/443) to inside:10.0.0.4/53000 (192.0.2.1/60964)";
    let stormshield = "id=firewall time=\"2026-11-22 10:00:00\" fw=\"fw\" tz=+0100 startime=\"2026-11-22 10:00:00\" ipproto=tcp proto=https src=10.0.0.4 srcport=53000 modsrc=192.0.2.1 modsrcport=60964 dst=203.0.113.5 dstport=443 origdst=203.0.113.5 origdstport=443 action=pass logtype=\"connection\"";
    let mikrotik = "firewall,info forward: in:lan out:wan, src-mac 02:00:00:00:00:01, proto TCP (SYN), 10.0.0.4:53000->203.0.113.5:443, NAT (10.0.0.4:53000->192.0.2.1:60964)->203.0.113.5:443, len 52";
    for line in [fortigate, asa, stormshield, mikrotik] {
        let hit = check(line, "203.0.113.5", "outbound 10.0.0.4 203.0.113.5");
        check_nat(&hit, "Tcp 10.0.0.4:53000 203.0.113.5:443", "Tcp 192.0.2.1:60964 203.0.113.5:443");
    }
}

#[test]
fn a_published_service_is_the_host_after_destination_translation() {
    let fortigate = "date=2026-11-22 time=10:00:00 devname=\"fw\" devid=\"FGT0\" logid=\"0000000013\" type=\"traffic\" subtype=\"forward\" srcip=203.0.113.5 srcport=40001 dstip=192.0.2.1 dstport=443 proto=6 trandisp=\"dnat\" tranip=10.10.10.40 tranport=8443";
    let stormshield = "id=firewall time=\"2026-11-22 10:00:00\" fw=\"fw\" tz=+0100 startime=\"2026-11-22 10:00:00\" ipproto=tcp proto=https src=203.0.113.5 srcport=40001 dst=10.10.10.40 dstport=8443 origdst=192.0.2.1 origdstport=443 action=pass logtype=\"connection\"";
    for line in [fortigate, stormshield] {
        let hit = check(line, "203.0.113.5", "inbound 10.10.10.40 203.0.113.5");
        check_nat(&hit, "Tcp 203.0.113.5:40001 10.10.10.40:8443", "Tcp 203.0.113.5:40001 192.0.2.1:443");
    }
}

#[test]
fn a_line_without_translation_keeps_both_ends_with_their_ports() {
    let line = "Nov 22 10:00:00 gw kernel: [UFW BLOCK] IN=wan0 OUT= SRC=203.0.113.5 DST=192.0.2.9 PROTO=TCP SPT=4000 DPT=22";
    let hit = check(line, "203.0.113.5", "inbound 192.0.2.9 203.0.113.5");
    let logged = hit.logged.unwrap();
    assert_eq!(shown(&logged.flow.unwrap()), "Tcp 203.0.113.5:4000 192.0.2.9:22");
    assert_eq!((logged.format.as_str(), logged.time.as_str()), ("netfilter", "Nov 22 10:00:00"));
    assert_eq!(
        logged.at,
        Some("2026-11-22T09:00:00Z".parse().unwrap()),
        "the zone is that of the time of reading"
    );
    assert_eq!(hit.nat, None);
    assert!(hit.notes.is_empty());
}

#[test]
fn a_private_or_shared_address_is_no_origin() {
    for source in ["100.64.7.9", "172.16.3.4", "fd00::9"] {
        let line = format!("kernel: IN=wan0 OUT=lan0 SRC={source} DST=192.0.2.9 PROTO=TCP SPT=4000 DPT=22");
        let hit = check(&line, "192.0.2.9", "inbound 192.0.2.9 ?");
        assert_eq!(hit.notes, [Note::OriginMasked], "{source}");
    }
}

#[test]
fn only_a_trusted_proxy_names_the_origin() {
    let request = |proxy: &str, names: &str| {
        format!(
            r#"{{"client_ip":"{proxy}","dest_ip":"10.0.0.9","x_forwarded_for":"{names}","url":"http://cattivo.example/a"}}"#
        )
    };
    let hit = check(
        &request("10.0.0.2", "198.51.100.66, 203.0.113.7"),
        "http://cattivo.example/a",
        "inbound 10.0.0.9 203.0.113.7",
    );
    assert!(hit.notes.is_empty());
    let hit = check(&request("10.0.0.3", "203.0.113.7"), "http://cattivo.example/a", "internal 10.0.0.3 ?");
    assert_eq!(hit.notes, [Note::OriginMasked]);
    assert_eq!(hit.named_origins, ["203.0.113.7".parse::<std::net::IpAddr>().unwrap()]);
}
