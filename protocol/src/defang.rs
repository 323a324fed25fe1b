//! Undoes what people do to indicators so that nobody clicks them: `hxxp`, `[.]`, `(dot)`, `[@]`, `[:]`.

use std::borrow::Cow;

const INSIDE: &[(&str, &str)] = &[
    ("[.]", "."),
    ("(.)", "."),
    ("{.}", "."),
    ("[dot]", "."),
    ("(dot)", "."),
    ("{dot}", "."),
    ("[punto]", "."),
    ("[:]", ":"),
    ("[://]", "://"),
    ("[@]", "@"),
    ("(@)", "@"),
    ("[at]", "@"),
    ("(at)", "@"),
    ("[/]", "/"),
    ("[.", "."),
    (".]", "."),
    ("\\.", "."),
];
const SCHEMES: &[(&str, &str)] = &[
    ("hxxps", "https"),
    ("hxxp", "http"),
    ("hxtps", "https"),
    ("hxtp", "http"),
    ("h**ps", "https"),
    ("h**p", "http"),
    ("meow", "http"),
    ("fxp", "ftp"),
    ("fxps", "ftps"),
];

/// A defanged value as it was meant, without space around it. Text that is not defanged comes back as it stands.
pub fn refang(text: &str) -> Cow<'_, str> {
    let text = text.trim().trim_matches(|c| matches!(c, '\u{200b}' | '\u{feff}' | '\u{2060}'));
    // Each of INSIDE has one of these; most values have none.
    let inside = text.bytes().any(|byte| matches!(byte, b'[' | b'(' | b'{' | b'\\' | b']'));
    let text = if inside { Cow::Owned(without_inside(text)) } else { Cow::Borrowed(text) };
    match scheme(&text) {
        Some((from, to)) => Cow::Owned([to, text.get(from.len()..).unwrap_or_default()].concat()),
        None => text,
    }
}

/// Replaces one of [`INSIDE`] after the other.
fn without_inside(text: &str) -> String {
    let mut out = text.to_owned();
    for (from, to) in INSIDE {
        if *from == ".]" && out.contains('[') {
            continue; // an IPv6 literal in a URL keeps its bracket
        }
        out = replace_any_case(&out, from, to);
    }
    out
}

/// The defanged scheme that a text begins with, and what was meant.
fn scheme(text: &str) -> Option<(&'static str, &'static str)> {
    let (head, _) = text.split_once(':')?;
    SCHEMES.iter().copied().find(|(from, _)| head.eq_ignore_ascii_case(from))
}

fn replace_any_case(text: &str, from: &str, to: &str) -> String {
    if text.len() < from.len() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        match rest.get(..from.len()) {
            Some(head) if head.eq_ignore_ascii_case(from) => {
                out.push_str(to);
                rest = rest.get(from.len()..).unwrap_or_default();
            }
            _ => {
                out.push(next);
                rest = rest.get(next.len_utf8()..).unwrap_or_default();
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(refang(text), expected);
    }

    #[test]
    fn the_usual_ways_of_defanging_are_undone() {
        check("hxxps://evil[.]example/a", "https://evil.example/a");
        check("hXXp[:]//evil(dot)example", "http://evil.example");
        check("203.0.113[.]5", "203.0.113.5");
        check("203[.113.0[.5", "203.113.0.5");
        check("mallory[@]evil[.]example", "mallory@evil.example");
    }

    #[test]
    fn what_is_not_defanged_stays() {
        check("http://[2001:db8::1]/a", "http://[2001:db8::1]/a");
        check("evil.example", "evil.example");
    }

    /// The same by the tables alone, one after the other.
    fn by_the_tables(text: &str) -> String {
        let mut out =
            text.trim().trim_matches(|c| matches!(c, '\u{200b}' | '\u{feff}' | '\u{2060}')).to_owned();
        for (from, to) in INSIDE {
            if *from != ".]" || !out.contains('[') {
                out = replace_any_case(&out, from, to);
            }
        }
        for (from, to) in SCHEMES {
            let head = out.get(..from.len()).filter(|head| head.eq_ignore_ascii_case(from));
            if head.is_some() && out.get(from.len()..).is_some_and(|rest| rest.starts_with(':')) {
                out.replace_range(..from.len(), to);
                break;
            }
        }
        out
    }

    proptest! {
        #[test]
        fn the_short_way_and_the_tables_agree(text in text()) {
            prop_assert_eq!(refang(&text), by_the_tables(&text));
        }
    }

    /// Any characters, and pieces that defanged values are made of.
    fn text() -> impl Strategy<Value = String> {
        let table = INSIDE.iter().chain(SCHEMES).map(|(from, _)| (*from).to_owned());
        let others = ["evil", ".", ":", "://", " ", "]", "[", "\u{feff}", "HXXP", "[DOT]"].map(str::to_owned);
        let piece = prop_oneof![
            3 => proptest::sample::select(table.chain(others).collect::<Vec<_>>()),
            1 => any::<char>().prop_map(String::from),
        ];
        proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn what_is_not_defanged_is_not_copied() {
        for text in ["evil.example", " http://evil.example/a?b=c ", "h*p:x", "203.0.113.5:80"] {
            assert!(matches!(refang(text), Cow::Borrowed(same) if same == text.trim()), "{text}");
        }
    }
}
