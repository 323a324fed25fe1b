//! Reads JSON: JSON Lines as in a bundle, MISP events, STIX bundles, and any other layout by walking its strings.

use protocol::LookFor;
use protocol::bundle::Line;
use serde_json::{Map, Value};

use super::{Found, Imported, Place, Said, TooMany, misp, said, stix, table, text};

/// Keys below which nothing is an indicator.
const REMARKS: [&str; 12] = [
    "description",
    "reference",
    "references",
    "external_references",
    "link",
    "comment",
    "comments",
    "note",
    "notes",
    "author",
    "version",
    "license",
];

/// Reads a whole document.
///
/// # Errors
/// When there are too many values.
pub fn read_document(document: &Value, file: &str, into: &mut Imported) -> Result<(), TooMany> {
    let place = Place { file: file.to_owned(), line: 0 };
    read_value(document, &place, into)
}

/// Reads one object a line.
///
/// # Errors
/// When there are too many values.
pub fn read_lines(text: &str, file: &str, into: &mut Imported) -> Result<(), TooMany> {
    for (line, json) in (1..).zip(text.lines()) {
        let place = Place { file: file.to_owned(), line };
        into.passed(json.len() + 1);
        if json.trim().is_empty() || json.starts_with('#') {
            continue;
        }
        match serde_json::from_str::<Value>(json) {
            Ok(value) => read_value(&value, &place, into)?,
            Err(error) => {
                let start: String = json.chars().take(60).collect();
                into.reject(start, None, format!("not JSON: {error}"), &place)?;
            }
        }
    }
    Ok(())
}

fn read_value(value: &Value, place: &Place, into: &mut Imported) -> Result<(), TooMany> {
    if let Some(events) = misp::events(value) {
        return events.into_iter().try_for_each(|event| misp::read(event, place, into));
    }
    if let Some(objects) = stix::objects(value) {
        return stix::read(objects, place, into);
    }
    match value {
        Value::Object(fields) => read_object(fields, place, into),
        Value::Array(values) => values.iter().try_for_each(|value| read_value(value, place, into)),
        Value::String(text) => text::read_cell(text, place, &Said::default(), into).map(|_| ()),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// An object that names a value, or one whose parts are walked.
fn read_object(fields: &Map<String, Value>, place: &Place, into: &mut Imported) -> Result<(), TooMany> {
    let field = |names: &[&str]| names.iter().find_map(|name| fields.get(*name)?.as_str());
    if fields.contains_key("vedetta_bundle") {
        return Ok(());
    }
    if fields.contains_key("revoke") {
        let line = Value::Object(fields.clone()).to_string();
        return match Line::read(line.as_bytes()) {
            Ok(Some(Line::Revocation(revocation))) => into.handle_revocation(revocation),
            _ => into.reject(line, None, "revokes neither an alert nor an indicator", place),
        };
    }
    if let Some(value) = field(&["value", "indicator", "ioc", "ioc_value"]) {
        if field(&["verdict"]) == Some("rejected") {
            let reason = field(&["reason"]).unwrap_or("set aside by an earlier import");
            return into.reject(value.to_owned(), None, reason, place);
        }
        let kind = field(&["kind", "type", "ioc_type", "indicator_type"]).unwrap_or_default();
        if field(&["action"]) == Some("allow") {
            return match LookFor::parse(kind, value).or_else(|_| LookFor::guess(value)) {
                Ok(look_for) => into.handle_allowed(look_for, place, &said_of(fields)),
                Err(error) => into.reject(value.to_owned(), None, error.to_string(), place),
            };
        }
        let doubtful = field(&["verdict"]) == Some("doubtful");
        let found = if doubtful { Found::Doubtful("doubtful by an earlier import") } else { Found::Named };
        if let "network" | "ip_port" = kind {
            return table::read_typed(("", found), value, place, &said_of(fields), into);
        }
        return table::read_typed((kind, found), value, place, &said_of(fields), into);
    }
    for (_, value) in fields.iter().filter(|(key, _)| !REMARKS.contains(&key.as_str())) {
        read_value(value, place, into)?;
    }
    Ok(())
}

fn said_of(fields: &Map<String, Value>) -> Said {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let confidence = fields.get("confidence").and_then(Value::as_u64);
    Said {
        threat: text("threat").to_owned(),
        severity: said::severity(text("severity")),
        tlp: said::tlp(text("tlp")),
        confidence: confidence.and_then(|value| u8::try_from(value).ok()).filter(|value| *value <= 100),
        valid_from: said::from(text("valid_from")),
        valid_until: said::until(text("valid_until")),
        alert: text("alert").to_owned(),
        source: text("source").to_owned(),
    }
}
