//! User agents in a line: the field of that name, or the last quoted field of the combined log format.

use std::ops::Range;

use super::words;

/// User agents taken from one line.
const AGENTS_MAX: usize = 4;
/// How far the end of one is looked for that stands without quotes.
const BARE_BYTES_MAX: usize = 1024;

/// Where user agents stand.
pub(super) fn find(line: &[u8]) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> = named(line).take(AGENTS_MAX).collect();
    if spans.is_empty() {
        spans.extend(combined(line));
    }
    spans.retain(|span| line.get(span.clone()).is_some_and(|text| text.len() > 1 && text != b"null"));
    spans
}

/// Values of fields such as `"User-Agent":["…"]`, `user_agent="…"`, `userAgent: "…"`, `cs(User-Agent)=…`, `ua="…"`.
fn named(line: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let agents = memchr::memchr2_iter(b'g', b'G', line).filter_map(|g| {
        let start = g.checked_sub(1)?;
        let is_agent = line.get(start..start + 5)?.eq_ignore_ascii_case(b"agent");
        (is_agent && is_agent_field(line.get(..start)?)).then_some(start + 5)
    });
    let short = memchr::memmem::find_iter(line, b"ua=\"").filter_map(|at| {
        let is_whole = !at.checked_sub(1).and_then(|at| line.get(at)).is_some_and(u8::is_ascii_alphanumeric);
        is_whole.then_some(at + 2)
    });
    agents.chain(short).filter_map(|end| value_at(line, end))
}

/// The value of the field whose name ends at `end`.
fn value_at(line: &[u8], end: usize) -> Option<Range<usize>> {
    let rest = line.get(end..)?;
    let is_mark = |byte: &u8| matches!(byte, b'"' | b'\'' | b'\\' | b':' | b'=' | b' ' | b'[' | b')');
    let opening = rest.iter().position(|byte| !is_mark(byte))?;
    let marks = rest.get(..opening)?;
    if !marks.iter().any(|mark| matches!(mark, b':' | b'=')) {
        return None;
    }
    let from = end + opening;
    let text = line.get(from..)?;
    let length = match *marks.last()? {
        // JSON inside of JSON.
        b'"' if marks.ends_with(b"\\\"") => memchr::memmem::find(text, b"\\\"")?,
        quote @ (b'"' | b'\'') => closing_quote(text, quote)?,
        _ => bare_length(text).filter(|_| words::is_user_agent(text))?,
    };
    Some(from..from + length)
}

/// How long a user agent is that stands without quotes: up to the next field, or the line's end.
fn bare_length(text: &[u8]) -> Option<usize> {
    let text = text.get(..BARE_BYTES_MAX).unwrap_or(text);
    let ends = |byte: &u8| matches!(byte, b'"' | b'\'' | b'|' | b'\\' | b'<' | b'>' | b'}') || *byte < b' ';
    let end = text.iter().position(ends).unwrap_or(text.len());
    let text = text.get(..end)?;
    let next = memchr::memchr_iter(b'=', text).find_map(|equals| {
        let name = text
            .get(..equals)?
            .iter()
            .rev()
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
            .count();
        let start =
            equals.checked_sub(name + 1).filter(|start| name > 0 && text.get(*start) == Some(&b' '))?;
        Some(start)
    });
    Some(text.get(..next.unwrap_or(end))?.trim_ascii_end().len())
}

/// `user agent` in any spelling, or `agent` as a whole word.
fn is_agent_field(before: &[u8]) -> bool {
    let stem = before.strip_suffix(b"-").or_else(|| before.strip_suffix(b"_")).unwrap_or(before);
    let user =
        stem.len() >= 4 && stem.get(stem.len() - 4..).is_some_and(|end| end.eq_ignore_ascii_case(b"user"));
    user || before
        .last()
        .is_none_or(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'_' | b'.'))
}

/// The second quoted field after the request: `"GET / HTTP/1.1" 200 12 "referrer" "agent"`.
fn combined(line: &[u8]) -> Option<Range<usize>> {
    let request = memchr::memmem::find(line, b" HTTP/")?;
    let after = request + closing_quote(line.get(request..)?, b'"')? + 1;
    let status = line.get(after..)?.trim_ascii_start();
    if !matches!(status.first(), Some(b'0'..=b'9' | b'-' | b'"')) {
        return None; // an error that quotes the request
    }
    let referrer = after + opening_quote(line.get(after..)?)?;
    let length = closing_quote(line.get(referrer..)?, b'"')?;
    if words::is_user_agent(line.get(referrer..referrer + length)?) {
        return Some(referrer..referrer + length); // load balancers write no referrer
    }
    let between = referrer + closing_quote(line.get(referrer..)?, b'"')? + 1;
    let agent = between + opening_quote(line.get(between..)?)?;
    let length = closing_quote(line.get(agent..)?, b'"')?;
    Some(agent..agent + length)
}

/// Where the text after the next quote begins; only a few fields may stand before it.
fn opening_quote(text: &[u8]) -> Option<usize> {
    memchr::memchr(b'"', text).filter(|at| *at <= 64).map(|at| at + 1)
}

/// Where the closing quote is that no backslash escapes.
fn closing_quote(text: &[u8], quote: u8) -> Option<usize> {
    memchr::memchr_iter(quote, text)
        .find(|at| at.checked_sub(1).and_then(|before| text.get(before)) != Some(&b'\\'))
}
