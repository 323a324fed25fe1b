//! Reads MISP events: attributes alone and in objects, with the event's title, level and markings.

use protocol::Severity;
use serde_json::Value;

use super::{Found, Imported, Place, Said, TooMany, said, table};

/// Attributes that describe the event and not what to look for.
const REMARKS: [&str; 11] = [
    "comment",
    "text",
    "other",
    "datetime",
    "vulnerability",
    "threat-actor",
    "campaign-name",
    "attachment",
    "counter",
    "port",
    "float",
];

/// The events of a document: one, a list of them, or the answer of a search.
pub fn events(document: &Value) -> Option<Vec<&Value>> {
    if let Some(event) = document.get("Event") {
        return Some(vec![event]);
    }
    let has_attributes = |event: &Value| event.get("Attribute").is_some_and(Value::is_array);
    if has_attributes(document) || document.get("Object").is_some_and(Value::is_array) {
        return Some(vec![document]);
    }
    let list = document.get("response").unwrap_or(document).as_array()?;
    let events: Vec<&Value> = list.iter().filter_map(|item| item.get("Event")).collect();
    (!events.is_empty()).then_some(events)
}

/// Reads one event.
///
/// # Errors
/// When there are too many values.
pub fn read(event: &Value, place: &Place, into: &mut Imported) -> Result<(), TooMany> {
    let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
    let event_says = Said {
        threat: text("info").to_owned(),
        severity: match text("threat_level_id") {
            "1" => Some(Severity::High),
            "2" => Some(Severity::Medium),
            "3" => Some(Severity::Low),
            _ => None,
        },
        tlp: marking(event),
        source: event.pointer("/Orgc/name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        ..Said::default()
    };
    let parents = std::iter::once(event).chain(list(event, "Object"));
    for (parent, attribute) in
        parents.flat_map(|it| list(it, "Attribute").map(move |attribute| (it, attribute)))
    {
        let is_deleted = is_true(parent, "deleted") || is_true(attribute, "deleted");
        read_attribute(attribute, is_deleted, &event_says, place, into)?;
    }
    Ok(())
}

fn list<'v>(of: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    of.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn read_attribute(
    attribute: &Value,
    is_deleted: bool,
    event_says: &Said,
    place: &Place,
    into: &mut Imported,
) -> Result<(), TooMany> {
    let text = |name: &str| attribute.get(name).and_then(Value::as_str).unwrap_or_default();
    let (kind, value) = (text("type"), text("value").trim());
    if value.is_empty() || REMARKS.contains(&kind) {
        return Ok(());
    }
    if is_deleted {
        return into.reject(value.to_owned(), None, "deleted in its MISP event", place);
    }
    let said = Said { tlp: marking(attribute).or(event_says.tlp), ..event_says.clone() };
    let doubt = match attribute.get("to_ids").and_then(Value::as_bool) {
        _ if kind == "link" => Some("a link in its MISP event"),
        Some(false) => Some("its MISP event does not say to detect it (to_ids is false)"),
        _ => None,
    };
    let found = doubt.map_or(Found::Named, Found::Doubtful);
    table::read_typed((kind, found), value, place, &said, into)
}

fn is_true(value: &Value, name: &str) -> bool {
    value.get(name).is_some_and(|flag| flag.as_bool() == Some(true) || flag.as_str() == Some("1"))
}

/// The strictest of the `tlp:` tags.
fn marking(tagged: &Value) -> Option<protocol::Tlp> {
    let tags = tagged.get("Tag")?.as_array()?;
    tags.iter().filter_map(|tag| said::tlp(tag.get("name")?.as_str()?)).max()
}
