//! The words with which sources describe an indicator, in English and Italian: markings, severities, dates, kinds.

use protocol::{Severity, Timestamp, Tlp};

/// A TLP marking as people write it: `TLP:AMBER+STRICT`, `white`, `amber`.
pub fn tlp(text: &str) -> Option<Tlp> {
    let text = text.trim().to_ascii_lowercase();
    let word =
        text.strip_prefix("tlp").map_or(text.as_str(), |rest| rest.trim_start_matches([':', '-', ' ']));
    let word = match word {
        "white" => "clear",
        "amber strict" | "amber-strict" => "amber+strict",
        word => word,
    };
    Tlp::ALL.iter().copied().find(|known| known.as_str() == word)
}

/// A severity in words.
pub fn severity(text: &str) -> Option<Severity> {
    Some(match text.trim().to_lowercase().as_str() {
        "low" | "bassa" | "basso" | "info" | "informational" => Severity::Low,
        "medium" | "media" | "medio" | "moderate" => Severity::Medium,
        "high" | "alta" | "alto" | "grave" => Severity::High,
        "critical" | "critica" | "critico" => Severity::Critical,
        _ => return None,
    })
}

/// A confidence from 0 to 100.
pub fn confidence(text: &str) -> Option<u8> {
    text.trim().trim_end_matches('%').parse().ok().filter(|value| *value <= 100)
}

/// A time, or a day: `2026-11-22T10:00:00Z`, `2026-11-22 10:00:00`, `2026-11-22`, `22/11/2026`. A day counts
/// whole, so a time that ends something is the beginning of the day after.
pub fn until(text: &str) -> Option<Timestamp> {
    time(text).or_else(|| day(text)?.tomorrow().ok().and_then(midnight))
}

/// As [`until`], for a time that begins something: a day begins at its midnight (UTC).
pub fn from(text: &str) -> Option<Timestamp> {
    time(text).or_else(|| day(text).and_then(midnight))
}

fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    let text = text.trim_end_matches(" UTC");
    let civil: jiff::civil::DateTime = text.parse().ok().filter(|_| text.len() > 10)?;
    let at = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp::from_micros(at.timestamp().as_microsecond()))
}

fn day(text: &str) -> Option<jiff::civil::Date> {
    let text = text.trim();
    if let Ok(date) = text.parse() {
        return Some(date);
    }
    let mut parts = text.split(['/', '.', '-']).map(|part| part.parse::<i16>().ok());
    let (Some(Some(day)), Some(Some(month)), Some(Some(year)), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    jiff::civil::Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

fn midnight(date: jiff::civil::Date) -> Option<Timestamp> {
    let at = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp::from_micros(at.timestamp().as_microsecond()))
}

/// What a source's word for a type means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// One of the kinds by its name in the protocol.
    Kind(&'static str),
    /// The value's shape tells.
    Shape,
    /// Several values joined with `|`, such as a file name and its hash.
    Several,
    /// A name of files, processes, registry keys or the like, which no gateway sees.
    NotLookedFor,
}

/// Reads a type as MISP, STIX exports, OTX, abuse.ch and Italian tables name it.
pub fn meaning(word: &str) -> Meaning {
    let word: String =
        word.trim().to_lowercase().chars().filter(|c| c.is_alphanumeric() || *c == '|').collect();
    if word.contains('|') {
        return Meaning::Several;
    }
    Meaning::Kind(match word.as_str() {
        "ip" | "ipv4" | "ipv6" | "ipaddress" | "ipdst" | "ipsrc" | "ipv4addr" | "ipv6addr" | "address"
        | "indirizzoip" | "indirizzo" | "cidr" | "network" | "subnet" | "rete" | "ipport" | "ipaddr"
        | "hostname" | "host" | "domain" | "dominio" | "domini" | "fqdn" | "domainname" | "nomehost"
        | "c2" | "hash" | "file" | "indicator" | "ioc" | "dns" => return Meaning::Shape,
        "url" | "uri" | "link" | "urldownload" => "url",
        "email"
        | "mail"
        | "emailsrc"
        | "emaildst"
        | "emailsender"
        | "emailaddress"
        | "emailaddr"
        | "emailreplyto"
        | "mittente"
        | "whoisregistrantemail"
        | "indirizzoemail" => "email",
        "md5" | "filehashmd5" | "md5hash" | "hashmd5" => "md5",
        "sha1" | "filehashsha1" | "sha1hash" | "hashsha1" | "x509fingerprintsha1" => "sha1",
        "sha256" | "filehashsha256" | "sha256hash" | "hashsha256" | "x509fingerprintsha256" => "sha256",
        "useragent" | "httpuseragent" => "user_agent",
        "ja3" | "ja3fingerprintmd5" | "ja3hash" => "ja3",
        "ja4" | "ja4fingerprint" => "ja4",
        "wildcard" => "wildcard",
        "urlprefix" => "url_prefix",
        "useragentpart" => "user_agent_part",
        "emaildomain" | "dominioemail" => "email_domain",
        "" => return Meaning::Shape,
        _ => return Meaning::NotLookedFor,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markings_are_read_in_old_and_new_words() {
        for (text, expected) in [
            ("TLP:AMBER+STRICT", Some(Tlp::AmberStrict)),
            ("TLP:WHITE", Some(Tlp::Clear)),
            ("tlp red", Some(Tlp::Red)),
            ("green", Some(Tlp::Green)),
            ("whatever", None),
        ] {
            assert_eq!(tlp(text), expected, "{text}");
        }
    }

    #[test]
    fn severities_are_read_in_both_languages() {
        assert_eq!(severity("Alta"), Some(Severity::High));
        assert_eq!(severity("CRITICAL"), Some(Severity::Critical));
        assert_eq!(severity("7"), None);
    }

    #[test]
    fn a_day_counts_whole() {
        for (text, expected) in [
            ("2026-12-31", Some("2027-01-01T00:00:00.000000Z")),
            ("31/12/2026", Some("2027-01-01T00:00:00.000000Z")),
            ("2026-12-31T10:00:00+01:00", Some("2026-12-31T09:00:00.000000Z")),
            ("2026-12-31 10:00:00", Some("2026-12-31T10:00:00.000000Z")),
            ("32/13/2026", None),
            ("None", None),
        ] {
            assert_eq!(until(text).map(|at| at.to_string()).as_deref(), expected, "{text}");
        }
        assert_eq!(from("31/12/2026").unwrap().to_string(), "2026-12-31T00:00:00.000000Z");
    }

    #[test]
    fn types_of_other_tools_are_understood() {
        for (word, expected) in [
            ("IPv4", Meaning::Shape),
            ("ip-dst", Meaning::Shape),
            ("FileHash-SHA256", Meaning::Kind("sha256")),
            ("email-sender", Meaning::Kind("email")),
            ("filename|md5", Meaning::Several),
            ("mutex", Meaning::NotLookedFor),
        ] {
            assert_eq!(meaning(word), expected, "{word}");
        }
    }
}
