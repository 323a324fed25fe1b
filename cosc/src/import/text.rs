//! Finds values in lines of prose and in plain lists: addresses, names, URLs, hashes, e-mail addresses, defanged or not.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use protocol::defang::refang;
use protocol::indicator::Pattern;
use protocol::observable::Observable;
use protocol::url::URL_BYTES_MAX;
use protocol::{Domain, LookFor};

use super::judge::ends_like_a_domain;
use super::{Found, Imported, Place, Said, TooMany};

/// Longer lines are read in parts, cut where values end: a whole list may stand on one line.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Schemes of URLs that a gateway can see or that lead somewhere.
const SCHEMES: [&str; 9] = ["http", "https", "ftp", "ftps", "sftp", "ws", "wss", "ldap", "ldaps"];
/// First parts and marks of antivirus names such as `Win32/Example.AB` and `Trojan.Win32.Example.ab`.
const DETECTION_WORDS: [&str; 34] = [
    "win32",
    "win64",
    "w32",
    "w64",
    "w97m",
    "x97m",
    "o97m",
    "msil",
    "linux",
    "android",
    "androidos",
    "osx",
    "macos",
    "ios",
    "js",
    "vbs",
    "vba",
    "php",
    "python",
    "powershell",
    "html",
    "java",
    "bat",
    "swf",
    "nsis",
    "wingo",
    "unix",
    "generik",
    "trojan",
    "backdoor",
    "ransom",
    "exploit",
    "hacktool",
    "doc",
];

/// What one piece of text turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A value, and how sure it is.
    Value(LookFor, Found),
    /// Something an analyst would miss if nobody said why it is not looked for.
    Aside(String, &'static str),
}

/// Reads a text line by line.
///
/// # Errors
/// When there are too many values.
pub fn read(text: &str, file: &str, into: &mut Imported) -> Result<(), TooMany> {
    let said = Said::default();
    for (number, line) in (1..).zip(text.lines()) {
        let place = Place { file: file.to_owned(), line: number };
        into.passed(line.len() + 1);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let allowed =
            line.strip_prefix('!').map(|rest| rest.split_once(" #").map_or(rest, |(value, _)| value));
        if let Some(look_for) = allowed.map(str::trim).and_then(whole) {
            into.handle_allowed(look_for, &place, &said)?;
            continue;
        }
        for part in parts(line) {
            read_cell(part, &place, &said, into)?;
        }
    }
    Ok(())
}

fn parts(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let window = rest.get(..rest.floor_char_boundary(LINE_BYTES_MAX))?;
        let end = match window.rfind(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '|')) {
            Some(at) if window.len() < rest.len() => at + 1,
            _ => window.len(),
        };
        let (part, after) = rest.split_at_checked(end)?;
        rest = after;
        (!part.is_empty()).then_some(part)
    })
}

/// Reads one line or cell, whose whole text is tried first. Returns whether there was anything to tell about it.
///
/// # Errors
/// When there are too many values.
pub fn read_cell(text: &str, place: &Place, said: &Said, into: &mut Imported) -> Result<bool, TooMany> {
    let before_comment = text.split_once(" #").map_or(text, |(value, _)| value).trim();
    let alone = !before_comment.contains(char::is_whitespace);
    if alone && let Some(look_for) = whole(before_comment) {
        into.handle_value(look_for, Found::Alone, place, said)?;
        return Ok(true);
    }
    let pieces = pieces(text);
    let any = !pieces.is_empty();
    if pieces.is_empty() && alone && looks_like_a_value(before_comment) {
        let why = LookFor::guess(before_comment).err().map_or_else(String::new, |error| error.to_string());
        into.reject(before_comment.to_owned(), None, why, place)?;
        return Ok(true);
    }
    for piece in pieces {
        match piece {
            Piece::Value(look_for, found) => into.handle_value(look_for, found, place, said)?,
            Piece::Aside(text, reason) => into.reject(text, None, reason, place)?,
        }
    }
    Ok(any)
}

/// The value that a text without spaces is as a whole.
fn whole(text: &str) -> Option<LookFor> {
    let value = LookFor::guess(trimmed(text)).ok()?;
    match &value {
        LookFor::Observable(Observable::Domain(domain)) => {
            let refanged = refang(text);
            (ends_like_a_domain(domain) && !is_detection_name(&refanged)).then_some(value)
        }
        LookFor::Observable(Observable::Url(url)) => known_scheme(url.as_str()).then_some(value),
        LookFor::Pattern(pattern) => is_meant(pattern).then_some(value),
        _ => Some(value),
    }
}

/// Whether a pattern is one of names: `*` also marks words in prose, folders and files.
fn is_meant(pattern: &Pattern) -> bool {
    let name = match pattern {
        Pattern::Wildcard(wildcard) if wildcard.as_str().contains("**") => return false,
        Pattern::Wildcard(wildcard) => wildcard.fixed_ending(),
        Pattern::EmailDomain(domain) => domain.as_str(),
        Pattern::UrlPrefix(prefix) => {
            let host = prefix.as_str().split('/').next().unwrap_or_default();
            let host = host.rsplit_once(':').map_or(host, |(name, _)| name);
            if bare_address(host) || host.starts_with('[') {
                return true;
            }
            host
        }
        Pattern::UserAgentPart(_) => return true,
    };
    Domain::parse(name).is_ok_and(|domain| ends_like_a_domain(&domain))
}

fn looks_like_a_value(text: &str) -> bool {
    let dotted = text.contains('.') && text.bytes().filter(u8::is_ascii_alphanumeric).count() > 3;
    text.len() < 512 && (dotted || text.contains("://"))
}

fn known_scheme(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| SCHEMES.contains(&scheme))
}

/// All that is in a piece of prose, in the order URLs first, then the rest.
pub fn pieces(line: &str) -> Vec<Piece> {
    let refanged: Cow<'_, str> =
        if line.contains(['[', '(', '{', '\\']) { refang(line) } else { line.into() };
    let defanged = *refanged != *line.trim();
    let mut found = Vec::new();
    let rest = take_urls(&refanged, defanged, &mut found);
    let mut before = "";
    for token in rest.split(|c: char| !is_token_char(c)) {
        if token.is_empty() {
            continue;
        }
        read_token(token, before, defanged, &mut found);
        before = token;
    }
    found
}

fn is_token_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '@' | ':' | '/' | '%' | '+' | '[' | ']' | '\\')
}

/// Takes the URLs out of a line and leaves spaces in their place.
fn take_urls(line: &str, defanged: bool, found: &mut Vec<Piece>) -> String {
    let mut rest = String::with_capacity(line.len());
    let mut tail = line;
    while let Some(at) = tail.find("://") {
        let (head, _) = tail.split_at_checked(at).unwrap_or((tail, ""));
        let scheme_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '*');
        let scheme: usize = head.chars().rev().take_while(|c| scheme_char(*c)).count();
        let scheme = head.get(head.len() - scheme..).unwrap_or_default();
        let scheme_at = head.len() - scheme.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).len();
        let (before, url) = tail.split_at_checked(scheme_at).unwrap_or(("", tail));
        let (url, after) = url.split_at_checked(url_end(url)).unwrap_or((url, ""));
        rest.push_str(before);
        rest.push(' ');
        let is_link = !defanged && (after.starts_with('[') || before.ends_with("]("));
        read_url(url, is_link, found);
        tail = after;
    }
    rest.push_str(tail);
    rest
}

/// Where a URL ends in prose: at a space, a quote or a bracket, or where the next URL begins.
fn url_end(url: &str) -> usize {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let literal = url.get(authority..).is_some_and(|rest| rest.starts_with('['));
    let path = if literal { url.find(']').map_or(authority, |at| at + 1) } else { authority };
    let tail = url.get(path..).unwrap_or_default();
    let stop = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '"' | '\'' | '<' | '>' | '|' | '^' | '`' | '{' | '}' | '[' | ']' | '\\')
    };
    let mut end = path + tail.find(stop).unwrap_or(tail.len());
    if let Some(next) = url.get(path..end).and_then(|inside| inside.find("://")).map(|at| path + at) {
        let scheme = url.get(path..next).unwrap_or_default();
        if let Some(at) = scheme.rfind([',', ';']) {
            end = end.min(path + at);
        }
    }
    let cut = url.get(..end).unwrap_or(url).trim_end_matches("++"); // AsciiDoc's mark for "as it stands"
    let mut text = cut.trim_end_matches(['.', ',', ';', ':', '!', '?', '*', '_']);
    while text.len() <= URL_BYTES_MAX
        && text.ends_with(')')
        && text.matches('(').count() < text.matches(')').count()
    {
        text = text.trim_end_matches(')').trim_end_matches(['.', ',', ';', ':']);
    }
    text.len().max(authority)
}

fn read_url(url: &str, is_link: bool, found: &mut Vec<Piece>) {
    let url = refang(url).into_owned();
    let Some((scheme, rest)) = url.split_once("://") else { return };
    if matches!(scheme.to_ascii_lowercase().as_str(), "tcp" | "udp" | "ssl" | "tls") {
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        read_token(host, "", true, found);
        return;
    }
    match LookFor::parse("url", &url) {
        Ok(_) if is_link => found.push(Piece::Aside(url, "a live link in the text, not an indicator")),
        Ok(value) if known_scheme(&value.to_string()) => found.push(Piece::Value(value, Found::InText)),
        Ok(_) => found.push(Piece::Aside(url, "a URL of a scheme that no gateway sees")),
        Err(_) if rest.is_empty() || scheme.is_empty() => {}
        Err(_) => found.push(Piece::Aside(url, "a URL that cannot be read: is its host whole?")),
    }
}

fn read_token(token: &str, before: &str, defanged: bool, found: &mut Vec<Piece>) {
    let text = trimmed(token);
    if text.is_empty() || text.contains('\\') {
        return; // a path of Windows
    }
    if let Some(piece) = hash(text).or_else(|| email(text)).or_else(|| address(text, before)) {
        found.push(piece);
        return;
    }
    if is_detection_name(text) {
        found.push(Piece::Aside(text.to_owned(), "an antivirus' name for it, which no gateway sees"));
        return;
    }
    if let Some((host, _)) = text.split_once('/') {
        slashed(text, host, found);
        return;
    }
    if let Some((head, tail)) = text.split_once(':') {
        read_token(head, before, defanged, found);
        if tail.parse::<u16>().is_err() {
            read_token(tail, head, defanged, found);
        }
        return;
    }
    if let Some(domain) = domain(text, defanged) {
        // Square brackets were here: nobody defangs a file name.
        let found_how = if defanged { Found::Alone } else { Found::InText };
        found.push(Piece::Value(LookFor::Observable(Observable::Domain(domain)), found_how));
    }
}

fn trimmed(token: &str) -> &str {
    let token = token.trim_matches(['.', ',', ';', ':', '-', '_', '/', '+', '%', '\'', '"']);
    let token =
        if token.starts_with('[') && token.contains(']') { token } else { token.trim_start_matches('[') };
    if token.contains('[') { token } else { token.trim_end_matches(']') }
}

fn hash(text: &str) -> Option<Piece> {
    let (first, rest) = text.as_bytes().split_first()?;
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) || rest.iter().all(|byte| byte == first) {
        return None;
    }
    match text.len() {
        32 | 40 | 64 => LookFor::guess(text).ok().map(|value| Piece::Value(value, Found::Alone)),
        56 | 96 | 128 => {
            Some(Piece::Aside(text.to_owned(), "a hash of a kind that is not looked for (SHA-224, 384, 512)"))
        }
        _ => None,
    }
}

fn email(text: &str) -> Option<Piece> {
    let (local, domain) = text.rsplit_once('@')?;
    let local = local.rsplit([':', '/', '@']).next()?; // mailto:, email:
    let known = Domain::parse(domain)
        .is_ok_and(|domain| domain.as_str().contains('.') && ends_like_a_domain(&domain));
    let value = LookFor::parse("email", &format!("{local}@{domain}")).ok().filter(|_| known)?;
    Some(Piece::Value(value, Found::Alone))
}

/// Addresses, networks and addresses with a port. A version number has a word before it that says so.
fn address(text: &str, before: &str) -> Option<Piece> {
    let version_words = ["version", "versions", "versione", "ver", "v", "build", "release", "firmware"];
    if !text.contains(':') && version_words.contains(&before.to_lowercase().trim_end_matches(['.', ':'])) {
        return None;
    }
    let value = match text.split_once('/') {
        Some((host, prefix)) if prefix.parse::<u8>().is_ok() && host.parse::<IpAddr>().is_ok() => {
            LookFor::guess(text)
        }
        Some(_) => return None,
        None if text.parse::<SocketAddr>().is_ok() || bare_address(text) => LookFor::guess(text),
        None => return None,
    };
    value.ok().map(|value| Piece::Value(value, Found::Alone))
}

/// An address; for IPv6 one that is not a bit of a program such as `a::b`.
fn bare_address(text: &str) -> bool {
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match text.parse() {
        Ok(IpAddr::V4(_)) => true,
        Ok(IpAddr::V6(address)) => address.segments().first().is_some_and(|first| first & 0xe000 == 0x2000),
        Err(_) => false,
    }
}

/// `Win32/Example.AB`, `a variant of MSIL/Example`, `Trojan.Win32.Example.ab`.
fn is_detection_name(text: &str) -> bool {
    let marked = |part: &str| DETECTION_WORDS.contains(&part.to_ascii_lowercase().as_str());
    match text.split_once('/') {
        Some((first, rest)) => {
            let head = first.rsplit(':').next().unwrap_or(first);
            !rest.is_empty() && !head.contains('.') && marked(head)
        }
        None => {
            let parts: Vec<&str> = text.split(['.', ':']).collect();
            parts.len() >= 3
                && parts.iter().any(|part| {
                    ["win32", "win64", "msil", "w32", "w64", "androidos"]
                        .contains(&part.to_ascii_lowercase().as_str())
                })
        }
    }
}

/// A text with a slash: a URL that lost its scheme, or a path.
fn slashed(text: &str, host: &str, found: &mut Vec<Piece>) {
    let name =
        host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
    let host = match domain(name, false) {
        Some(domain) => Some(LookFor::Observable(Observable::Domain(domain))),
        None => bare_address(name).then(|| LookFor::guess(name).ok()).flatten(),
    };
    if let Some(host) = host {
        const WHY: &str = "the host of a URL without its scheme: all of it would be looked for";
        found.push(Piece::Value(host, Found::Doubtful(WHY)));
        found.push(Piece::Aside(
            text.to_owned(),
            "a URL without its scheme: put http:// or https:// before it",
        ));
    }
}

/// A domain as people write them in prose; `word.Word` at the seam of two sentences is none.
fn domain(text: &str, defanged: bool) -> Option<Domain> {
    if text.contains(['@', '%', '+', '[', ']'])
        || text.split('.').any(|label| label.starts_with('-') || label.ends_with('-'))
    {
        return None;
    }
    let domain = Domain::parse(text)
        .ok()
        .filter(|domain| domain.as_str().contains('.') && ends_like_a_domain(domain))?;
    let mut labels = text.rsplit('.');
    let (ending, label) = (labels.next()?, labels.next()?);
    let capital = ending.starts_with(char::is_uppercase);
    let seam = capital && label.ends_with(char::is_lowercase);
    let product = ending == "NET"; // ASP.NET, System.NET
    (defanged || !(seam || product)).then_some(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &[&str]) {
        let found: Vec<String> = pieces(line)
            .iter()
            .map(|piece| match piece {
                Piece::Value(value, _) => format!("{} {value}", value.kind()),
                Piece::Aside(text, _) => format!("aside {text}"),
            })
            .collect();
        assert_eq!(found, expected, "{line:?}");
    }

    #[test]
    fn values_are_found_anywhere_in_prose() {
        check("The C2 at evil.example, then 203.0.113.5.", &["domain evil.example", "ip 203.0.113.5"]);
        check("(see mailto:mallory@evil.example)", &["email mallory@evil.example"]);
        check("drops D41D8CD98F00B204E9800998ECF8427F;", &["md5 d41d8cd98f00b204e9800998ecf8427f"]);
        check(
            "networks 203.0.113.0/24 and 2001:db8::/32",
            &["network 203.0.113.0/24", "network 2001:db8::/32"],
        );
        check("listens on 203.0.113.5:8443", &["ip_port 203.0.113.5:8443"]);
        check("MD5:0123456789abcdef0123456789abcdef", &["md5 0123456789abcdef0123456789abcdef"]);
        check("host=evil.example|port=80", &["domain evil.example"]);
        check("evil.example:8080", &["domain evil.example"]);
    }

    #[test]
    fn defanged_values_are_found() {
        check("hxxps://evil[.]example/a?b=1 and", &["url https://evil.example/a?b=1"]);
        check("evil[.]example, 203.0.113[.]5", &["domain evil.example", "ip 203.0.113.5"]);
        check("mallory[@]evil(.)example", &["email mallory@evil.example"]);
        check("hxxp[:]//evil[dot]example", &["url http://evil.example"]);
        check("tcp://203[.]0[.]113[.]5:80/", &["ip_port 203.0.113.5:80"]);
    }

    #[test]
    fn a_url_ends_where_the_sentence_goes_on() {
        check("(http://evil.example/a).", &["url http://evil.example/a"]);
        check("http://evil.example/a_(b)", &["url http://evil.example/a_(b)"]);
        check("\"http://evil.example/a\",", &["url http://evil.example/a"]);
        check("http://a.example/1,http://b.example/2", &["url http://a.example/1", "url http://b.example/2"]);
        check("http://[2001:db8::5]:80/a", &["url http://[2001:db8::5]/a"]);
        check("`++https://evil.example/a++`", &["url https://evil.example/a"]);
    }

    #[test]
    fn links_of_a_document_are_set_aside() {
        check("https://blog.example/post[our post]", &["aside https://blog.example/post"]);
        check("[our post](https://blog.example/post)", &["aside https://blog.example/post"]);
    }

    #[test]
    fn names_of_malware_are_no_domains() {
        check("Win32/Turla.AG", &["aside Win32/Turla.AG"]);
        check("a variant of MSIL/Agent.AI trojan", &["aside MSIL/Agent.AI"]);
        check("Trojan.Win32.Agent.ag", &["aside Trojan.Win32.Agent.ag"]);
    }

    #[test]
    fn a_long_line_is_cut_between_values() {
        let line = "evil.example, ".repeat(20_000);
        let parts: Vec<&str> = parts(&line).collect();
        assert_eq!((parts.len(), parts.concat() == line), (5, true));
        assert!(parts.iter().all(|part| part.trim().starts_with("evil") && part.ends_with([' ', ','])));
    }

    #[test]
    fn prose_and_programs_are_no_indicators() {
        for line in [
            "See the report.It says more.",
            "written in ASP.NET",
            "version 1.2.3.4 is affected",
            "C:\\Users\\Public\\evil.example\\a.dll",
            "/usr/lib/evil.so/x",
            "std::cout << a::b",
            "2026-11-22 10:00:00",
            "file.docx and run.exe",
            "00:11:22:33:44:55",
        ] {
            check(line, &[]);
        }
    }

    #[test]
    fn a_url_without_scheme_is_told() {
        check("evil.example/gate.php", &["domain evil.example", "aside evil.example/gate.php"]);
        check("203.0.113.5:80/path", &["ip 203.0.113.5", "aside 203.0.113.5:80/path"]);
    }
}
