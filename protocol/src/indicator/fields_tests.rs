//! Lines are read as the derived forms of serde read them: the same is accepted, the same refused.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

/// What is read, derived field by field: [`super::Fields`] must agree with it.
mod derived {
    use std::net::{IpAddr, SocketAddr};

    use ipnet::IpNet;
    use serde::Deserialize;

    use crate::domain::Domain;
    use crate::indicator::{Action, Severity, Tlp, confidence_default};
    use crate::observable::Observable;
    use crate::pattern::{UrlPrefix, UserAgentPart, Wildcard};
    use crate::text::display;
    use crate::time::Timestamp;

    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    pub(super) enum LookFor {
        Observable(Observable),
        Addresses(Addresses),
        Pattern(Pattern),
    }

    #[derive(Debug, Deserialize)]
    #[serde(tag = "kind", content = "value", rename_all = "snake_case")]
    pub(super) enum Addresses {
        Network(#[serde(with = "display")] IpNet),
        IpPort(#[serde(with = "display")] SocketAddr),
    }

    #[derive(Debug, Deserialize)]
    #[serde(tag = "kind", content = "value", rename_all = "snake_case")]
    pub(super) enum Pattern {
        Wildcard(Wildcard),
        UrlPrefix(UrlPrefix),
        UserAgentPart(UserAgentPart),
        EmailDomain(Domain),
    }

    #[derive(Debug, Deserialize)]
    pub(super) struct Indicator {
        #[serde(flatten)]
        pub look_for: LookFor,
        pub id: String,
        #[serde(default)]
        pub action: Action,
        #[serde(default)]
        pub threat: String,
        #[serde(default)]
        pub severity: Severity,
        #[serde(default = "confidence_default")]
        pub confidence: u8,
        #[serde(default)]
        pub tlp: Tlp,
        #[serde(default)]
        pub valid_from: Option<Timestamp>,
        #[serde(default)]
        pub valid_until: Option<Timestamp>,
        #[serde(default)]
        pub alert: String,
        #[serde(default)]
        pub source: String,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "revoke", content = "value", rename_all = "snake_case")]
    pub(super) enum Revocation {
        Alert(String),
        Indicator(String),
    }

    impl LookFor {
        pub(super) fn normal(self) -> crate::LookFor {
            use crate::indicator::{self, normal_endpoint, normal_network};
            match self {
                Self::Observable(Observable::Ip(address)) => {
                    crate::LookFor::Observable(Observable::Ip(IpAddr::to_canonical(&address)))
                }
                Self::Observable(observable) => crate::LookFor::Observable(observable),
                Self::Addresses(Addresses::Network(network)) => {
                    crate::LookFor::Addresses(indicator::Addresses::Network(normal_network(network)))
                }
                Self::Addresses(Addresses::IpPort(endpoint)) => {
                    crate::LookFor::Addresses(indicator::Addresses::IpPort(normal_endpoint(endpoint)))
                }
                Self::Pattern(pattern) => crate::LookFor::Pattern(match pattern {
                    Pattern::Wildcard(wildcard) => indicator::Pattern::Wildcard(wildcard),
                    Pattern::UrlPrefix(prefix) => indicator::Pattern::UrlPrefix(prefix),
                    Pattern::UserAgentPart(part) => indicator::Pattern::UserAgentPart(part),
                    Pattern::EmailDomain(domain) => indicator::Pattern::EmailDomain(domain),
                }),
            }
        }
    }
}

fn as_derived(line: &[u8]) -> Option<Indicator> {
    let read: derived::Indicator = serde_json::from_slice(line).ok()?;
    Some(Indicator {
        look_for: read.look_for.normal(),
        id: read.id,
        action: read.action,
        threat: read.threat,
        severity: read.severity,
        confidence: read.confidence,
        tlp: read.tlp,
        valid_from: read.valid_from,
        valid_until: read.valid_until,
        alert: read.alert,
        source: read.source,
    })
}

fn check(line: &str) {
    assert_eq!(serde_json::from_str(line).ok(), as_derived(line.as_bytes()), "{line}");
}

/// Values that fields of lines have, good ones and others.
fn value() -> impl Strategy<Value = Value> {
    let texts = [
        "203.0.113.5",
        "::ffff:203.0.113.5",
        " 203.0.113.5",
        "203.0.113.7/24",
        "[2001:db8::5]:443",
        "Evil.Example.",
        "http://evil.example/\\u00e0\\\"",
        "d41d8cd98f00b204e9800998ecf8427e",
        "t13d1516h2_8daaf6152771_e5627efa2ab1",
        "curl/8 \u{e0}\t",
        "a@evil.example",
        "login-*.evil.example",
        "evil.example/kit",
        "HIGH",
        "allow",
        "amber+strict",
        "2026-11-22T10:00:00Z",
        "",
    ];
    prop_oneof![
        8 => proptest::sample::select(texts.to_vec()).prop_map(Value::from),
        1 => any::<String>().prop_map(Value::from),
        1 => any::<u8>().prop_map(Value::from),
        1 => proptest::sample::select(vec![
            Value::Null, json!(true), json!(300), json!(-1), json!(0.5), json!([]), json!({"a": "b"}), json!(["x"])
        ]),
    ]
}

fn line() -> impl Strategy<Value = Map<String, Value>> {
    let names = [
        "action",
        "threat",
        "severity",
        "confidence",
        "tlp",
        "valid_from",
        "valid_until",
        "alert",
        "source",
        "other",
        "id",
        "value",
        "kind",
    ];
    let kinds = LookFor::KINDS.into_iter().chain(["ja9", "IP", ""]).map(Value::from).collect::<Vec<_>>();
    let more = proptest::collection::vec((proptest::sample::select(names.to_vec()), value()), 0..4);
    (proptest::sample::select(kinds), value(), more).prop_map(|(kind, value, more)| {
        let mut line = Map::new();
        line.insert("kind".into(), kind);
        line.insert("value".into(), value);
        line.insert("id".into(), "indicator--1".into());
        line.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        line
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_line_is_read_as_the_derived_form_reads_it(line in line(), order in any::<bool>()) {
        let mut fields: Vec<String> = line.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        if order {
            fields.reverse();
        }
        let text = format!("{{{}}}", fields.join(","));
        // A tag may be given by its number in derived forms, which nobody writes.
        prop_assume!(!matches!(line.get("kind"), Some(Value::Number(_))));
        let read: Option<Indicator> = serde_json::from_str(&text).ok();
        prop_assert_eq!(&read, &as_derived(text.as_bytes()), "{}", text);
        if let Some(read) = read {
            let again = serde_json::to_string(&read).unwrap();
            prop_assert_eq!(serde_json::from_str::<Indicator>(&again).unwrap(), read);
        }
    }

    #[test]
    fn any_bytes_are_a_line_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in any::<String>()) {
        let _ = Line::read(&bytes);
        let _ = Indicator::from_list_line(&String::from_utf8_lossy(&bytes));
        let _ = Indicator::from_list_line(&text);
        let _ = LookFor::guess(&text);
    }
}

#[test]
fn odd_shapes_are_read_as_the_derived_form_reads_them() {
    for line in [
        r#"{"kind":"domain","value":"evil.example","id":"1"}"#,
        r#"{"kind":"domain","kind":"domain","value":"evil.example","id":"1"}"#,
        r#"{"kind":"domain","value":"evil.example","value":"evil.example","id":"1"}"#,
        r#"{"kind":"domain","value":"evil.example","id":"1","id":"1"}"#,
        r#"{"kind":"domain","value":"evil.example","id":"1","x":1,"x":{"kind":"ip"}}"#,
        r#"{"\u006bind":"dom\u0061in","value":"evil\u002eexample","id":"\u0031"}"#,
        r#"{"kind":"domain","value":"evil.example","id":"1"} x"#,
        r#"{"kind":"domain","value":"evil.example"}"#,
        r#"{"kind":"domain","id":"1"}"#,
        r#"["domain","evil.example"]"#,
        r#""domain""#,
        "null",
        "",
    ] {
        check(line);
    }
}

#[test]
fn a_revocation_has_names_for_its_fields() {
    assert!(serde_json::from_str::<Line>(r#"["alert","x"]"#).is_err());
}

#[test]
fn a_revocation_is_read_as_the_derived_form_reads_it() {
    for line in [
        r#"{"revoke":"alert","value":"COSC-ESEMPIO-2026-0012"}"#,
        r#"{"value":"indicator--1","revoke":"indicator","why":"false"}"#,
        r#"{"revoke":"alert"}"#,
        r#"{"revoke":"alert","value":1}"#,
        r#"{"revoke":"town","value":"x"}"#,
    ] {
        let read = serde_json::from_str(line).ok().map(|line: Line| match line {
            Line::Revocation(Revocation::Alert(alert)) => derived::Revocation::Alert(alert),
            Line::Revocation(Revocation::Indicator(id)) => derived::Revocation::Indicator(id),
            Line::Indicator(indicator) => panic!("{indicator:?}"),
        });
        assert_eq!(read, serde_json::from_str(line).ok(), "{line}");
    }
}

#[test]
fn what_a_newer_desk_revokes_or_looks_for_is_passed_over() {
    for (line, is_passed) in [
        (r#"{"revoke":"town","value":{"x":1}}"#, true),
        (r#"{"kind":"ja9","value":["x"]}"#, true),
        (r#"{"kind":"url_prefix","value":"evil.example"}"#, false),
        (r#"{"revoke":"alert"}"#, false),
        (r#"{"id":"1"}"#, false),
    ] {
        assert_eq!(matches!(Line::read(line.as_bytes()), Ok(None)), is_passed, "{line}");
    }
}

#[test]
fn what_is_not_utf_8_is_refused_wherever_it_stands() {
    for line in [
        &b"{\"kind\":\"domain\",\"value\":\"evil.example\",\"id\":\"\xff\"}"[..],
        b"{\"kind\":\"domain\",\"value\":\"evil.example\",\"id\":\"1\",\"other\":\"\xff\"}",
        b"{\"kind\":\"ja9\",\"value\":\"\xff\"}",
    ] {
        assert!(Line::read(line).is_err());
    }
}

#[test]
fn an_indicator_in_cbor_is_the_same() {
    let url = format!("http://evil.example/{}", "a".repeat(4000));
    for value in ["evil.example", "login-*.evil.example", "203.0.113.0/24", &url] {
        let indicator = Indicator::plain(LookFor::guess(value).unwrap());
        let mut cbor = Vec::new();
        ciborium::into_writer(&indicator, &mut cbor).unwrap();
        assert_eq!(ciborium::from_reader::<Indicator, _>(cbor.as_slice()).unwrap(), indicator);
    }
}
