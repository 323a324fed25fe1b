//! Targets of patterns: each covers what a slow and obvious comparison says it covers.

use protocol::indicator::Pattern;
use protocol::observable::UserAgent;
use protocol::pattern::{UrlPrefix, UserAgentPart, Wildcard};
use protocol::{Domain, LookFor, Observable, Url};

use super::model::closeness;

/// A pattern on the first line; names, URLs and user agents on the others.
pub fn patterns(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Some((pattern, values)) = text.split_once('\n') else { return };
    let (wildcard, prefix, part) =
        (pattern.parse::<Wildcard>(), pattern.parse::<UrlPrefix>(), pattern.parse::<UserAgentPart>());
    if let Ok(wildcard) = &wildcard {
        assert_eq!(wildcard.as_str().parse().as_ref(), Ok(wildcard), "{pattern:?}");
        let ending = wildcard.fixed_ending();
        assert!(ending.contains('.') && !ending.contains('*'), "{pattern:?} ends with {ending:?}");
        assert!(wildcard.as_str().ends_with(&format!(".{ending}")), "{pattern:?} ends with {ending:?}");
    }
    if let Ok(prefix) = &prefix {
        assert_eq!(prefix.as_str().parse().as_ref(), Ok(prefix), "{pattern:?}");
    }
    for value in values.lines() {
        if let (Ok(wildcard), Ok(name)) = (&wildcard, value.parse::<Domain>()) {
            covers_name(wildcard, &name);
        }
        if let (Ok(prefix), Ok(url)) = (&prefix, Url::parse(value)) {
            let slowly = LookFor::Pattern(Pattern::UrlPrefix(prefix.clone()));
            let slowly = closeness(&slowly, &Observable::Url(url.clone()), None).is_some();
            assert_eq!(prefix.covers(&url.match_key()), slowly, "{prefix} and {url}");
        }
        if let (Ok(part), Ok(agent)) = (&part, value.parse::<UserAgent>()) {
            let slowly = LookFor::Pattern(Pattern::UserAgentPart(part.clone()));
            let slowly = closeness(&slowly, &Observable::UserAgent(agent.clone()), None).is_some();
            let covers = agent.as_str().to_ascii_lowercase().contains(part.as_str());
            assert_eq!(covers, slowly, "{part} and {agent}");
        }
    }
}

fn covers_name(wildcard: &Wildcard, name: &Domain) {
    let slowly = LookFor::Pattern(Pattern::Wildcard(wildcard.clone()));
    let slowly = closeness(&slowly, &Observable::Domain(name.clone()), None).is_some();
    assert_eq!(wildcard.covers(name.as_str()), slowly, "{wildcard} and {name}");
    if slowly {
        let ending = format!(".{}", wildcard.fixed_ending());
        assert!(name.as_str().ends_with(&ending), "{wildcard} and {name}");
    }
}
