//! Sets of indicators made from few parts, so that they overlap, nest and repeat.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use protocol::bundle::{Line, Revocation};
use protocol::{Action, Indicator, LookFor, Timestamp};

use super::random::Random;

/// Labels that differ in one letter, look alike in another alphabet, or stand for each other.
const LABELS: &[&str] = &[
    "a",
    "b",
    "www",
    "evil",
    "evi1",
    "notevil",
    "evil-",
    "xevil",
    "evilx",
    "login-7",
    "login-",
    "kit",
    "citt\u{e0}",
    "xn--citt-3na",
    "apple",
    "\u{430}pple",
    "0",
    "7",
    "_dmarc",
    "e",
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk",
];
const ENDINGS: &[&str] =
    &["example", "evil.example", "test", "co.test", "evil.test", "example.example", "xn--fiqs8s"];
const WILD_LABELS: &[&str] = &["*", "login-*", "*vil", "a*", "*l*", "e*i*", "*-*", "a", "evil", "**"];
const PATHS: &[&str] = &[
    "/",
    "",
    "/kit",
    "/kit/",
    "/Kit",
    "/kit/a",
    "/kit/a/b.exe",
    "/kitten",
    "/k%69t",
    "/kit//a",
    "/a?kit=/b",
    "/a/?b",
];
const AGENTS: &[&str] = &[
    "evil-bot/1.0",
    "Evil-Bot/1.0",
    "Mozilla/5.0 (X11; Linux x86_64) evil-bot/1.0",
    "curl/8.5.0",
    "wget",
    "r\u{e9}seau/2",
    "evil",
    "botbotbot",
];
const IDS: &[&str] = &["indicator--1", "indicator--2", "indicator--3", "indicator--4"];
const ALERTS: &[&str] = &["", "", "ESEMPIO-2026-0001", "ESEMPIO-2026-0002", "ESEMPIO-2026-0003"];
pub const PORTS: &[u16] = &[0, 22, 53, 80, 443, 8080, 8443, 65535];

/// A name of up to five labels, seldom of many.
pub fn name(random: &mut Random) -> String {
    let most = if random.one_in(40) { 100 } else { 4 };
    let mut labels: Vec<&str> = (0..random.below(most)).map(|_| *random.pick(LABELS)).collect();
    labels.push(*random.pick(ENDINGS));
    labels.join(".")
}

pub fn v4(random: &mut Random) -> Ipv4Addr {
    let last = *random.pick(&[0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 127, 128, 254, 255]);
    let [a, b, c] = *random.pick(&[
        [203, 0, 113],
        [203, 0, 112],
        [198, 51, 100],
        [192, 0, 2],
        [0, 0, 0],
        [255, 255, 255],
        [127, 255, 255],
        [128, 0, 0],
    ]);
    if random.one_in(20) { Ipv4Addr::from_bits(random.number() as u32) } else { Ipv4Addr::new(a, b, c, last) }
}

pub fn v6(random: &mut Random) -> Ipv6Addr {
    let high =
        *random.pick(&[0x2001_0db8_u128, 0x2001_0db9, 0x2001_0db8_ffff, 0xfe80_0000, 0, 0xffff_ffff]) << 96;
    let low = u128::from(*random.pick(&[0_u64, 1, 2, 3, 0xff, 0x100, u64::MAX, 1 << 63, (1 << 63) - 1]));
    let middle = u128::from(*random.pick(&[0_u16, 1, 0x8000, 0xffff])) << 64;
    Ipv6Addr::from_bits(high | middle | low)
}

pub fn address(random: &mut Random) -> IpAddr {
    if random.one_in(3) { IpAddr::V6(v6(random)) } else { IpAddr::V4(v4(random)) }
}

fn network(random: &mut Random) -> String {
    let address = address(random);
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = match random.below(3) {
        0 => random.below(most + 1),
        1 => most - random.below(6),
        _ => most - 8 * random.below(4),
    };
    format!("{address}/{length}")
}

pub fn url(random: &mut Random) -> String {
    let scheme = random.pick(&["http", "https", "ftp", "HTTP"]);
    let host = match random.below(6) {
        0 => v4(random).to_string(),
        1 => format!("[{}]", v6(random)),
        _ => name(random),
    };
    let port = random.pick(&["", "", "", ":80", ":443", ":8080", ":"]);
    format!("{scheme}://{host}{port}{}", random.pick(PATHS))
}

pub fn digest(random: &mut Random, bytes: usize) -> String {
    let byte = *random.pick(&[0_u8, 1, 0x7f, 0x80, 0xff]);
    let mut digest = vec![byte; bytes];
    let (at, bit) = (random.below(bytes), random.below(8));
    digest[at] ^= 1 << bit;
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn ja4(random: &mut Random) -> String {
    let ciphers = random.pick(&["8daaf6152771", "8daaf6152770", "000000000000"]);
    format!("t13d151{}h2_{ciphers}_e5627efa2ab{}", random.below(3), random.below(4))
}

pub fn agent(random: &mut Random) -> String {
    let agent = (*random.pick(AGENTS)).to_owned();
    match random.below(4) {
        0 => format!("{agent} {}", random.pick(AGENTS)),
        1 => random.mixed_case(&agent),
        _ => agent,
    }
}

/// What an indicator may look for; `None` where the parts make nothing.
pub fn look_for(random: &mut Random) -> Option<LookFor> {
    let (kind, text) = match random.below(28) {
        0..4 => ("ip", address(random).to_string()),
        4..9 => ("domain", name(random)),
        9..12 => ("network", network(random)),
        12 | 13 => ("ip_port", SocketAddr::new(address(random), *random.pick(PORTS)).to_string()),
        14 | 15 => ("url", url(random)),
        16 | 17 => ("url_prefix", url(random)),
        18 | 19 => {
            let labels: Vec<&str> = (0..=random.below(3)).map(|_| *random.pick(WILD_LABELS)).collect();
            ("wildcard", format!("{}.{}", labels.join("."), name(random)))
        }
        20 => ("email", format!("{}@{}", random.pick(&["mallory", "M.Allory", "m+7"]), name(random))),
        21 => ("email_domain", name(random)),
        22 => ("user_agent", agent(random)),
        23 => {
            let agent = agent(random);
            let from = agent.len() - random.cut(&agent).len();
            ("user_agent_part", agent.get(from..).unwrap_or(&agent).to_owned())
        }
        24 => ("ja4", ja4(random)),
        25 => (*random.pick(&["md5", "ja3"]), digest(random, 16)),
        26 => ("sha1", digest(random, 20)),
        _ => ("sha256", digest(random, 32)),
    };
    LookFor::parse(kind, &text).ok()
}

/// An indicator or entry of the allow-list; some begin or end, some share their identifier.
pub fn indicator(random: &mut Random, number: usize) -> Option<Indicator> {
    let mut made = Indicator::plain(look_for(random)?);
    decorate(random, &mut made, number);
    Some(made)
}

/// Gives an indicator an identifier, an alert, a validity and an action.
pub fn decorate(random: &mut Random, made: &mut Indicator, number: usize) {
    if !random.one_in(8) {
        let shared = random.one_in(10);
        made.id = if shared { (*random.pick(IDS)).into() } else { format!("indicator--a{number}") };
    }
    made.alert = (*random.pick(ALERTS)).into();
    made.action = if random.one_in(7) { Action::Allow } else { Action::Detect };
    if random.one_in(4) {
        made.valid_from = Some(time(random));
    }
    if random.one_in(4) {
        made.valid_until = Some(time(random));
    }
}

/// One of few times, so that beginnings and ends are met exactly.
pub fn time(random: &mut Random) -> Timestamp {
    let seconds = *random.pick(&[0, 1_700_000_000, 1_700_000_100, 1_700_000_200, 1_700_000_300]);
    Timestamp::from_seconds(seconds, random.below(3) as i64 - 1)
}

fn revocation(random: &mut Random, lines: &[Line]) -> Revocation {
    if random.one_in(2) {
        return Revocation::Alert((*random.pick(ALERTS)).into());
    }
    match lines.get(random.below(lines.len())) {
        Some(Line::Indicator(indicator)) => Revocation::Indicator(indicator.id.clone()),
        _ => Revocation::Indicator((*random.pick(IDS)).into()),
    }
}

/// The lines of a set with about so many indicators, each line once.
pub fn lines(random: &mut Random, size: usize) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let one_value = (size <= 250 && random.one_in(8)).then(|| look_for(random)).flatten();
    for number in 0..size {
        let Some(mut made) = indicator(random, number) else { continue };
        if let Some(value) = &one_value {
            made.look_for = value.clone();
        }
        push_new(&mut lines, Line::Indicator(made));
    }
    let revoked = if random.one_in(3) { 0 } else { random.below(3 + size / 50) };
    for _ in 0..revoked {
        let revocation = revocation(random, &lines);
        push_new(&mut lines, Line::Revocation(revocation));
    }
    if random.one_in(2) {
        lines.reverse();
    }
    lines
}

fn push_new(lines: &mut Vec<Line>, line: Line) {
    if !lines.iter().any(|known| is_same(known, &line)) {
        lines.push(line);
    }
}

/// Whether two lines stand for the same: a bundle has one of them only.
pub fn is_same(one: &Line, other: &Line) -> bool {
    match (one, other) {
        (Line::Indicator(one), Line::Indicator(other)) => {
            one.look_for == other.look_for && one.id == other.id
        }
        (one, other) => one == other,
    }
}
