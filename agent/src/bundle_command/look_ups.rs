//! What a sensor would look up when it meets a value that a person typed: a URL is looked up as itself and by its
//! host, 32 hexadecimal digits as a file's hash and as a TLS client's.

use std::net::SocketAddr;

use ipnet::IpNet;
use protocol::defang::refang;
use protocol::index::{IndexError, Judged, Layers, Value};
use protocol::observable::{NotObservable, UserAgent};
use protocol::url::Host;
use protocol::{Domain, Kind, Observable, Timestamp, Url};

/// One look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookUp {
    /// The value in normal form.
    pub observable: Observable,
    /// The port beside an address.
    pub port: Option<u16>,
}

/// Why a text is no value that a sensor meets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAValue {
    /// A network is looked for, and never seen.
    #[error("a network is never seen as such: check an address in it, such as {}", .0.addr())]
    Network(IpNet),
    /// No kind fits.
    #[error("{0}; --kind says what it is when that cannot be told from its shape")]
    Shape(NotObservable),
    /// Not of the kind that was named.
    #[error("{0}, as --kind says")]
    Kind(NotObservable),
}

impl LookUp {
    fn plain(observable: Observable) -> Self {
        Self { observable, port: None }
    }

    fn at_port(endpoint: SocketAddr) -> Self {
        Self { observable: Observable::Ip(endpoint.ip().to_canonical()), port: Some(endpoint.port()) }
    }

    /// Everything that is known about the value at a time.
    ///
    /// # Errors
    /// When the index is damaged or cannot be read.
    pub fn judge(&self, layers: &Layers, at: Timestamp) -> Result<Vec<Judged>, IndexError> {
        Value::with(&self.observable, self.port, |value| layers.judge(value, at))
    }
}

/// The look-ups of a text, defanged or not, whose kind is told by its shape.
///
/// # Errors
/// When no sensor meets such a value.
pub fn of_text(text: &str) -> Result<Vec<LookUp>, NotAValue> {
    let meant = refang(text);
    if let Ok(network) = meant.parse::<IpNet>() {
        if network.prefix_len() != network.max_prefix_len() {
            return Err(NotAValue::Network(network));
        }
        return Ok(vec![LookUp::plain(Observable::Ip(network.addr().to_canonical()))]);
    }
    if let Ok(endpoint) = meant.parse() {
        return Ok(vec![LookUp::at_port(endpoint)]);
    }
    match Observable::guess(meant.strip_prefix("*.").unwrap_or(&meant)) {
        Ok(observable) => Ok(with_siblings(observable)),
        Err(error) => bare(&meant).or_else(|| user_agent(text)).ok_or(NotAValue::Shape(error)),
    }
}

/// The look-ups of a text whose kind is named.
///
/// # Errors
/// When it is not of that kind.
pub fn of_kind(kind: Kind, text: &str) -> Result<Vec<LookUp>, NotAValue> {
    let meant = refang(text);
    match (kind, meant.parse()) {
        (Kind::Ip, Ok(endpoint)) => Ok(vec![LookUp::at_port(endpoint)]),
        (Kind::Url, _) => Observable::parse(kind, &meant).map(with_siblings).map_err(NotAValue::Kind),
        // A user agent is compared as it was sent.
        (Kind::UserAgent, _) => one(kind, text),
        _ => one(kind, &meant),
    }
}

fn one(kind: Kind, text: &str) -> Result<Vec<LookUp>, NotAValue> {
    Observable::parse(kind, text).map(|it| vec![LookUp::plain(it)]).map_err(NotAValue::Kind)
}

/// What is looked up besides the value itself.
fn with_siblings(observable: Observable) -> Vec<LookUp> {
    let sibling = match &observable {
        Observable::Url(url) => host(url),
        Observable::Md5(digest) => Some(LookUp::plain(Observable::Ja3(*digest))),
        _ => None,
    };
    std::iter::once(LookUp::plain(observable)).chain(sibling).collect()
}

fn host(url: &Url) -> Option<LookUp> {
    match url.host()? {
        Host::Domain(domain) => Some(LookUp::plain(Observable::Domain(domain))),
        Host::Ip(address) => Some(LookUp { observable: Observable::Ip(address), port: port(url) }),
    }
}

/// The port that a URL leads to; `None` for a scheme whose own port is not known.
fn port(url: &Url) -> Option<u16> {
    let (scheme, rest) = url.as_str().split_once("://")?;
    let rest = rest.strip_prefix(url.host_str())?;
    let digits = rest.strip_prefix(':').map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match (digits, scheme) {
        (Some(digits), _) => digits.parse().ok(),
        (None, "http" | "ws") => Some(80),
        (None, "https" | "wss") => Some(443),
        (None, "ftp") => Some(21),
        (None, _) => None,
    }
}

/// A name with a port, or a URL without its scheme, as people copy them from reports.
fn bare(text: &str) -> Option<Vec<LookUp>> {
    let end = text.find(['/', '?', ':'])?;
    let (name, rest) = text.split_at_checked(end)?;
    let domain = Domain::parse(name).ok().filter(|domain| domain.as_str().contains('.'));
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    let is_length = rest.strip_prefix('/').is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    // An address with a number after a slash was meant as a network.
    if domain.is_none() && (!is_address || is_length) {
        return None;
    }
    if let Some(port) = rest.strip_prefix(':').filter(|port| !port.contains(['/', '?'])) {
        port.parse::<u16>().ok()?;
        return domain.map(|domain| vec![LookUp::plain(Observable::Domain(domain))]);
    }
    let urls = ["http", "https"].map(|scheme| Url::parse(&format!("{scheme}://{text}")).ok());
    let mut urls = urls.into_iter().flatten().peekable();
    let host = urls.peek().and_then(host);
    let urls: Vec<LookUp> = urls.map(|url| LookUp::plain(Observable::Url(url))).collect();
    (!urls.is_empty()).then(|| urls.into_iter().chain(host).collect())
}

/// A text that looks like a product and its version, such as `curl/8.9.1`.
fn user_agent(text: &str) -> Option<Vec<LookUp>> {
    let agent: UserAgent = text.parse().ok()?;
    let is_one = agent.as_str().contains(['/', ' ']) && agent.as_str().starts_with(char::is_alphabetic);
    is_one.then(|| vec![LookUp::plain(Observable::UserAgent(agent))])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(look_ups: &[LookUp]) -> Vec<String> {
        let port = |look_up: &LookUp| look_up.port.map(|port| format!(" port {port}")).unwrap_or_default();
        let text = |it: &LookUp| format!("{} {}{}", it.observable.kind().as_str(), it.observable, port(it));
        look_ups.iter().map(text).collect()
    }

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(written(&of_text(text).unwrap()), expected, "{text:?}");
    }

    #[test]
    fn a_value_is_looked_up_as_a_sensor_would() {
        check("Evil[.]Example.", &["domain evil.example"]);
        check("*.evil.example", &["domain evil.example"]);
        check("203.0.113[.]7", &["ip 203.0.113.7"]);
        check("::ffff:203.0.113.7", &["ip 203.0.113.7"]);
        check("203.0.113.7/32", &["ip 203.0.113.7"]);
        check("fe80::1%eth0", &["ip fe80::1"]);
        check("203.0.113.7:8443", &["ip 203.0.113.7 port 8443"]);
        check("[2001:db8::7]:443", &["ip 2001:db8::7 port 443"]);
        check("Mallory[@]evil.example", &["email mallory@evil.example"]);
        check("evil.example:8443", &["domain evil.example"]);
        check(&"a".repeat(40), &[&format!("sha1 {}", "a".repeat(40))]);
    }

    #[test]
    fn a_url_is_looked_up_as_itself_and_by_its_host() {
        check("hxxps://evil[.]example/kit/", &["url https://evil.example/kit/", "domain evil.example"]);
        check("http://203.0.113.7/a:9", &["url http://203.0.113.7/a:9", "ip 203.0.113.7 port 80"]);
        check(
            "https://[2001:db8::7]:8443/a",
            &["url https://[2001:db8::7]:8443/a", "ip 2001:db8::7 port 8443"],
        );
        check(
            "evil[.]example/kit?a",
            &["url http://evil.example/kit?a", "url https://evil.example/kit?a", "domain evil.example"],
        );
        check(
            "203.0.113.7:8080/a",
            &["url http://203.0.113.7:8080/a", "url https://203.0.113.7:8080/a", "ip 203.0.113.7 port 8080"],
        );
    }

    #[test]
    fn what_has_two_readings_is_looked_up_twice() {
        let digits = "0123456789abcdef0123456789abcdef";
        check(digits, &[&format!("md5 {digits}"), &format!("ja3 {digits}")]);
    }

    #[test]
    fn a_user_agent_is_told_by_its_shape_and_kept_as_it_is() {
        check("curl/8.9.1", &["user_agent curl/8.9.1"]);
        let crawler = "Mozilla/5.0 (compatible; Bot/2.1; +http://bot.example/)";
        check(crawler, &[&format!("user_agent {crawler}")]);
        let named = of_kind(Kind::UserAgent, "Evil(dot)Agent").unwrap();
        assert_eq!(written(&named), ["user_agent Evil(dot)Agent"]);
    }

    #[test]
    fn a_kind_that_is_named_is_not_guessed() {
        let digits = "0123456789abcdef0123456789abcdef";
        let look_ups = of_kind(Kind::Ja3, digits).unwrap();
        assert_eq!(written(&look_ups), [format!("ja3 {digits}")]);
        assert_eq!(written(&of_kind(Kind::Ip, "203.0.113[.]7:80").unwrap()), ["ip 203.0.113.7 port 80"]);
        assert_eq!(of_kind(Kind::Url, "hxxp://evil.example/a").unwrap().len(), 2);
        assert!(matches!(of_kind(Kind::Ip, "evil.example"), Err(NotAValue::Kind(_))));
    }

    #[test]
    fn what_no_sensor_meets_is_said() {
        let said = of_text("203.0.113.0/24").unwrap_err().to_string();
        assert!(said.contains("such as 203.0.113.0"), "{said}");
        for text in ["", "evil", "evil.example:99999", "::gg", "203.0.113.0/33", "/a/b", "a\nb c"] {
            assert!(of_text(text).is_err(), "{text:?}");
        }
        assert!(of_text("evil").unwrap_err().to_string().contains("--kind"));
    }
}
