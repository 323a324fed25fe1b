//! Decides which values are not looked for, and says why: what everybody has, what nobody can see, what
//! covers too much.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use protocol::indicator::Addresses;
use protocol::observable::Observable;
use protocol::url::Host;
use protocol::{Domain, LookFor};

use super::Found;

/// Registries give nobody a network larger than these; an indicator that covers one is a mistake.
const NETWORK_V4_PREFIX_MIN: u8 = 8;
const NETWORK_V6_PREFIX_MIN: u8 = 19;

/// Names that end so stay inside a network (RFC 6761, RFC 8375, and what routers make up).
const LOCAL_ENDINGS: [&str; 9] =
    ["localhost", "local", "lan", "internal", "intranet", "home", "corp", "localdomain", "arpa"];
/// Top-level names outside the public DNS that indicators do use; `example`, `test` and `invalid` are for exercises.
const OTHER_ENDINGS: [&str; 6] = ["onion", "i2p", "bit", "example", "test", "invalid"];
/// Endings of file names that are also top-level domains.
const FILE_ENDINGS: [&str; 10] = ["zip", "mov", "sh", "py", "md", "rs", "so", "ps", "cab", "app"];

/// Hashes of the empty file.
const EMPTY_HASHES: [&str; 3] = [
    "d41d8cd98f00b204e9800998ecf8427e",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
];

/// Why a value is not looked for; `None` when it is.
pub fn set_aside(look_for: &LookFor, found: Found) -> Option<&'static str> {
    match look_for {
        LookFor::Observable(Observable::Ip(address)) => address_aside(*address),
        LookFor::Addresses(Addresses::IpPort(endpoint)) => address_aside(endpoint.ip()),
        LookFor::Addresses(Addresses::Network(network)) => {
            let prefix_min =
                if network.addr().is_ipv4() { NETWORK_V4_PREFIX_MIN } else { NETWORK_V6_PREFIX_MIN };
            if network.prefix_len() < prefix_min {
                return Some("a network this large covers half the internet");
            }
            address_aside(network.addr()).or_else(|| address_aside(network.broadcast()))
        }
        LookFor::Observable(Observable::Domain(domain)) => domain_aside(domain, found),
        LookFor::Observable(Observable::Url(url)) => match url.host()? {
            Host::Ip(address) => address_aside(address),
            Host::Domain(domain) => local_name(&domain)
                .or_else(|| ending_aside(&domain))
                .or_else(|| reference_aside(&domain, found)),
        },
        LookFor::Observable(hash @ (Observable::Md5(_) | Observable::Sha1(_) | Observable::Sha256(_))) => {
            EMPTY_HASHES.contains(&hash.to_string().as_str()).then_some("the hash of the empty file")
        }
        LookFor::Observable(
            Observable::Ja3(_) | Observable::Ja4(_) | Observable::UserAgent(_) | Observable::Email(_),
        )
        | LookFor::Pattern(_) => None,
    }
}

/// The addresses of documentation (RFC 5737, RFC 3849) pass: exercises use them and nobody else has them.
fn address_aside(address: IpAddr) -> Option<&'static str> {
    let private = match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            address.is_private() || (a == 100 && (64..128).contains(&b)) // RFC 6598
        }
        IpAddr::V6(address) => address.is_unique_local(),
    };
    if private {
        return Some("a private address, which every town has");
    }
    let local = match address {
        IpAddr::V4(address) => reserved_v4(address),
        IpAddr::V6(address) => reserved_v6(address),
    };
    local.then_some("a reserved address, which nobody meets on the internet")
}

fn reserved_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    a == 0
        || a >= 240
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || (a == 198 && (b == 18 || b == 19)) // RFC 2544
}

fn reserved_v6(address: Ipv6Addr) -> bool {
    let [first, ..] = address.segments();
    first & 0xe000 != 0x2000 // RFC 4291 §2.4: global unicast is 2000::/3 to this day
}

fn domain_aside(domain: &Domain, found: Found) -> Option<&'static str> {
    let name = domain.as_str();
    let Some((_, ending)) = name.rsplit_once('.') else {
        return Some("a single label: it would cover every name below it");
    };
    if let Some(reason) = local_name(domain).or_else(|| ending_aside(domain)) {
        return Some(reason);
    }
    if found == Found::InText && FILE_ENDINGS.contains(&ending) && name.split('.').count() == 2 {
        return Some("a file name or a domain: write it alone on a line to look for it");
    }
    if psl::domain(name.as_bytes()).is_none() && !OTHER_ENDINGS.contains(&ending) {
        return Some("a public suffix: the names below it belong to many different people");
    }
    reference_aside(domain, found)
}

fn local_name(domain: &Domain) -> Option<&'static str> {
    let ending = domain.as_str().rsplit('.').next().unwrap_or_default();
    LOCAL_ENDINGS.contains(&ending).then_some("a name of local networks")
}

fn ending_aside(domain: &Domain) -> Option<&'static str> {
    (!ends_like_a_domain(domain)).then_some("no top-level domain ends like this; perhaps a file name")
}

/// Whether the last label is a top-level domain.
pub fn ends_like_a_domain(domain: &Domain) -> bool {
    let ending = domain.as_str().rsplit('.').next().unwrap_or_default();
    OTHER_ENDINGS.contains(&ending)
        || psl::suffix(domain.as_str().as_bytes()).is_some_and(|suffix| suffix.is_known())
}

/// Sites that reports link to; somebody who lists one in a field of its own means it.
const REFERENCES: [&str; 12] = [
    "virustotal.com",
    "otx.alienvault.com",
    "any.run",
    "hybrid-analysis.com",
    "abuse.ch",
    "mitre.org",
    "nist.gov",
    "welivesecurity.com",
    "csirt.gov.it",
    "acn.gov.it",
    "cert-agid.gov.it",
    "commissariatodips.it",
];

fn reference_aside(domain: &Domain, found: Found) -> Option<&'static str> {
    let listed = || domain.with_parents().any(|name| REFERENCES.contains(&name));
    (found == Found::InText && listed()).then_some("a site that reports refer to")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, words: Option<&str>) {
        let reason = set_aside(&LookFor::guess(value).unwrap(), Found::Named);
        assert_eq!(reason.is_some(), words.is_some(), "{value}: {reason:?}");
        assert!(reason.unwrap_or_default().contains(words.unwrap_or_default()), "{value}: {reason:?}");
    }

    #[test]
    fn what_every_town_has_is_set_aside() {
        check("10.1.2.3", Some("private"));
        check("100.64.0.1", Some("private"));
        check("fd00::1", Some("private"));
        check("172.16.0.0/12", Some("private"));
        check("192.168.1.1:80", Some("private"));
        check("http://192.168.1.1/a", Some("private"));
        check("router.lan", Some("local"));
        check("http://localhost/a", Some("local"));
        check("1.0.168.192.in-addr.arpa", Some("local"));
    }

    #[test]
    fn what_nobody_meets_is_set_aside() {
        for value in ["0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255", "::1", "fe80::1"]
        {
            check(value, Some("reserved"));
        }
        check("d41d8cd98f00b204e9800998ecf8427e", Some("empty file"));
    }

    #[test]
    fn what_covers_too_much_is_set_aside() {
        check("0.0.0.0/0", Some("half the internet"));
        check("203.0.0.0/7", Some("half the internet"));
        check("2000::/3", Some("half the internet"));
        check("co.uk", Some("public suffix"));
        check("ddns.net", Some("public suffix"));
        check("gov.it", Some("public suffix"));
    }

    #[test]
    fn what_is_no_domain_of_the_internet_is_set_aside() {
        check("invoice.exe", Some("file name"));
        check("http://evil.nosuchtld/", Some("file name"));
    }

    #[test]
    fn everything_else_is_looked_for() {
        for value in [
            "203.0.113.5",
            "198.51.100.0/24",
            "2001:db8::5",
            "203.0.113.5:443",
            "evil.example",
            "a.evil.co.uk",
            "evil.ddns.net",
            "abcdefghijklmnop.onion",
            "http://evil.example/a.exe",
            "mallory@evil.example",
            "00000000000000000000000000000001",
        ] {
            check(value, None);
        }
    }

    #[test]
    fn in_prose_a_file_name_is_not_taken_for_a_domain() {
        let script = LookFor::guess("install.sh").unwrap();
        assert!(set_aside(&script, Found::InText).is_some());
        assert_eq!(set_aside(&script, Found::Alone), None);
        let link = LookFor::guess("https://www.virustotal.com/gui/file/1").unwrap();
        assert!(set_aside(&link, Found::InText).is_some());
        assert_eq!(set_aside(&link, Found::Named), None);
    }
}
