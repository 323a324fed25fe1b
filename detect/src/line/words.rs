//! Words of a line, and what a word can be: address, e-mail address, hash, domain, URL.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use protocol::url::URL_BYTES_MAX;
use protocol::{Domain, Kind, Observable, Url};

use super::names;

/// How far back a path is looked at; the longest of Windows, without its prefix.
const PATH_BYTES_MAX: usize = 260;
/// Marks of the sentence removed from the end of a URL.
const TRIMMED_MAX: usize = 8;
/// Longer words are nothing as a whole; their parts are looked at.
pub(super) const WORD_BYTES_MAX: usize = 1024;

/// What stands before the slash at the beginning of a user agent is shorter.
const PRODUCT_BYTES_MAX: usize = 64;

/// File names look like domains. None of these endings is a top-level domain, so no name is lost by them.
const FILE_ENDINGS: &[&str] = &[
    "asp", "aspx", "bak", "bin", "cfg", "cfm", "cgi", "class", "cnf", "conf", "cpp", "css", "csv", "dat",
    "db", "dll", "doc", "docx", "env", "exe", "gif", "gz", "htm", "html", "ico", "ini", "jar", "java",
    "jpeg", "jpg", "js", "json", "jsp", "jsx", "lock", "log", "lua", "old", "pcap", "pdf", "pem", "php",
    "png", "rpm", "service", "sock", "socket", "sql", "svg", "swf", "tar", "tgz", "tmp", "toml", "ts", "txt",
    "vue", "xls", "xlsx", "xml", "yaml", "yml",
];

/// Calls with each word and where it begins. Words are made of the bytes that values are made of.
pub(super) fn each(line: &[u8], mut call: impl FnMut(&[u8], usize)) {
    let mut start = None;
    for (at, byte) in line.iter().enumerate() {
        match (is_word_byte(*byte), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                call_trimmed(line, from..at, &mut call);
                start = None;
            }
            _ => {}
        }
    }
    if let Some(from) = start {
        call_trimmed(line, from..line.len(), &mut call);
    }
}

fn is_word_byte(byte: u8) -> bool {
    WORD_BYTES.get(usize::from(byte)).copied().unwrap_or_default()
}

const WORD_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::indexing_slicing, reason = "computed when compiling")]
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        {
            table[byte] = matches!(
                byte as u8,
                b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'.' | b':' | b'-' | b'_' | b'@' | b'+' | b'%' | 0x80..
            );
        }
        byte += 1;
    }
    table
};

/// Whether a word can hold a value: all have a dot, two colons, or the length of a hash.
fn is_worth_a_look(word: &[u8]) -> bool {
    word.len() >= 32
        || memchr::memchr(b'.', word).is_some()
        || memchr::memchr_iter(b':', word).nth(1).is_some()
}

/// Punctuation around a word is none of it, apart from the colons of `::1` and `fe80::`.
fn call_trimmed(line: &[u8], span: Range<usize>, call: &mut impl FnMut(&[u8], usize)) {
    let Some(mut word) = line.get(span.clone()) else { return };
    let mut at = span.start;
    while let [first, rest @ ..] = word {
        let keep = match first {
            b'.' | b'-' | b'+' | b'%' | b'@' => false,
            b':' => rest.first() == Some(&b':'),
            _ => true,
        };
        if keep {
            break;
        }
        (word, at) = (rest, at + 1);
    }
    while let [rest @ .., last] = word {
        let keep = match last {
            b'.' | b'-' | b'+' | b'%' | b'@' => false,
            b':' => rest.last() == Some(&b':'),
            _ => true,
        };
        if keep {
            break;
        }
        word = rest;
    }
    // The shortest value is `::1`.
    if word.len() >= 3 && is_worth_a_look(word) {
        call(word, at);
    }
}

/// Calls with the parts of a word that is nothing whole: between colons, else between at signs, what is written as
/// `%2F`, plus signs, letters that are no ASCII, dashes or underscores.
pub(super) fn parts(word: &[u8], mut call: impl FnMut(&[u8], usize)) {
    let marks: [fn(u8) -> bool; 7] = [
        |byte| byte == b':',
        |byte| byte == b'@',
        |byte| byte == b'%',
        |byte| byte == b'+',
        |byte| byte >= 0x80,
        |byte| byte == b'-',
        |byte| byte == b'_',
    ];
    let Some(is_mark) = marks.into_iter().find(|is_mark| word.iter().any(|byte| is_mark(*byte))) else {
        return;
    };
    let mut at = 0;
    for part in word.split(|byte| is_mark(*byte)) {
        if part.len() >= 7 {
            call(part, at);
        }
        at += part.len() + 1;
    }
}

/// A word without what belongs to an escape that is written before it, and how many bytes that is: the `n` of `\n`, the
/// `011` of `#011` (rsyslog), the `2F` of `%2F`, the `31m` of a colour.
pub(super) fn unglued<'w>(word: &'w [u8], line: &[u8], at: usize) -> Option<(&'w [u8], usize)> {
    let glued = match tag(word) {
        0 => glued(word, line.get(..at)?),
        tag => tag,
    };
    Some((word.get(glued..)?, glued)).filter(|_| glued > 0)
}

/// `IPv6:` before an address that has colons itself.
fn tag(word: &[u8]) -> usize {
    let Some(colon) = memchr::memchr(b':', word) else { return 0 };
    let (name, rest) = word.split_at_checked(colon).unwrap_or_default();
    let is_address = name.len() <= 24
        && name.iter().any(|byte| !byte.is_ascii_hexdigit())
        && rest.get(1..).is_some_and(|rest| std::str::from_utf8(rest).is_ok_and(|text| v6(text).is_some()));
    if is_address { colon + 1 } else { 0 }
}

fn glued(word: &[u8], before: &[u8]) -> usize {
    let digits = |from: usize, count: usize, is_digit: fn(&u8) -> bool| {
        word.get(from..from + count).is_some_and(|digits| digits.iter().all(is_digit))
    };
    let octal: fn(&u8) -> bool = |byte| matches!(byte, b'0'..=b'7');
    match (before.last(), word.first()) {
        (Some(b'\\' | b'#'), Some(_)) if digits(0, 3, octal) => 3,
        (Some(b'\\'), Some(b'x')) if digits(1, 2, u8::is_ascii_hexdigit) => 3,
        (Some(b'\\'), Some(b'u')) if digits(1, 4, u8::is_ascii_hexdigit) => 5,
        (Some(b'\\'), Some(b'n' | b't' | b'r' | b'b' | b'f')) if !is_path(before) => 1,
        (Some(b'%'), Some(_)) if digits(0, 2, u8::is_ascii_hexdigit) => 2,
        _ => colour(word, before),
    }
}

/// Whether the backslash at the end of a text stands in a path of Windows, or is itself what is escaped.
fn is_path(before: &[u8]) -> bool {
    let is_inside = |byte: &&u8| !matches!(byte, b' ' | b'\t' | b'"' | b'\'' | b'=' | b'(' | b'<' | b',');
    let length = before.iter().rev().take(PATH_BYTES_MAX).take_while(is_inside).count();
    let path = before.get(before.len() - length..).unwrap_or_default();
    let has_drive = matches!(path, [drive, b':', b'\\', ..] if drive.is_ascii_alphabetic());
    let backslashes = path.iter().rev().take_while(|byte| **byte == b'\\').count();
    has_drive || path.starts_with(b"\\\\") || backslashes % 2 == 0
}

/// `ESC [ 1 ; 31 m` in front of a word, the escape character itself in any of its spellings.
fn colour(word: &[u8], before: &[u8]) -> usize {
    let number = word.iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
    if !word.get(number).is_some_and(u8::is_ascii_alphabetic) {
        return 0;
    }
    let numbers = before.iter().rev().take(16).take_while(|byte| matches!(byte, b'0'..=b'9' | b';')).count();
    let Some(introduced) = before.get(..before.len() - numbers).and_then(|text| text.strip_suffix(b"["))
    else {
        return 0;
    };
    let spellings = [&b"\x1b"[..], b"033", b"x1b", b"x1B", b"u001b", b"u001B", b"\\e", b"^["];
    if spellings.iter().any(|escape| introduced.ends_with(escape)) { number + 1 } else { 0 }
}

/// Whether a word is the name of a field: `id.orig_h=`, `"id.orig_h":`.
pub(super) fn is_key(word: &[u8], line: &[u8], at: usize) -> bool {
    let after = line.get(at + word.len()..).unwrap_or_default();
    let is_name = word.first().is_some_and(u8::is_ascii_alphabetic) && !word.contains(&b':');
    is_name && (after.starts_with(b"=") || after.starts_with(b"\":"))
}

/// An address with or without a port.
pub(super) fn address(word: &[u8], line: &[u8], at: usize) -> Option<(IpAddr, Option<u16>)> {
    let text = std::str::from_utf8(word).ok()?;
    let before = line.get(..at).unwrap_or_default();
    let after = line.get(at + word.len()..).unwrap_or_default();
    if let Ok(v4) = text.parse::<Ipv4Addr>() {
        // An object identifier begins with a dot: `.1.3.6.1`.
        let is_none = before.ends_with(b".") || is_version(before, v4);
        return (!is_none).then(|| (v4.into(), port_after(before, after)));
    }
    if let Some((address, port)) = text.split_once(':')
        && let Ok(v4) = address.parse::<Ipv4Addr>()
    {
        let port = port.split(':').next().and_then(|port| port.parse().ok());
        return Some((v4.into(), port));
    }
    if let Some(v6) = v6(text) {
        return Some((IpAddr::from(v6).to_canonical(), port_after(before, after)));
    }
    dotted_port(text, before, after)
}

/// `203.0.113.5.50550`, as packet dumps write an address with its port. Ports of services count beside an arrow only:
/// `1.2.3.4.5` is a version or an object identifier.
fn dotted_port(text: &str, before: &[u8], after: &[u8]) -> Option<(IpAddr, Option<u16>)> {
    let (address, port) = text.rsplit_once('.')?;
    let address: IpAddr = address.parse().ok()?;
    let number: u16 = port.parse().ok()?;
    let has_arrow = before.ends_with(b"> ") || after.starts_with(b" > ");
    let is_version = matches!(address, IpAddr::V4(v4) if is_version(before, v4)) || before.ends_with(b".");
    ((has_arrow || number >= 1024) && !is_version).then_some((address.to_canonical(), Some(number)))
}

/// What a field holds that is an address: alone, with a zone, with a port after `:` or `/`, an IPv6 one in brackets.
pub(super) fn endpoint(text: &str) -> Option<(IpAddr, Option<u16>)> {
    let text = text.trim();
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            (address, rest.strip_prefix(':'))
        }
        None => match text.split_once('/') {
            Some((address, port)) => (address, Some(port)),
            None if text.bytes().filter(|byte| *byte == b':').count() == 1 => {
                let (address, port) = text.split_once(':')?;
                (address, Some(port))
            }
            None => (text, None),
        },
    };
    let address = address.split_once('%').map_or(address, |(address, _)| address);
    let address: IpAddr = address.parse().ok()?;
    Some((address.to_canonical(), port.and_then(|port| port.parse().ok())))
}

/// Whether a text is an address, with or without a port.
pub(super) fn is_address(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| endpoint(text).is_some())
}

/// Whether a text begins as user agents do, with a product and its version: `Mozilla/5.0`, `curl/8.6.0`.
pub(super) fn is_user_agent(text: &[u8]) -> bool {
    let beginning = text.get(..PRODUCT_BYTES_MAX).unwrap_or(text);
    let Some(slash) = memchr::memchr(b'/', beginning) else { return false };
    let (product, version) = text.split_at_checked(slash).unwrap_or_default();
    let is_product = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b' ');
    product.first().is_some_and(u8::is_ascii_alphabetic)
        && product.iter().all(is_product)
        && version.get(1).is_some_and(u8::is_ascii_digit)
}

/// What follows an address as its port: Cisco writes `address/port`, where a prefix length is below 33; others
/// `[address]:port` or `address#port`.
fn port_after(before: &[u8], after: &[u8]) -> Option<u16> {
    let in_brackets = || after.strip_prefix(b"]:").filter(|_| before.ends_with(b"["));
    let (digits, least) = match after.strip_prefix(b"/") {
        Some(digits) => (digits, 33),
        None => (after.strip_prefix(b"#").or_else(in_brackets)?, 1),
    };
    let end = digits.iter().take(6).position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len().min(6));
    std::str::from_utf8(digits.get(..end)?)
        .ok()?
        .parse()
        .ok()
        .filter(|port| *port >= least && !digits.starts_with(b"0"))
}

/// Words after which four numbers are a version.
const VERSION: &[&str] = &["version", "ver", "v", "firmware", "revision"];

/// `Chrome/120.0.0.0` and `version 1.2.3.4` are no addresses.
fn is_version(before: &[u8], v4: Ipv4Addr) -> bool {
    let product = matches!(before, [.., letter, b'/'] if letter.is_ascii_alphabetic());
    let is_mark = |byte: &&u8| matches!(byte, b' ' | b':' | b'=' | b'"' | b'\'' | b'.');
    let marks = before.iter().rev().take(4).take_while(is_mark).count();
    let name = before.get(..before.len() - marks).unwrap_or_default();
    let letters = name.iter().rev().take(20).take_while(|byte| byte.is_ascii_alphabetic()).count();
    let name = name.get(name.len() - letters..).unwrap_or_default();
    let ends_in_version = || {
        name.len() >= 7 && name.get(name.len() - 7..).is_some_and(|end| end.eq_ignore_ascii_case(b"version"))
    };
    (product && v4.octets().ends_with(&[0, 0]))
        || (marks > 0
            && (VERSION.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes())) || ends_in_version()))
}

/// IPv6, but no time (`12:34:56`), no hardware address and no `a::b` of a programming language.
fn v6(text: &str) -> Option<Ipv6Addr> {
    if text.bytes().filter(|byte| *byte == b':').count() < 2 {
        return None;
    }
    let text = text.split_once('%').map_or(text, |(address, _)| address);
    let address: Ipv6Addr = text.parse().ok()?;
    let groups = || text.split(':').filter(|group| !group.is_empty());
    let hardware = groups().count() == 8 && groups().all(|group| group.len() == 2);
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    (!hardware && has_digit && !address.is_unspecified()).then_some(address)
}

pub(super) fn email(word: &[u8]) -> Option<Observable> {
    if !word.contains(&b'@') {
        return None;
    }
    let text = std::str::from_utf8(word).ok()?;
    let (local, domain) = text.rsplit_once('@')?;
    let local = local.rsplit_once(':').map_or(local, |(_, local)| local);
    let dotted = domain.contains('.') && !domain.contains(':');
    dotted.then(|| Observable::parse(Kind::Email, &format!("{local}@{domain}")).ok())?
}

pub(super) fn hash(word: &[u8]) -> Option<Observable> {
    let kind = match word.len() {
        32 => Kind::Md5,
        40 => Kind::Sha1,
        64 => Kind::Sha256,
        _ => return None,
    };
    if !word.iter().all(u8::is_ascii_hexdigit) || word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Observable::parse(kind, std::str::from_utf8(word).ok()?).ok()
}

/// A name with a dot whose last label is one of letters, and which names nothing else.
pub(super) fn domain(word: &[u8], line: &[u8], at: usize) -> Option<Domain> {
    if word.len() < 4 || !word.contains(&b'.') || word.contains(&b':') || word.contains(&b'@') {
        return None;
    }
    let text = std::str::from_utf8(word).ok()?;
    let (_, last) = text.rsplit_once('.')?;
    let letters = last.len() >= 2 && last.chars().all(char::is_alphabetic);
    if !letters && !last.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--")) {
        return None;
    }
    if is_file_ending(last) || names::is_other(word, line, at) {
        return None;
    }
    Domain::parse(text).ok()
}

fn is_file_ending(last: &str) -> bool {
    FILE_ENDINGS.iter().any(|ending| last.eq_ignore_ascii_case(ending))
}

/// What stands between scheme and authority; the second is how JSON encoders of PHP write it.
pub(super) const SCHEME_ENDS: [&str; 2] = ["://", ":\\/\\/"];

/// The URL around the scheme's end at `colon`, and where its scheme and authority stand.
pub(super) fn url_at(line: &[u8], colon: usize, scheme_end: &str) -> Option<(Url, Range<usize>)> {
    let (start, text) = untrimmed_url_at(line, colon, scheme_end)?;
    let authority = colon - start + scheme_end.len();
    let path = text.get(authority..)?.find(['/', '?', '#', '\\']).map_or(text.len(), |at| authority + at);
    let url = if scheme_end == "://" {
        Url::parse(trim_sentence(text)?).ok()?
    } else {
        let plain = text.replace("\\/", "/");
        Url::parse(trim_sentence(plain.split('\\').next()?)?).ok()?
    };
    Some((url, start..start + path))
}

/// The text of the URL around the `://` at `colon`, and where it begins.
pub(crate) fn url_text(line: &[u8], colon: usize) -> Option<(usize, &str)> {
    let (start, text) = untrimmed_url_at(line, colon, "://")?;
    Some((start, trim_sentence(text)?))
}

fn untrimmed_url_at<'a>(line: &'a [u8], colon: usize, scheme_end: &str) -> Option<(usize, &'a str)> {
    let before = line.get(..colon)?;
    let letters = before.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let start = colon - letters;
    if !(2..=10).contains(&letters) {
        return None;
    }
    let rest = line.get(start..)?;
    let rest = rest.get(..=URL_BYTES_MAX).unwrap_or(rest);
    let escaped = scheme_end != "://";
    let ends = |byte: &u8| ends_url(*byte) && !(escaped && *byte == b'\\');
    let end = rest.iter().position(ends).unwrap_or(rest.len());
    Some((start, std::str::from_utf8(rest.get(..end)?).ok()?))
}

/// A closing bracket or mark at the end belongs to the sentence, unless the URL opened the bracket.
pub(super) fn trim_sentence(mut text: &str) -> Option<&str> {
    for _ in 0..TRIMMED_MAX {
        let Some(last) = text.chars().next_back() else { break };
        let belongs = match last {
            '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '*' => false,
            ')' => text.matches('(').count() >= text.matches(')').count(),
            ']' => text.matches('[').count() >= text.matches(']').count(),
            _ => true,
        };
        if belongs {
            break;
        }
        text = text.get(..text.len() - last.len_utf8())?;
    }
    Some(text)
}

pub(super) fn ends_url(byte: u8) -> bool {
    byte <= b' '
        || byte == 0x7f
        || matches!(byte, b'"' | b'<' | b'>' | b'`' | b'|' | b'\\' | b'^' | b'{' | b'}')
}
