//! Invented indicators in any number: the mix that a national list has, each made from its number alone, so that ten
//! million need no memory. The same seed gives the same ones on every machine; they come in the order of a bundle.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use protocol::domain::Domain;
use protocol::observable::Digest;
use protocol::url::Url;
use protocol::{Indicator, LookFor, Observable, Severity, Timestamp};

use super::seed::Seed;

/// What an indicator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Ipv4,
    Ipv6,
    Domain,
    Url,
    Md5,
    Sha1,
    Sha256,
    Network4,
    Network6,
}

/// How many of a thousand are what, in the order of a bundle.
const MIX: [(Shape, u64); 9] = [
    (Shape::Ipv4, 300),
    (Shape::Ipv6, 50),
    (Shape::Domain, 400),
    (Shape::Url, 140),
    (Shape::Md5, 30),
    (Shape::Sha1, 20),
    (Shape::Sha256, 50),
    (Shape::Network4, 7),
    (Shape::Network6, 3),
];

/// First octets without addresses of everybody: private, shared, looped back, written about in documents. What is
/// set aside for documents has too few addresses to measure anything, so these invented indicators lie among those
/// in use; nothing is ever sent to one.
const NOT_UNICAST: [u8; 8] = [10, 100, 127, 169, 172, 192, 198, 203];
/// First octets of IPv4 in use: 1 to 223 without the above.
const FIRST_OCTETS: u64 = 223 - NOT_UNICAST.len() as u64;
/// First 64 bits of IPv6 in use: 2400:: up to 2c10::.
const FIRST_WORDS: std::ops::Range<u64> = 0x2400_0000_0000_0000..0x2c10_0000_0000_0000;
/// Letters at the beginning of a name that no other name of the set begins with.
const LETTERS: u32 = 6;
/// How many beginnings of so many letters there are.
const BEGINNINGS: u64 = 26_u64.pow(LETTERS);
/// Endings that nobody can register (RFC 2606).
const ENDINGS: [&str; 4] = ["example", "test", "example", "invalid"];
const THREATS: [&str; 8] =
    ["Volpe Grigia", "Nebbia", "kit-poste", "Tarlo", "ladro-di-sessioni", "Riccio", "finta-banca", "Sciame"];
/// Alerts that the indicators came with; of some many, of others few.
const ALERTS: u64 = 3_000;
/// 2026-01-01, the first day of what is valid for a time.
const NEW_YEAR: i64 = 1_767_225_600;

/// A set of invented indicators.
#[derive(Clone, Copy, Debug)]
pub struct Invented {
    seed: u64,
    count: u64,
}

impl Invented {
    /// So many indicators; another seed gives others.
    pub fn new(seed: u64, count: u64) -> Self {
        Self { seed, count }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them, in the order of a bundle.
    pub fn all(self) -> impl Iterator<Item = Indicator> {
        (0..self.count).filter_map(move |number| self.indicator(number))
    }

    /// The one with this number, from 0; `None` beyond the last.
    pub fn indicator(&self, number: u64) -> Option<Indicator> {
        let look_for = self.look_for(number)?;
        let mut draw = self.draw(number, 2);
        let mut indicator = Indicator::plain(look_for);
        let (high, low) = (draw.number(), draw.number());
        indicator.id = format!(
            "indicator--{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff
        );
        // What comes with one alert has one threat and one source.
        let alert = draw.between(0, ALERTS).min(draw.between(0, ALERTS));
        let mut of_alert = self.draw(alert, 3);
        indicator.threat = of_alert.pick(&THREATS).copied().unwrap_or_default().to_owned();
        indicator.severity = of_alert.pick(Severity::ALL).copied().unwrap_or_default();
        indicator.confidence = u8::try_from(of_alert.between(30, 96)).unwrap_or(50);
        indicator.alert = format!("COSC-ESEMPIO-2026-{:04}", alert + 1);
        indicator.source = format!("lista-{:02}.csv", of_alert.between(1, 40));
        if draw.between(0, 3) == 0 {
            let days = i64::try_from(draw.between(300, 900)).unwrap_or(365);
            indicator.valid_until = Some(Timestamp::from_seconds(NEW_YEAR + days * 86_400, 0));
        }
        Some(indicator)
    }

    /// What the one with this number looks for.
    pub fn look_for(&self, number: u64) -> Option<LookFor> {
        let (shape, rank) = self.shape(number)?;
        let mut draw = self.draw(number, 1);
        let observable = match shape {
            Shape::Ipv4 => Observable::Ip(ipv4(rank.place(FIRST_OCTETS << 24, &mut draw)).into()),
            Shape::Ipv6 => Observable::Ip(
                ipv6(rank.place(FIRST_WORDS.end - FIRST_WORDS.start, &mut draw), &mut draw).into(),
            ),
            Shape::Domain => {
                Observable::Domain(Domain::parse(&name(rank.place(BEGINNINGS, &mut draw), &mut draw)).ok()?)
            }
            Shape::Url => Observable::Url(Url::parse(&rank.url(&mut draw)).ok()?),
            Shape::Md5 => Observable::Md5(Digest(rank.digest(&mut draw))),
            Shape::Sha1 => Observable::Sha1(Digest(rank.digest(&mut draw))),
            Shape::Sha256 => Observable::Sha256(Digest(rank.digest(&mut draw))),
            Shape::Network4 => return rank.network4(&mut draw),
            Shape::Network6 => return rank.network6(&mut draw),
        };
        Some(LookFor::Observable(observable))
    }

    fn shape(&self, number: u64) -> Option<(Shape, Rank)> {
        let mut parts = 0;
        for (shape, of_thousand) in MIX {
            let from = share(parts, 1000, self.count);
            parts += of_thousand;
            let until = share(parts, 1000, self.count);
            if (from..until).contains(&number) {
                return Some((shape, Rank { rank: number - from, of: until - from }));
            }
        }
        None
    }

    /// Random numbers for one indicator and one purpose.
    fn draw(&self, number: u64, purpose: u64) -> Seed {
        let mut seed = Seed::new(self.seed.wrapping_add(purpose << 56));
        Seed::new(seed.number() ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }
}

/// Values such as traffic shows, of the same shape as the indicators, in random order.
#[derive(Clone, Copy, Debug)]
pub struct Strangers {
    seed: u64,
}

impl Strangers {
    /// Values of a seed; they are the indicators of none, as good as certainly.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Addresses, nine of ten IPv4.
    pub fn addresses(self) -> impl Iterator<Item = IpAddr> {
        let mut draw = Seed::new(self.seed);
        std::iter::repeat_with(move || match draw.between(0, 10) {
            0 => ipv6(draw.number(), &mut draw).into(),
            _ => ipv4(draw.number()).into(),
        })
    }

    /// Names of two to four labels.
    pub fn names(self) -> impl Iterator<Item = String> {
        let mut draw = Seed::new(self.seed);
        std::iter::repeat_with(move || name(draw.number() % BEGINNINGS, &mut draw))
    }
}

/// Where an indicator stands among those of its shape.
#[derive(Clone, Copy, Debug)]
struct Rank {
    rank: u64,
    of: u64,
}

impl Rank {
    /// A random place in this one's own part of all places: sorted by rank, none twice, and spread over all.
    fn place(self, places: u64, draw: &mut Seed) -> u64 {
        let (from, until) = self.part(places);
        draw.between(from, until)
    }

    fn part(self, places: u64) -> (u64, u64) {
        (share(self.rank, self.of, places), share(self.rank + 1, self.of, places))
    }

    /// Plain ones come first in the order of a bundle.
    fn url(self, draw: &mut Seed) -> String {
        let plain = self.of / 3;
        let (scheme, rank) = if self.rank < plain {
            ("http", Self { rank: self.rank, of: plain })
        } else {
            ("https", Self { rank: self.rank - plain, of: self.of - plain })
        };
        let host = name(rank.place(BEGINNINGS, draw), draw);
        let mut url = format!("{scheme}://{host}");
        for _ in 0..draw.between(1, 4) {
            url.push('/');
            push_letters(&mut url, (3, 9), draw);
        }
        match draw.between(0, 5) {
            0 => url.push_str(&format!(".php?id={}", draw.between(1, 100_000))),
            1 => url.push_str(".html"),
            _ => {}
        }
        url
    }

    fn digest<const N: usize>(self, draw: &mut Seed) -> [u8; N] {
        let first = self.place(u64::MAX, draw).to_be_bytes();
        let rest = draw.bytes(N);
        std::array::from_fn(|at| first.get(at).or(rest.get(at)).copied().unwrap_or_default())
    }

    /// Most are a /24; none is longer than half of its own part of all addresses, so that they stay sorted.
    fn network4(self, draw: &mut Seed) -> Option<LookFor> {
        let length = match draw.between(0, 100) {
            0..3 => draw.between(16, 20),
            3..18 => draw.between(20, 24),
            18..80 => 24,
            _ => draw.between(25, 31),
        };
        let (from, until) = self.part(FIRST_OCTETS << 24);
        let bits = (32 - length).min(u64::from((until - from).max(2).ilog2()) - 1);
        let place = draw.between(from.div_ceil(1 << bits), until >> bits) << bits;
        LookFor::guess(&format!("{}/{}", ipv4(place), 32 - bits)).ok()
    }

    fn network6(self, draw: &mut Seed) -> Option<LookFor> {
        let length = draw.pick(&[32, 40, 44, 48, 48, 48, 56, 64])?;
        let place = self.place((FIRST_WORDS.end - FIRST_WORDS.start) >> 32, draw) << 32;
        let address = ipv6(place | draw.number() >> 32, draw);
        LookFor::guess(&format!("{address}/{length}")).ok()
    }
}

/// The part of `all` that lies below `rank` of `of`.
fn share(rank: u64, of: u64, all: u64) -> u64 {
    let share = u128::from(rank) * u128::from(all) / u128::from(of.max(1));
    u64::try_from(share).unwrap_or(all)
}

/// The address at a place among those in use; both have the same order.
fn ipv4(place: u64) -> Ipv4Addr {
    let place = place % (FIRST_OCTETS << 24);
    let mut octets = (1..=223).filter(|octet| !NOT_UNICAST.contains(octet));
    let first = usize::try_from(place >> 24).ok().and_then(|at| octets.nth(at)).unwrap_or(1);
    let [.., a, b, c] = place.to_be_bytes();
    Ipv4Addr::new(first, a, b, c)
}

/// The address at a place among those in use, by its first half: every second one of a server with a low number.
fn ipv6(place: u64, draw: &mut Seed) -> Ipv6Addr {
    let first = FIRST_WORDS.start + place % (FIRST_WORDS.end - FIRST_WORDS.start);
    let last = if draw.between(0, 2) == 0 { draw.between(1, 256) } else { draw.number() };
    Ipv6Addr::from_bits(u128::from(first) << 64 | u128::from(last))
}

/// The name at a place among all beginnings: about seventeen characters, two to four labels.
fn name(place: u64, draw: &mut Seed) -> String {
    let mut name = String::with_capacity(32);
    for letter in (0..LETTERS).rev() {
        push_letter(&mut name, place / 26_u64.pow(letter));
    }
    match draw.between(0, 10) {
        0..6 => push_letters(&mut name, (0, 6), draw),
        6..9 => {
            name.push('.');
            push_letters(&mut name, (3, 7), draw);
        }
        _ => {
            name.push('.');
            push_letters(&mut name, (1, 4), draw);
            name.push('.');
            push_letters(&mut name, (3, 6), draw);
        }
    }
    name.push('.');
    name.push_str(draw.pick(&ENDINGS).copied().unwrap_or_default());
    name
}

/// From so many letters up to, not including, so many.
fn push_letters(text: &mut String, (from, below): (u64, u64), draw: &mut Seed) {
    for _ in 0..draw.between(from, below) {
        push_letter(text, draw.number());
    }
}

fn push_letter(text: &mut String, number: u64) {
    text.extend(char::from_digit(10 + u32::try_from(number % 26).unwrap_or_default(), 36));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself_and_another_gives_others() {
        let of = |seed| Invented::new(seed, 500).all().collect::<Vec<_>>();
        assert_eq!(of(1), of(1));
        let (one, other) = (of(1), of(2));
        assert!(one.iter().all(|indicator| other.iter().all(|twin| twin.look_for != indicator.look_for)));
    }

    #[test]
    fn all_are_there_in_the_order_of_a_bundle_and_none_twice() {
        for count in [0, 1, 37, 1_000, 60_000] {
            let all: Vec<Indicator> = Invented::new(3, count).all().collect();
            assert_eq!(all.len() as u64, count);
            assert!(all.is_sorted_by(|one, next| one.look_for < next.look_for), "{count}");
        }
    }

    #[test]
    fn shares_are_those_of_the_mix() {
        let mut kinds = std::collections::BTreeMap::new();
        for indicator in Invented::new(4, 100_000).all() {
            let v6 = matches!(indicator.look_for, LookFor::Observable(Observable::Ip(IpAddr::V6(_))));
            *kinds.entry((indicator.look_for.kind(), v6)).or_default() += 1;
        }
        let expected = [
            (("domain", false), 40_000),
            (("ip", false), 30_000),
            (("ip", true), 5_000),
            (("md5", false), 3_000),
            (("network", false), 1_000),
            (("sha1", false), 2_000),
            (("sha256", false), 5_000),
            (("url", false), 14_000),
        ];
        assert_eq!(kinds.into_iter().collect::<Vec<(_, u32)>>(), expected);
    }

    #[test]
    fn names_are_as_long_as_real_ones_and_seen_ones_have_the_same_shape() {
        let names: Vec<String> = Strangers::new(5).names().take(10_000).collect();
        let mean = names.iter().map(String::len).sum::<usize>() / names.len();
        assert!((16..=18).contains(&mean), "{mean}");
        assert!(names.iter().all(|name| (2..=4).contains(&name.split('.').count())));
        let set: std::collections::HashSet<LookFor> =
            Invented::new(6, 10_000).all().map(|indicator| indicator.look_for).collect();
        for name in names {
            assert!(!set.contains(&LookFor::guess(&name).unwrap()), "{name}");
        }
    }

    #[test]
    fn addresses_are_spread_and_none_is_private() {
        let mut first_octets = [0_u32; 256];
        for address in Strangers::new(7).addresses().take(50_000) {
            match address {
                IpAddr::V4(v4) => first_octets[usize::from(v4.octets()[0])] += 1,
                IpAddr::V6(v6) => assert!((0x2400..0x2c10).contains(&v6.segments()[0])),
            }
        }
        for (octet, count) in (0..=255).zip(first_octets) {
            let used = (1..=223).contains(&octet) && !NOT_UNICAST.contains(&octet);
            assert_eq!(used, count > 100, "{octet}: {count}");
        }
    }
}
