//! Decides which values of a file are not looked for, and says why: what is absurd, what nobody can see, and what a
//! person who writes prose did not mean.

use protocol::absurd;
use protocol::observable::Observable;
use protocol::suffix::public_suffix;
use protocol::url::Host;
use protocol::{Domain, LookFor};

use super::Found;

/// Top-level names outside the public DNS that indicators do use; `example`, `test` and `invalid` are for exercises.
const OTHER_ENDINGS: [&str; 6] = ["onion", "i2p", "bit", "example", "test", "invalid"];
/// Endings of file names that are also top-level domains.
const FILE_ENDINGS: [&str; 10] = ["zip", "mov", "sh", "py", "md", "rs", "so", "ps", "cab", "app"];

/// Why a value is not looked for; `None` when it is. The desk knows no town's own networks: each sensor holds those
/// back itself.
pub fn set_aside(look_for: &LookFor, found: Found) -> Option<&'static str> {
    if let Some(absurd) = absurd::reason(look_for, &[]) {
        return Some(absurd.sentence());
    }
    match look_for {
        LookFor::Observable(Observable::Domain(domain)) => {
            ending_aside(domain).or_else(|| prose_aside(domain, found))
        }
        LookFor::Observable(Observable::Url(url)) => match url.host()? {
            Host::Domain(domain) => ending_aside(&domain).or_else(|| reference_aside(&domain, found)),
            Host::Ip(_) => None,
        },
        LookFor::Observable(_) | LookFor::Addresses(_) | LookFor::Pattern(_) => None,
    }
}

fn prose_aside(domain: &Domain, found: Found) -> Option<&'static str> {
    let (name, ending) = domain.as_str().rsplit_once('.')?;
    if found == Found::InText && FILE_ENDINGS.contains(&ending) && !name.contains('.') {
        return Some("a file name or a domain: write it alone on a line to look for it");
    }
    reference_aside(domain, found)
}

fn ending_aside(domain: &Domain) -> Option<&'static str> {
    (!ends_like_a_domain(domain)).then_some("no top-level domain ends like this; perhaps a file name")
}

/// Whether the last label is a top-level domain.
pub fn ends_like_a_domain(domain: &Domain) -> bool {
    let ending = domain.as_str().rsplit('.').next().unwrap_or_default();
    OTHER_ENDINGS.contains(&ending) || public_suffix(domain.as_str()).is_some()
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
    fn what_is_absurd_is_set_aside() {
        check("172.16.0.0/12", Some("private"));
        check("http://192.168.1.1/a", Some("private"));
        check("http://localhost/a", Some("local"));
        check("0.0.0.0/0", Some("half the internet"));
        check("ddns.net", Some("public suffix"));
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
