//! Targets of texts: log lines, lines of indicator lists, and the normal forms that everything is compared in.

use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::sync::Arc;

use detect::{Detector, DetectorConfig, Matcher};
use protocol::enrolment::EnrolmentCode;
use protocol::observable::{Email, UserAgent};
use protocol::{
    Action, Domain, HitId, Indicator, Kind, LookFor, Observable, Serial, Timestamp, Url, defang, hit,
};

use super::watch::Watch;

/// A log.
pub fn lines(bytes: &[u8]) {
    let mut watch = Watch::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        watch.line(line);
    }
    watch.finish();
}

/// A list of indicators. Each that is one is read back as itself, and a matcher takes all of them.
pub fn list_lines(bytes: &[u8]) {
    let mut indicators = Vec::new();
    for line in String::from_utf8_lossy(bytes).lines() {
        let Some(Ok(indicator)) = Indicator::from_list_line(line) else { continue };
        let json = serde_json::to_string(&indicator).unwrap_or_default();
        let again = Indicator::from_list_line(&json);
        assert_eq!(again, Some(Ok(indicator.clone())), "{line:?}");
        indicators.push(indicator);
    }
    let count = indicators.iter().filter(|indicator| indicator.action == Action::Detect).count();
    let matcher = Arc::new(Matcher::build(Serial(1), indicators).unwrap());
    assert_eq!(matcher.len(), count as u64);
    drop(Detector::new(&DetectorConfig::default(), "fuzz", matcher));
}

/// A text, or a name as wire formats carry it, has one normal form, which is its own.
pub fn normal_forms(bytes: &[u8]) {
    if let Ok(domain) = Domain::from_wire(bytes) {
        assert_eq!(domain.as_str().parse::<Domain>().as_ref(), Ok(&domain), "{bytes:?}");
    }
    assert!(hit::evidence(bytes).len() <= hit::EVIDENCE_BYTES_MAX);
    let text = String::from_utf8_lossy(bytes);
    own_form::<Domain>(&text);
    own_form::<Url>(&text);
    own_form::<Email>(&text);
    own_form::<UserAgent>(&text);
    own_form::<HitId>(&text);
    own_form::<Timestamp>(&text);
    own_form::<EnrolmentCode>(&text);
    if let Ok(url) = text.parse::<Url>() {
        assert!(url.as_str().contains(url.host_str()), "{url}");
        assert!(url.as_str().len() <= protocol::url::URL_BYTES_MAX, "{url}");
        assert_eq!(
            url.match_key().parse::<Url>().map(|key| key.match_key().into_owned()),
            Ok(url.match_key().into_owned())
        );
    }
    for kind in Kind::ALL {
        if let Ok(value) = Observable::parse(kind, &text) {
            assert_eq!(value.kind(), kind);
            assert_eq!(Observable::parse(kind, &value.to_string()), Ok(value), "{kind:?} {text:?}");
        }
    }
    if let Ok(value) = LookFor::guess(&text) {
        assert_eq!(LookFor::parse(value.kind(), &value.to_string()), Ok(value), "{text:?}");
    }
    let whole = defang::refang(&text);
    assert!(whole.len() <= 2 * text.len() + 16, "{text:?}");
}

/// What is written down is read as itself.
fn own_form<T: FromStr + Display>(text: &str)
where
    T::Err: Debug,
{
    let Ok(value) = text.parse::<T>() else { return };
    let written = value.to_string();
    let again = written.parse::<T>().map(|again| again.to_string());
    assert_eq!(again.ok().as_deref(), Some(&*written), "{text:?}");
}
