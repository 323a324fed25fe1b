//! Undoes what people do to indicators so that nobody clicks them: `hxxp`, `[.]`, `(dot)`, `[@]`, `[:]`.

/// A defanged value as it was meant. Text that is not defanged comes back unchanged.
pub fn refang(text: &str) -> String {
    let mut out = text.trim().trim_matches(|c| matches!(c, '\u{200b}' | '\u{feff}' | '\u{2060}')).to_owned();
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
    for (from, to) in INSIDE {
        if *from == ".]" && out.contains('[') {
            continue; // an IPv6 literal in a URL keeps its bracket
        }
        out = replace_any_case(&out, from, to);
    }
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
    for (from, to) in SCHEMES {
        let head = out.get(..from.len()).filter(|head| head.eq_ignore_ascii_case(from));
        if head.is_some() && out.get(from.len()..).is_some_and(|rest| rest.starts_with(':')) {
            out.replace_range(..from.len(), to);
            break;
        }
    }
    out
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
}
