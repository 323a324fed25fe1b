//! What a set of indicators means, said as simply as possible: every line is compared with every value.

use std::cmp::Reverse;
use std::net::IpAddr;

use protocol::bundle::{Line, Revocation};
use protocol::indicator::{Addresses, Pattern};
use protocol::{Action, Indicator, LookFor, Observable, Timestamp};

/// How closely an indicator fits: the larger, the closer. Bits of an address, labels of a name, segments of a URL,
/// bytes of a user agent; a value itself before every pattern, and among patterns one without stars first.
pub type Closeness = (usize, bool);

/// Larger than any pattern can come to.
const ITSELF: usize = usize::MAX;

/// What counts of a set at a time, and what does not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Closeness and identifier of what counts, the closest first, then in the order of the identifiers.
    pub counting: Vec<(Reverse<Closeness>, String)>,
    pub silenced: u32,
    pub revoked: u32,
}

/// What the lines say about a value.
pub fn expected(lines: &[Line], seen: &Observable, port: Option<u16>, at: Timestamp) -> Expected {
    let mut expected = Expected::default();
    let silencing = lines.iter().filter_map(|line| match line {
        Line::Indicator(entry) if entry.action == Action::Allow => (is_valid(entry, at)
            && !is_revoked(lines, entry))
        .then(|| closeness(&entry.look_for, seen, port))?,
        _ => None,
    });
    let silencing: Option<Closeness> = silencing.max();
    for line in lines {
        let Line::Indicator(indicator) = line else { continue };
        if indicator.action == Action::Allow || !is_valid(indicator, at) {
            continue;
        }
        let Some(closeness) = closeness(&indicator.look_for, seen, port) else { continue };
        if is_revoked(lines, indicator) {
            expected.revoked += 1;
        } else if silencing.is_some_and(|entry| entry >= closeness) {
            expected.silenced += 1;
        } else {
            expected.counting.push((Reverse(closeness), indicator.id.clone()));
        }
    }
    expected.counting.sort();
    expected
}

fn is_valid(indicator: &Indicator, at: Timestamp) -> bool {
    let begun = match indicator.valid_from {
        Some(from) => at >= from,
        None => true,
    };
    let over = match indicator.valid_until {
        Some(until) => at >= until,
        None => false,
    };
    begun && !over
}

fn is_revoked(lines: &[Line], indicator: &Indicator) -> bool {
    lines.iter().any(|line| match line {
        Line::Revocation(Revocation::Alert(alert)) => *alert == indicator.alert && !alert.is_empty(),
        Line::Revocation(Revocation::Indicator(id)) => *id == indicator.id,
        Line::Indicator(_) => false,
    })
}

/// How closely an indicator fits a value; `None` when it does not cover it.
pub fn closeness(look_for: &LookFor, seen: &Observable, port: Option<u16>) -> Option<Closeness> {
    match (look_for, seen) {
        (LookFor::Addresses(Addresses::IpPort(endpoint)), Observable::Ip(address)) => {
            let same = endpoint.ip().to_canonical() == *address && Some(endpoint.port()) == port;
            same.then_some((ITSELF, true))
        }
        (LookFor::Addresses(Addresses::Network(network)), Observable::Ip(address)) => {
            let length = usize::from(network.prefix_len());
            (bits_alike(network.addr(), *address)? >= length).then_some((length, false))
        }
        (LookFor::Observable(Observable::Ip(one)), Observable::Ip(other)) => {
            (one == other).then_some((ITSELF, false))
        }
        (LookFor::Observable(Observable::Domain(above)), Observable::Domain(_) | Observable::Email(_)) => {
            let above = above.as_str();
            is_at_or_below(name_in(seen)?, above).then(|| (above.split('.').count(), true))
        }
        (LookFor::Pattern(Pattern::Wildcard(pattern)), Observable::Domain(_) | Observable::Email(_)) => {
            let patterns: Vec<&str> = pattern.as_str().split('.').collect();
            let labels: Vec<&str> = name_in(seen)?.split('.').collect();
            let labels = labels.get(labels.len().checked_sub(patterns.len())?..)?;
            let all = labels.iter().zip(&patterns).all(|(label, pattern)| glob(pattern, label));
            all.then_some((patterns.len(), false))
        }
        (LookFor::Observable(Observable::Url(one)), Observable::Url(other)) => {
            (one.match_key() == other.match_key()).then_some((ITSELF, true))
        }
        (LookFor::Pattern(Pattern::UrlPrefix(prefix)), Observable::Url(url)) => {
            let key = url.match_key().into_owned();
            let place: String = key.chars().take_while(|c| *c != '?').collect();
            let segments: Vec<&str> = place.split('/').skip(2).collect(); // after `http:` and nothing
            let wanted: Vec<&str> = prefix.as_str().split('/').collect();
            (segments.get(..wanted.len()) == Some(&wanted[..])).then_some((wanted.len(), false))
        }
        (LookFor::Pattern(Pattern::EmailDomain(domain)), Observable::Email(_)) => {
            let domain = domain.as_str();
            is_at_or_below(name_in(seen)?, domain).then(|| (domain.split('.').count(), true))
        }
        (LookFor::Pattern(Pattern::UserAgentPart(part)), Observable::UserAgent(agent)) => {
            let agent = agent.as_str().to_ascii_lowercase();
            agent.contains(part.as_str()).then_some((part.as_str().len(), false))
        }
        (LookFor::Observable(one), other) => (one == other).then_some((ITSELF, true)),
        _ => None,
    }
}

/// The name, or that of an e-mail address.
fn name_in(seen: &Observable) -> Option<&str> {
    match seen {
        Observable::Domain(name) => Some(name.as_str()),
        Observable::Email(email) => email.as_str().rsplit_once('@').map(|(_, name)| name),
        _ => None,
    }
}

/// Whether a name is another one or ends with a dot and it.
fn is_at_or_below(name: &str, above: &str) -> bool {
    name.strip_suffix(above).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// How many bits two addresses have in common from the left; `None` when they are of two versions.
fn bits_alike(one: IpAddr, other: IpAddr) -> Option<usize> {
    let different = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => return None,
    };
    usize::try_from(different).ok()
}

/// Whether a label fits a pattern, by all beginnings of the label that each beginning of the pattern fits.
pub fn glob(pattern: &str, label: &str) -> bool {
    let mut fits = vec![false; label.len() + 1];
    fits[0] = true;
    for letter in pattern.bytes() {
        if letter == b'*' {
            let first = fits.iter().position(|fits| *fits).unwrap_or(fits.len());
            fits[first..].fill(true);
        } else {
            for at in (0..label.len()).rev() {
                fits[at + 1] = fits[at] && label.as_bytes()[at] == letter;
            }
            fits[0] = false;
        }
    }
    fits[label.len()]
}
