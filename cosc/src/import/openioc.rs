//! Reads OpenIOC 1.x (XML): each item's search term and content. Items that must hold together are told.

use super::{Found, Imported, Place, Said, TooMany, table};

/// Whether a text is an OpenIOC document.
pub fn is_openioc(text: &str) -> bool {
    let start = text.get(..text.floor_char_boundary(4096)).unwrap_or(text);
    start.contains("<ioc ") || start.contains("<ioc>") || start.contains("<OpenIOC")
}

/// Reads a document. A scanner is enough: the two elements that count are never nested in themselves.
///
/// # Errors
/// When there are too many values.
pub fn read(text: &str, file: &str, into: &mut Imported) -> Result<(), TooMany> {
    let threat =
        inside(text, "<short_description>", "</short_description>").map(unescaped).unwrap_or_default();
    let said = Said { threat, ..Said::default() };
    let (mut at, mut line, mut counted) = (0, 1, 0);
    while let Some(next) = text.get(at..).and_then(|rest| rest.find("<Context ")) {
        let start = at + next;
        let rest = text.get(start..).unwrap_or_default();
        let end = rest.find("</IndicatorItem>").unwrap_or(rest.len());
        let item = rest.get(..end).unwrap_or_default();
        at = start + end.max(1);
        line += text.get(counted..start).unwrap_or_default().matches('\n').count() as u64;
        counted = start;
        let place = Place { file: file.to_owned(), line };
        let search = inside(item, "search=\"", "\"").unwrap_or_default();
        let content = item.split_once("<Content").and_then(|(_, rest)| inside(rest, ">", "</Content>"));
        let Some(value) = content.map(unescaped).filter(|value| !value.is_empty()) else { continue };
        match kind_of(search) {
            Some(kind) => table::read_typed((kind, Found::Named), &value, &place, &said, into)?,
            None => into.reject(value, None, format!("of type {search}, which no gateway sees"), &place)?,
        }
    }
    Ok(())
}

fn kind_of(search: &str) -> Option<&'static str> {
    let (_, last) = search.rsplit_once('/')?;
    Some(match last.to_ascii_lowercase().as_str() {
        "md5sum" => "md5",
        "sha1sum" => "sha1",
        "sha256sum" => "sha256",
        "recordname" | "dns" | "host" | "hostname" | "remoteip" | "localip" | "ipv4" | "ipaddress" => "ip",
        "uri" | "url" if search.contains("Url") => "url",
        "useragent" => "user-agent",
        "from" => "email",
        _ => return None,
    })
}

fn inside<'t>(text: &'t str, open: &str, close: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(open)?;
    rest.split_once(close).map(|(inside, _)| inside)
}

fn unescaped(text: &str) -> String {
    let text =
        text.trim().replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    text.replace("&amp;", "&")
}
