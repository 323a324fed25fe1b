//! Values as traffic and logs spell them: those that are looked for, their look-alikes, and others.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use protocol::bundle::Line;
use protocol::indicator::{Addresses, Pattern};
use protocol::{Kind, LookFor, Observable};

use super::made;
use super::random::Random;

/// A value as it is seen, before it is brought into normal form.
#[derive(Clone, Debug)]
pub struct Spelled {
    pub kind: Kind,
    pub text: String,
    /// The port beside an address.
    pub port: Option<u16>,
}

impl Spelled {
    fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), port: None }
    }

    /// What it is in normal form.
    pub fn observable(&self) -> Option<Observable> {
        Observable::parse(self.kind, &self.text).ok()
    }
}

/// A value to ask for: mostly one that is close to something in the set.
pub fn spelled(random: &mut Random, lines: &[Line]) -> Spelled {
    let near = lines.get(random.below(lines.len())).filter(|_| !random.one_in(5));
    match near {
        Some(Line::Indicator(indicator)) => close_to(random, &indicator.look_for),
        _ => {
            let Some(value) = made::look_for(random) else { return Spelled::new(Kind::Domain, "a.example") };
            close_to(random, &value)
        }
    }
}

fn close_to(random: &mut Random, look_for: &LookFor) -> Spelled {
    let text = look_for.to_string();
    match look_for {
        LookFor::Addresses(Addresses::Network(network)) => close_to_network(random, *network),
        LookFor::Addresses(Addresses::IpPort(endpoint)) => close_to_endpoint(random, *endpoint),
        LookFor::Observable(Observable::Ip(address)) => {
            let address = neighbour(random, *address);
            spell_address(random, address)
        }
        LookFor::Observable(Observable::Domain(_)) => close_to_name(random, &text),
        LookFor::Observable(Observable::Url(_)) => Spelled::new(Kind::Url, close_to_url(random, &text)),
        LookFor::Observable(Observable::Email(_)) => Spelled::new(Kind::Email, close_to_email(random, &text)),
        LookFor::Observable(Observable::UserAgent(_)) => {
            Spelled::new(Kind::UserAgent, close_to_agent(random, &text))
        }
        LookFor::Observable(Observable::Ja4(_)) => {
            let text = if random.one_in(3) { made::ja4(random) } else { text };
            Spelled::new(Kind::Ja4, random.mixed_case(&text))
        }
        LookFor::Observable(_) => close_to_digest(random, text),
        LookFor::Pattern(Pattern::Wildcard(_)) => {
            let filled = fill(random, &text);
            close_to_name(random, &filled)
        }
        LookFor::Pattern(Pattern::UrlPrefix(_)) => {
            let scheme = random.pick(&["http", "https", "ftp", "gopher"]);
            let tail = random.pick(&["", "/", "/a", "//", "/a/b?c", "?a=/", "x", "%2f", "#top", "/../b"]);
            let url = format!("{scheme}://{text}{tail}");
            Spelled::new(Kind::Url, if random.one_in(2) { url } else { close_to_url(random, &url) })
        }
        LookFor::Pattern(Pattern::UserAgentPart(_)) => {
            Spelled::new(Kind::UserAgent, close_to_agent(random, &text))
        }
        LookFor::Pattern(Pattern::EmailDomain(_)) => {
            let name = look_alike(random, &text);
            match random.below(4) {
                0 => Spelled::new(Kind::Domain, name),
                _ => Spelled::new(Kind::Email, format!("{}@{name}", random.pick(&["mallory", "x", "a.b"]))),
            }
        }
    }
}

/// A name near another, as a name, in an e-mail address, or as the host of a URL.
fn close_to_name(random: &mut Random, text: &str) -> Spelled {
    let name = look_alike(random, text);
    match random.below(8) {
        0 => Spelled::new(Kind::Email, format!("mallory@{name}")),
        1 => Spelled::new(Kind::Url, format!("http://{name}/kit")),
        _ => Spelled::new(Kind::Domain, name),
    }
}

/// The name itself in another spelling, names above and below it, and names that only look like it.
fn look_alike(random: &mut Random, name: &str) -> String {
    let parent = name.split_once('.').map_or(name, |(_, parent)| parent);
    match random.below(16) {
        0 => name.to_owned(),
        1 => format!("{name}."),
        2 => format!("www.{name}"),
        3 => format!("a.b.c.{name}"),
        4 => parent.to_owned(),
        5 => format!("x{name}"),
        6 => format!("{name}x"),
        7 => name.replacen('.', "-", 1),
        8 => name.replacen(['l', 'i'], "1", 1),
        9 => name.replacen('a', "\u{430}", 1),
        10 => name.replacen('e', "\u{435}", 1),
        11 => name.replace("xn--citt-3na", "citt\u{e0}").replace("apple", "APPLE"),
        12 => name.replace('.', "\u{3002}"), // an ideographic full stop, which IDNA reads as a dot
        13 => format!("{}{name}", random.cut(name)),
        14 => format!("{name}.{name}"),
        _ => random.mixed_case(name),
    }
}

/// What stands in the place of a star.
const IN_PLACE: &[&str] = &["", "a", "7", "evil", "-", "a.b", "l", "vi"];

/// A wildcard with something in the place of its stars.
fn fill(random: &mut Random, pattern: &str) -> String {
    let parts: Vec<&str> = pattern.split('*').collect();
    let mut filled = String::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            let in_place = *random.pick(IN_PLACE);
            filled.push_str(in_place);
        }
        filled.push_str(part);
    }
    filled
}

fn neighbour(random: &mut Random, address: IpAddr) -> IpAddr {
    let step = *random.pick(&[0_i8, 0, 0, 1, -1, 2]);
    match address {
        IpAddr::V4(v4) => IpAddr::V4(v4.to_bits().wrapping_add_signed(step.into()).into()),
        IpAddr::V6(v6) => IpAddr::V6(v6.to_bits().wrapping_add_signed(step.into()).into()),
    }
}

/// The edges of a network, what lies beside them, and what lies between.
fn close_to_network(random: &mut Random, network: IpNet) -> Spelled {
    let address = match random.below(4) {
        0 => network.network(),
        1 => network.broadcast(),
        2 => match network {
            IpNet::V4(v4) => IpAddr::V4(
                (v4.network().to_bits() | (random.number() as u32 & v4.hostmask().to_bits())).into(),
            ),
            IpNet::V6(v6) => {
                let low = u128::from(random.number()) | (u128::from(random.number()) << 64);
                IpAddr::V6((v6.network().to_bits() | (low & v6.hostmask().to_bits())).into())
            }
        },
        _ => made::address(random),
    };
    let address = neighbour(random, address);
    spell_address(random, address)
}

fn close_to_endpoint(random: &mut Random, endpoint: SocketAddr) -> Spelled {
    let address = neighbour(random, endpoint.ip());
    let mut spelled = spell_address(random, address);
    spelled.port = match random.below(5) {
        0 => None,
        1 => Some(endpoint.port().wrapping_add(1)),
        2 => Some(*random.pick(made::PORTS)),
        _ => Some(endpoint.port()),
    };
    spelled
}

fn spell_address(random: &mut Random, address: IpAddr) -> Spelled {
    let text = match (address, random.below(4)) {
        (IpAddr::V4(v4), 0) => format!("::ffff:{v4}"),
        (IpAddr::V4(v4), 1) => format!("[::FFFF:{:x}:{:x}]", v4.to_bits() >> 16, v4.to_bits() & 0xffff),
        (IpAddr::V6(v6), 0) => format!("{v6}%eth0"),
        (IpAddr::V6(v6), 1) => format!("[{}]", v6.to_string().to_uppercase()),
        _ => address.to_string(),
    };
    let port = (!random.one_in(3)).then(|| *random.pick(made::PORTS));
    Spelled { kind: Kind::Ip, text, port }
}

fn close_to_url(random: &mut Random, url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(host_end);
    let default = if scheme == "https" { 443 } else { 80 };
    match random.below(15) {
        0 => format!("{scheme}://{host}:{default}{path}"),
        1 => format!("{}://{}{path}", scheme.to_uppercase(), host.to_uppercase()),
        2 => format!("{url}#top"),
        3 => format!("{scheme}://user:secret@{host}{path}"),
        4 => format!("{url}/"),
        5 => url.trim_end_matches('/').to_owned(),
        6 => format!("{url}x"),
        7 => format!("{url}?a"),
        8 => format!("{scheme}://{host}{}", path.replacen('k', "%6b", 1)),
        9 => format!("{scheme}://{host}{}", path.replace("%69", "i").to_uppercase()),
        10 => format!("https://{host}{path}"),
        11 => format!("{scheme}://{}{path}", look_alike(random, host)),
        12 => format!("{scheme}://{host}{}", path.rsplit_once('/').map_or("", |(above, _)| above)),
        13 => format!("{scheme}://{host}.:{path}"),
        _ => url.to_owned(),
    }
}

fn close_to_email(random: &mut Random, email: &str) -> String {
    let Some((local, domain)) = email.rsplit_once('@') else { return email.to_owned() };
    match random.below(7) {
        0 => format!("<{}>", email.to_uppercase()),
        1 => format!("x{email}"),
        2 => format!("{local}@{}", look_alike(random, domain)),
        3 => format!("{local}@[192.0.2.5]"),
        4 => random.mixed_case(email),
        _ => email.to_owned(),
    }
}

fn close_to_agent(random: &mut Random, text: &str) -> String {
    match random.below(7) {
        0 => format!("Mozilla/5.0 {text}"),
        1 => format!("{text}; x"),
        2 => random.mixed_case(text),
        3 => format!("x{}y", random.mixed_case(text)),
        4 => random.cut(text).to_owned(),
        5 => format!("  {text}\t"),
        _ => text.to_owned(),
    }
}

/// The hash, one that differs in a bit, or the same bytes as another kind.
fn close_to_digest(random: &mut Random, text: String) -> Spelled {
    let kind = match text.len() {
        32 => *random.pick(&[Kind::Md5, Kind::Ja3]),
        40 => Kind::Sha1,
        _ => Kind::Sha256,
    };
    let mut digits: Vec<char> = text.chars().collect();
    if random.one_in(3) {
        let at = random.below(digits.len());
        let digit = digits[at].to_digit(16).unwrap_or_default() ^ (1 << random.below(4));
        digits[at] = char::from_digit(digit, 16).unwrap_or('0');
    }
    let text: String = digits.into_iter().collect();
    Spelled::new(kind, random.mixed_case(&text))
}
