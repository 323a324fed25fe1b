//! Reads STIX 2.1 bundles: comparisons by `=`, `IN`, `ISSUBSET` and the simple forms of `LIKE`, joined with OR; every
//! other pattern is told, not guessed.

use std::collections::HashMap;

use protocol::{LookFor, Tlp};
use serde_json::Value;

use super::{Found, Imported, Place, Said, TooMany, said, table};

/// The objects of a document that is a STIX bundle.
pub fn objects(document: &Value) -> Option<&Vec<Value>> {
    (document.get("type")?.as_str()? == "bundle").then(|| document.get("objects")?.as_array())?
}

/// Reads all indicators.
///
/// # Errors
/// When there are too many values.
pub fn read(objects: &[Value], place: &Place, into: &mut Imported) -> Result<(), TooMany> {
    let markings = markings(objects);
    for object in objects {
        let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("type") != "indicator" {
            continue;
        }
        let pattern = text("pattern").to_owned();
        if object.get("revoked").and_then(Value::as_bool) == Some(true) {
            into.reject(pattern, None, "revoked by its source", place)?;
            continue;
        }
        let confidence = object.get("confidence").and_then(Value::as_u64);
        let said = Said {
            threat: text("name").to_owned(),
            tlp: marking(object, &markings),
            confidence: confidence.and_then(|value| u8::try_from(value).ok()).filter(|value| *value <= 100),
            valid_from: said::from(text("valid_from")),
            valid_until: said::until(text("valid_until")),
            ..Said::default()
        };
        match comparisons(&pattern) {
            Ok(found) => {
                for (kind, value) in found {
                    table::read_typed((kind, Found::Named), &value, place, &said, into)?;
                }
            }
            Err(reason) => into.reject(pattern, None, reason, place)?,
        }
    }
    Ok(())
}

/// The bundle's markings by identifier: TLP 1 has a `definition.tlp`, TLP 2 an extension; both name the colour.
fn markings(objects: &[Value]) -> HashMap<&str, Tlp> {
    let marking = |object: &'_ Value| {
        let name = object.pointer("/definition/tlp").or_else(|| object.get("name"))?;
        said::tlp(name.as_str()?)
    };
    let definitions =
        objects.iter().filter(|it| it.get("type").is_some_and(|kind| kind == "marking-definition"));
    definitions.filter_map(|it| Some((it.get("id")?.as_str()?, marking(it)?))).collect()
}

/// The strictest of an object's markings.
fn marking(object: &Value, markings: &HashMap<&str, Tlp>) -> Option<Tlp> {
    let references = object.get("object_marking_refs")?.as_array()?;
    references.iter().filter_map(|reference| markings.get(reference.as_str()?).copied()).max()
}

type Comparisons = Vec<(&'static str, String)>;

/// The values of a pattern such as `[ipv4-addr:value = '203.0.113.5' OR domain-name:value IN ('a', 'b')]`.
fn comparisons(pattern: &str) -> Result<Comparisons, &'static str> {
    let tokens = tokens(pattern).ok_or("a STIX pattern that cannot be read")?;
    let mut found = Vec::new();
    let mut rest = tokens.iter().map(Token::as_word).peekable();
    let mut texts = tokens.iter();
    let mut path = None;
    let mut comparison = "";
    while let (Some(word), Some(token)) = (rest.next(), texts.next()) {
        match (token, word) {
            (Token::Text(value), _) => {
                let kind = path.ok_or("a STIX pattern that cannot be read")?;
                found.push(match comparison {
                    "LIKE" => alike(kind, value).ok_or(
                        "a STIX comparison by LIKE that is not looked for: it must fix the end of a name, host and \
                         folder of a URL, or a part of a user agent",
                    )?,
                    "=" | "IN" => (kind, value.clone()),
                    "ISSUBSET" if kind == "ip" => (kind, value.clone()),
                    _ => return Err("a STIX pattern that cannot be read"),
                });
            }
            (_, "[" | "(" | ")" | ",") => {}
            (_, "]" | "OR") => comparison = "",
            (_, "=" | "IN" | "LIKE" | "ISSUBSET") => comparison = word,
            (_, "AND" | "FOLLOWEDBY" | "NOT" | "!=") => {
                return Err("a STIX pattern whose parts only count together, which is not looked for");
            }
            (_, "MATCHES" | "ISSUPERSET" | "EXISTS" | ">" | "<" | ">=" | "<=") => {
                return Err("a STIX pattern with a comparison that is not looked for");
            }
            (_, "START" | "STOP" | "WITHIN" | "REPEATS" | "SECONDS" | "TIMES") => {
                return Err("a STIX pattern with a time window, which is not looked for");
            }
            (_, name) => {
                path = Some(kind_of(name).ok_or("a STIX pattern about something that no gateway sees")?)
            }
        }
    }
    if found.is_empty() { Err("a STIX pattern without values") } else { Ok(found) }
}

/// What `LIKE` means where this desk can say the same. `_`, which stands for any character, is taken as itself: authors
/// seldom mean it, and the pattern then covers less and never more.
fn alike(kind: &'static str, pattern: &str) -> Option<(&'static str, String)> {
    if !pattern.contains('%') {
        return Some((kind, pattern.to_owned()));
    }
    match kind {
        "ip" => {
            let wildcard = pattern.replace('%', "*");
            LookFor::parse("wildcard", &wildcard).is_ok().then_some(("wildcard", wildcard))
        }
        "url" => {
            let folder = pattern.strip_suffix("/%")?;
            let (scheme, place) = folder.split_once("://")?;
            let any_scheme = ["http", "https", "http%", "%"].contains(&scheme);
            let fixed = any_scheme && !place.contains('%') && LookFor::parse("url_prefix", place).is_ok();
            fixed.then(|| ("url_prefix", place.to_owned()))
        }
        "email" => {
            let domain = pattern.strip_prefix("%@").filter(|domain| !domain.contains('%'))?;
            Some(("email_domain", domain.to_owned()))
        }
        "user-agent" => {
            let part = pattern.trim_matches('%');
            (!part.contains('%')).then(|| ("user_agent_part", part.to_owned()))
        }
        _ => None,
    }
}

fn kind_of(path: &str) -> Option<&'static str> {
    Some(match path.replace(['\'', '"'], "").as_str() {
        "ipv4-addr:value" | "ipv6-addr:value" | "domain-name:value" => "ip",
        "url:value" => "url",
        "email-addr:value" | "email-message:from_ref.value" | "email-message:sender_ref.value" => "email",
        "file:hashes.MD5" | "artifact:hashes.MD5" => "md5",
        "file:hashes.SHA-1" | "file:hashes.SHA1" | "x509-certificate:hashes.SHA-1" => "sha1",
        "file:hashes.SHA-256"
        | "file:hashes.SHA256"
        | "artifact:hashes.SHA-256"
        | "x509-certificate:hashes.SHA-256" => "sha256",
        "network-traffic:dst_ref.value" | "network-traffic:src_ref.value" => "ip",
        "network-traffic:extensions.http-request-ext.request_header.User-Agent" => "user-agent",
        _ => return None,
    })
}

#[derive(Debug)]
enum Token {
    Text(String),
    Word(String),
}

impl Token {
    fn as_word(&self) -> &str {
        match self {
            Self::Text(_) => "",
            Self::Word(word) => word,
        }
    }
}

fn tokens(pattern: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let mut text = String::new();
                loop {
                    match chars.next()? {
                        '\\' => text.push(chars.next()?),
                        '\'' => break,
                        other => text.push(other),
                    }
                }
                tokens.push(Token::Text(text));
            }
            '[' | ']' | '(' | ')' | ',' => tokens.push(Token::Word(c.to_string())),
            c if c.is_whitespace() => {}
            c => {
                let mut word = c.to_string();
                let operator = matches!(c, '=' | '!' | '<' | '>');
                // A quote inside a path belongs to it: file:hashes.'SHA-256'.
                while let Some(next) = chars.next_if(|next| {
                    let ends = next.is_whitespace() || matches!(next, '[' | ']' | '(' | ')' | ',');
                    !ends && matches!(next, '=' | '!' | '<' | '>') == operator && (*next != '\'' || !operator)
                }) {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, expected: Result<&[&str], &str>) {
        let found = comparisons(pattern).map(|found| {
            found.into_iter().map(|(kind, value)| format!("{kind} {value}")).collect::<Vec<_>>()
        });
        match expected {
            Ok(values) => assert_eq!(found.unwrap(), values, "{pattern}"),
            Err(words) => assert!(found.unwrap_err().contains(words), "{pattern}"),
        }
    }

    #[test]
    fn single_values_and_lists_are_read() {
        check("[ipv4-addr:value = '203.0.113.5']", Ok(&["ip 203.0.113.5"]));
        check("[file:hashes.'SHA-256' = 'ab']", Ok(&["sha256 ab"]));
        check("[file:hashes.\"SHA-256\"='ab']", Ok(&["sha256 ab"]));
        check(
            "[domain-name:value IN ('a.example', 'b.example') OR url:value = 'http://c.example/']",
            Ok(&["ip a.example", "ip b.example", "url http://c.example/"]),
        );
        check(
            "[url:value = 'http://a.example/\\'x'] OR [ipv4-addr:value = '203.0.113.5']",
            Ok(&["url http://a.example/'x", "ip 203.0.113.5"]),
        );
    }

    #[test]
    fn what_looks_alike_is_read_where_it_is_fixed() {
        check("[domain-name:value LIKE 'login-%.evil.example']", Ok(&["wildcard login-*.evil.example"]));
        check("[domain-name:value LIKE '%.evil.example']", Ok(&["wildcard *.evil.example"]));
        check("[domain-name:value LIKE 'evil.example']", Ok(&["ip evil.example"]));
        check("[url:value LIKE 'http://evil.example/kit/%']", Ok(&["url_prefix evil.example/kit"]));
        check("[url:value LIKE '%://evil.example:8080/a/b/%']", Ok(&["url_prefix evil.example:8080/a/b"]));
        check("[email-addr:value LIKE '%@evil.example']", Ok(&["email_domain evil.example"]));
        let agent = "network-traffic:extensions.'http-request-ext'.request_header.'User-Agent'";
        check(&format!("[{agent} LIKE '%ExampleBot%']"), Ok(&["user_agent_part ExampleBot"]));
        check("[ipv4-addr:value ISSUBSET '203.0.113.0/24']", Ok(&["ip 203.0.113.0/24"]));
        for open in [
            "domain-name:value LIKE '%evil.example'",
            "domain-name:value LIKE 'evil.%'",
            "ipv4-addr:value LIKE '203.0.113.%'",
            "url:value LIKE '%evil.example/kit/%'",
            "url:value LIKE 'http://evil.example/kit%'",
            "url:value LIKE 'http://evil.example/%'",
            "url:value LIKE 'http://%.example/kit/%'",
            "email-addr:value LIKE 'a%@evil.example'",
            "file:hashes.MD5 LIKE 'ab%'",
        ] {
            check(&format!("[{open}]"), Err("comparison by LIKE"));
        }
    }

    #[test]
    fn what_cannot_be_matched_one_by_one_is_told() {
        check("[ipv4-addr:value = '203.0.113.5' AND url:value = 'http://a.example/']", Err("together"));
        check("[url:value LIKE 'http://%']", Err("comparison"));
        check("[domain-name:value MATCHES '^a']", Err("comparison"));
        check("[url:value ISSUBSET 'http://a.example/']", Err("cannot be read"));
        check("[url:value 'http://a.example/']", Err("cannot be read"));
        check("[process:name = 'x.exe']", Err("no gateway"));
        check("[ipv4-addr:value = '203.0", Err("cannot be read"));
        check("[]", Err("without values"));
    }
}
