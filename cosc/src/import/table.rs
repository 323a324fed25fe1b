//! Reads tables (CSV with commas, semicolons, tabs or bars): columns are known by their names in English and
//! Italian, never by position.

use csv::{Reader, ReaderBuilder, StringRecord};
use protocol::LookFor;

use super::columns::Column;
use super::said::{self, Meaning};
use super::{Found, Imported, Place, Said, TooMany, text};

/// Longer texts are no names of columns.
const NAME_BYTES_MAX: usize = 48;

/// How a text is cut into columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    delimiter: u8,
    /// Lines before the one with the columns' names; `None` when no line names them.
    header_line: Option<usize>,
}

/// Recognises a table by a line that names its columns, or by its file name.
pub fn shape(text: &str, is_named_csv: bool) -> Option<Shape> {
    let lines = || text.lines().take(200);
    let candidates = lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let mut comment_header = None;
    for (number, line) in candidates {
        let is_comment = line.trim_start().starts_with('#');
        let named = [b',', b';', b'\t', b'|'].into_iter().find(|delimiter| names_columns(line, *delimiter));
        if let Some(delimiter) = named {
            let shape = Shape { delimiter, header_line: Some(number) };
            if !is_comment {
                return Some(shape);
            }
            comment_header = Some(shape); // the last comment before the data, as abuse.ch writes it
        }
        if !is_comment {
            break;
        }
    }
    let fallback = || {
        let first = lines().find(|line| !line.trim().is_empty() && !line.starts_with('#'))?;
        let count = |delimiter: u8| first.bytes().filter(|byte| *byte == delimiter).count();
        let delimiter = [b',', b';', b'\t', b'|'].into_iter().max_by_key(|delimiter| count(*delimiter))?;
        is_named_csv.then_some(Shape { delimiter, header_line: None })
    };
    comment_header.or_else(fallback)
}

fn names_columns(line: &str, delimiter: u8) -> bool {
    let record = reader(line.trim_start_matches(['#', ' ', '\u{feff}']), delimiter).records().next();
    let Some(Ok(record)) = record else { return false };
    if record.iter().any(|cell| cell.len() > NAME_BYTES_MAX) {
        return false; // a sentence, or a query
    }
    let known = record.iter().map(Column::by_name).filter(|column| *column != Column::Unknown).count();
    let holds_values = record
        .iter()
        .map(Column::by_name)
        .any(|column| matches!(column, Column::Value | Column::Observables));
    let is_data = record.iter().any(|cell| LookFor::guess(cell.trim_matches('"')).is_ok());
    holds_values
        && !is_data
        && known >= 1
        && (record.len() >= 2 || Column::by_name(record.get(0).unwrap_or_default()) == Column::Value)
}

fn reader(text: &str, delimiter: u8) -> Reader<&[u8]> {
    ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes())
}

/// Reads a table of a known shape.
///
/// # Errors
/// When there are too many values.
pub fn read(text: &str, shape: Shape, file: &str, into: &mut Imported) -> Result<(), TooMany> {
    let mut columns: Vec<Column> = Vec::new();
    let mut names = StringRecord::new();
    let mut body = text;
    let mut lines_before = 0;
    if let Some(header_line) = shape.header_line {
        let mut lines = text.split_inclusive('\n');
        lines_before = header_line as u64;
        let passed: usize = lines.by_ref().take(header_line).map(str::len).sum();
        body = text.get(passed..).unwrap_or_default().trim_start_matches(['#', ' ', '\u{feff}']);
    }
    // abuse.ch writes a space between comma and quote, which a CSV reader takes for a part of the value.
    let (spaced, joined) =
        (format!("{} \"", char::from(shape.delimiter)), format!("{}\"", char::from(shape.delimiter)));
    let body =
        if body.starts_with('"') && body.contains(&spaced) { &body.replace(&spaced, &joined) } else { body };
    let mut rows = reader(body, shape.delimiter);
    let mut record = StringRecord::new();
    let mut passed = 0;
    loop {
        let at = usize::try_from(rows.position().byte()).unwrap_or(usize::MAX);
        into.passed(at.saturating_sub(passed));
        passed = at;
        let line = lines_before + rows.position().line();
        let place = Place { file: file.to_owned(), line };
        match rows.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {}
            Err(error) => {
                into.reject(
                    format!("row at line {line}"),
                    None,
                    format!("not a row of a table: {error}"),
                    &place,
                )?;
                continue;
            }
        }
        let place =
            Place { line: lines_before + record.position().map_or(line, csv::Position::line), ..place };
        if columns.is_empty() && shape.header_line.is_some() {
            columns = record.iter().map(Column::by_name).collect();
            names = record.clone();
            continue;
        }
        if record.get(0).is_none_or(|first| !first.starts_with('#')) {
            read_row(&record, &columns, &place, into)?;
        }
    }
    tell_remarks(&names, &columns, file, into);
    Ok(())
}

fn tell_remarks(names: &StringRecord, columns: &[Column], file: &str, into: &mut Imported) {
    let passed = names.iter().zip(columns).filter(|(_, column)| **column == Column::Remark);
    let passed: Vec<&str> = passed.map(|(name, _)| name).collect();
    if !passed.is_empty() {
        into.note(format!("{file}: columns passed over: {}", passed.join(", ")));
    }
}

fn read_row(
    record: &StringRecord,
    columns: &[Column],
    place: &Place,
    into: &mut Imported,
) -> Result<(), TooMany> {
    let cells = || record.iter().zip(columns.iter().copied().chain(std::iter::repeat(Column::Unknown)));
    let cell = |wanted: Column| {
        cells()
            .find(|(text, column)| *column == wanted && !text.is_empty() && *text != "None")
            .map(|(text, _)| text)
    };
    let said = Said {
        threat: cell(Column::Threat).unwrap_or_default().to_owned(),
        severity: cell(Column::Severity).and_then(said::severity),
        tlp: cell(Column::Tlp).and_then(said::tlp),
        confidence: cell(Column::Confidence).and_then(said::confidence),
        valid_from: cell(Column::ValidFrom).and_then(said::from),
        valid_until: cell(Column::ValidUntil).and_then(said::until),
        alert: cell(Column::Alert).unwrap_or_default().to_owned(),
        source: cell(Column::Source).unwrap_or_default().to_owned(),
    };
    if columns.contains(&Column::Value) {
        let Some(value) = cell(Column::Value) else { return Ok(()) };
        return read_typed((cell(Column::Type).unwrap_or_default(), Found::Named), value, place, &said, into);
    }
    let wanted = if columns.contains(&Column::Observables) { Column::Observables } else { Column::Unknown };
    for (text, column) in cells().filter(|(text, _)| !text.is_empty()) {
        if column == wanted {
            text::read_cell(text, place, &said, into)?;
        }
    }
    Ok(())
}

/// Reads a value whose type the source names, and how sure it is of it.
///
/// # Errors
/// When there are too many values.
pub fn read_typed(
    (kind, found): (&str, Found),
    value: &str,
    place: &Place,
    said: &Said,
    into: &mut Imported,
) -> Result<(), TooMany> {
    match said::meaning(kind) {
        Meaning::NotLookedFor => {
            into.reject(value.to_owned(), None, format!("of type {kind}, which no gateway sees"), place)
        }
        Meaning::Kind(kind) => match looks_alike(kind, value).map_or_else(|| LookFor::parse(kind, value), Ok)
        {
            Ok(look_for) => into.handle_value(look_for, found, place, said),
            Err(_) => read_any(value, found, place, said, into),
        },
        Meaning::Several if value.contains('|') => read_several((kind, found), value, place, said, into),
        Meaning::Several | Meaning::Shape => read_any(value, found, place, said, into),
    }
}

/// A value with a star where its kind has none: `http://evil.example/kit/*`, `*@evil.example`, `*ExampleBot*`.
fn looks_alike(kind: &str, value: &str) -> Option<LookFor> {
    let value = value.trim();
    let (kind, value) = match kind {
        "url" if value.ends_with("/*") && !value.contains(['?', '#']) => ("url_prefix", value),
        "email" => ("email_domain", value.strip_prefix("*@").or_else(|| value.strip_prefix('@'))?),
        "user_agent" => ("user_agent_part", value.strip_prefix('*')?.strip_suffix('*')?),
        _ => return None,
    };
    LookFor::parse(kind, value).ok()
}

/// `filename|md5`, `domain|ip`, `ip-dst|port`: each part by its own type.
fn read_several(
    (kind, found): (&str, Found),
    value: &str,
    place: &Place,
    said: &Said,
    into: &mut Imported,
) -> Result<(), TooMany> {
    if kind.ends_with("|port") {
        let joined = match value.split_once('|') {
            Some((ip, port)) if ip.contains(':') => format!("[{ip}]:{port}"),
            _ => value.replacen('|', ":", 1),
        };
        return read_any(&joined, found, place, said, into);
    }
    for (kind, value) in kind.split('|').zip(value.split('|')) {
        if said::meaning(kind) != Meaning::NotLookedFor {
            read_typed((kind, found), value, place, said, into)?;
        }
    }
    Ok(())
}

/// Reads a field that holds indicators by its shape, as a whole or in pieces; what cannot be read is told.
fn read_any(
    value: &str,
    found: Found,
    place: &Place,
    said: &Said,
    into: &mut Imported,
) -> Result<(), TooMany> {
    let error = match LookFor::guess(value) {
        Ok(look_for) => return into.handle_value(look_for, found, place, said),
        Err(error) => error,
    };
    if !text::read_cell(value, place, said, into)? {
        into.reject(value.to_owned(), None, error.to_string(), place)?;
    }
    Ok(())
}
