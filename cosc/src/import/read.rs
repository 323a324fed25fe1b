//! Opens files, undoes their encoding, tells their format by their content, and hands them to its reader.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use protocol::bundle::{BundleLimits, Line};
use protocol::{Action, BundleReader};

use super::{Found, Imported, Place, Purpose, Said, TooMany, json, openioc, table, text};
use crate::progress;

/// Larger files are refused: nobody reviews that much at once.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// A document is held in memory as a tree, many times its size; objects by the line are not.
const JSON_BYTES_MAX: usize = 64 << 20;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// The disk said no.
    #[error("{0}")]
    Disk(#[from] io::Error),
    /// Larger than [`FILE_BYTES_MAX`].
    #[error("larger than {} MiB; split it", FILE_BYTES_MAX >> 20)]
    TooLarge,
    /// A format that has no reader.
    #[error("{0}")]
    Format(&'static str),
    /// JSON that is cut or damaged: half a list would look like a whole one.
    #[error("JSON that is not whole ({0}); fetch the file again")]
    Json(serde_json::Error),
    /// A bundle that cannot be read.
    #[error("{0}")]
    Bundle(#[from] protocol::bundle::BundleError),
    /// More values than an import takes.
    #[error("{0}")]
    TooMany(#[from] TooMany),
}

/// Reads all files; `-` is standard input. A file that cannot be read is remembered and the others go on.
pub fn files(paths: &[PathBuf], purpose: Purpose) -> Imported {
    let mut imported = Imported::new(purpose);
    for path in paths {
        let name = path.to_string_lossy().into_owned();
        let read = bytes(path).and_then(|bytes| {
            let bar = progress::bytes("reading", bytes.len() as u64);
            imported.begin_file(bar.clone());
            let read = contents(&bytes, &name, &mut imported);
            bar.finish_and_clear();
            read
        });
        if let Err(error) = read {
            imported.unread.push((name, error.to_string()));
        }
    }
    imported
}

fn bytes(path: &Path) -> Result<Vec<u8>, Unread> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    } else {
        let file = File::open(path)?;
        let data = file.metadata()?;
        if data.is_dir() {
            return Err(Unread::Format("a folder; name the files in it"));
        }
        if data.len() > FILE_BYTES_MAX {
            return Err(Unread::TooLarge);
        }
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > FILE_BYTES_MAX { Err(Unread::TooLarge) } else { Ok(bytes) }
}

/// Reads a file's bytes, whatever format they are.
///
/// # Errors
/// Says what is wrong with the file as a whole; single values that cannot be read go into `into`.
pub fn contents(bytes: &[u8], name: &str, into: &mut Imported) -> Result<(), Unread> {
    const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
    if bytes.starts_with(ZSTD) {
        return bundle(bytes, name, into);
    }
    let formats: [(&[u8], &str); 4] = [
        (b"PK\x03\x04", "a ZIP, XLSX or DOCX file; save it as CSV or text first"),
        (b"%PDF", "a PDF; save its text first (pdftotext)"),
        (b"\xd0\xcf\x11\xe0", "an old Office file; save it as CSV or text first"),
        (b"\x1f\x8b", "a gzip file; unpack it first"),
    ];
    if let Some((_, what)) = formats.into_iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Err(Unread::Format(what));
    }
    let text = decoded(bytes)?;
    let trimmed = text.trim_start();
    if trimmed.starts_with(['{', '[']) && trimmed.len() > JSON_BYTES_MAX && !first_is_object(trimmed) {
        return Err(Unread::Format("JSON larger than 64 MiB; split it, or write one object a line"));
    }
    if trimmed.starts_with(['{', '[']) {
        if trimmed.len() <= JSON_BYTES_MAX
            && let Ok(document) = serde_json::from_str(trimmed)
        {
            return Ok(json::read_document(&document, name, into)?);
        }
        if first_is_object(trimmed) {
            return Ok(json::read_lines(trimmed, name, into)?);
        }
        if let Some(error) = broken_json(trimmed) {
            return Err(Unread::Json(error));
        }
    }
    if trimmed.starts_with('<') && openioc::is_openioc(trimmed) {
        return Ok(openioc::read(&text, name, into)?);
    }
    let is_named_csv = [".csv", ".tsv"].iter().any(|ending| name.to_lowercase().ends_with(ending));
    match table::shape(&text, is_named_csv) {
        Some(shape) => Ok(table::read(&text, shape, name, into)?),
        None => Ok(text::read(&text, name, into)?),
    }
}

fn first_is_object(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    first.len() <= JSON_BYTES_MAX
        && serde_json::from_str::<serde_json::Value>(first).is_ok_and(|value| value.is_object())
}

/// The error of a text that begins as JSON does; prose may begin with a bracket, too.
fn broken_json(text: &str) -> Option<serde_json::Error> {
    let second = text.chars().skip(1).find(|c| !c.is_whitespace());
    if !matches!((text.chars().next(), second), (Some('{'), Some('"')) | (Some('['), Some('{' | '"'))) {
        return None;
    }
    serde_json::from_str::<serde_json::Value>(text).err()
}

/// A bundle that was made before, to be made again with something added.
fn bundle(bytes: &[u8], name: &str, into: &mut Imported) -> Result<(), Unread> {
    let limits = BundleLimits { bytes_max: FILE_BYTES_MAX * 16, ..BundleLimits::default() };
    for (number, line) in (2..).zip(BundleReader::new(bytes, limits)?) {
        let indicator = match line? {
            Line::Indicator(indicator) => indicator,
            Line::Revocation(revocation) => {
                into.handle_revocation(revocation)?;
                continue;
            }
        };
        let said = Said {
            threat: indicator.threat,
            severity: Some(indicator.severity),
            tlp: Some(indicator.tlp),
            confidence: Some(indicator.confidence),
            valid_from: indicator.valid_from,
            valid_until: indicator.valid_until,
            alert: indicator.alert,
            source: indicator.source,
        };
        let place = Place { file: name.to_owned(), line: number };
        match indicator.action {
            Action::Allow => into.handle_allowed(indicator.look_for, &place, &said)?,
            Action::Detect => into.handle_value(indicator.look_for, Found::Named, &place, &said)?,
        }
    }
    Ok(())
}

/// UTF-8 with or without its mark, UTF-16 with its mark, else ISO-8859-1, which any bytes are.
fn decoded(bytes: &[u8]) -> Result<String, Unread> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.as_chunks::<2>().0.iter().map(|pair| unit(*pair));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    if let Some(bytes) = bytes.strip_prefix(b"\xff\xfe") {
        return Ok(utf16(bytes, u16::from_le_bytes));
    }
    if let Some(bytes) = bytes.strip_prefix(b"\xfe\xff") {
        return Ok(utf16(bytes, u16::from_be_bytes));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.iter().take(8192).any(|byte| *byte == 0) {
        return Err(Unread::Format("not a text file"));
    }
    Ok(match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(bytes: &[u8]) -> Vec<String> {
        let mut imported = Imported::default();
        contents(bytes, "list.txt", &mut imported).unwrap();
        imported.accepted.iter().map(|candidate| candidate.look_for.to_string()).collect()
    }

    #[test]
    fn every_encoding_gives_the_same_values() {
        let text = "# àèì\r\nevil.example\r\n203.0.113.5 # città\r\n";
        let expected = ["evil.example", "203.0.113.5"];
        let utf16 = |mark: [u8; 2], order: fn(u16) -> [u8; 2]| {
            mark.into_iter().chain(text.encode_utf16().flat_map(order)).collect::<Vec<u8>>()
        };
        assert_eq!(values(text.as_bytes()), expected);
        assert_eq!(values(&[b"\xef\xbb\xbf", text.as_bytes()].concat()), expected);
        assert_eq!(values(&utf16([0xff, 0xfe], u16::to_le_bytes)), expected);
        assert_eq!(values(&utf16([0xfe, 0xff], u16::to_be_bytes)), expected);
        let latin: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        assert_eq!(values(&latin), expected);
    }

    #[test]
    fn what_has_no_reader_says_what_to_do() {
        for (bytes, words) in [
            (b"PK\x03\x04rest".as_slice(), "save it as CSV"),
            (b"%PDF-1.7", "pdftotext"),
            (b"\x00\x01\x02", "not a text file"),
            (b"\x28\xb5\x2f\xfdnonsense", "bundle"),
        ] {
            let refused = contents(bytes, "x", &mut Imported::default()).unwrap_err().to_string();
            assert!(refused.contains(words), "{refused}");
        }
    }
}
