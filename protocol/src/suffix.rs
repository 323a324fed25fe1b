//! Public suffixes: names such as `co.uk` and `github.io`, below which everybody's names stand side by side.
//!
//! Mozilla's list (publicsuffix.org, MPL 2.0) as a sorted table in the program's file: a question is a few
//! comparisons, nothing is unpacked or kept. `protocol/tests/suffix_table.rs` makes the table and compares it with `psl`.

use std::cmp::Ordering;

/// A rule a line, sorted by name: `com`; `ck*` for each name one label below `ck`, but not `ck`; `+` for both; and
/// `www.ck!` for a name that its parent's star does not count.
const TABLE: &str = include_str!("suffix_table.txt");

/// What the list says about a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rule {
    itself: bool,
    each_below: bool,
    exception: bool,
}

/// The public suffix that a name in normal form ends in, the longest that the list knows; `None` when its last label
/// is no top-level domain.
pub fn public_suffix(name: &str) -> Option<&str> {
    let mut longest = name;
    loop {
        let parent = longest.split_once('.').map(|(_, parent)| parent);
        let rule = rule(longest);
        if rule.exception {
            return parent;
        }
        if rule.itself || parent.is_some_and(|parent| self::rule(parent).each_below) {
            return Some(longest);
        }
        longest = parent?;
    }
}

/// Whether the names below a name in normal form belong to many different people: it is a public suffix, or each
/// name one label below it is.
pub fn is_shared(name: &str) -> bool {
    let rule = rule(name);
    let by_parent = || name.split_once('.').is_some_and(|(_, parent)| each_below_is_public_suffix(parent));
    rule.itself || rule.each_below || (!rule.exception && by_parent())
}

/// Whether each name one label below a name in normal form is a public suffix, as for `compute.amazonaws.com`.
pub fn each_below_is_public_suffix(name: &str) -> bool {
    rule(name).each_below
}

fn rule(name: &str) -> Rule {
    let mut rest = TABLE;
    while !rest.is_empty() {
        let middle = rest.len() / 2;
        let start = rest.get(..middle).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
        let (before, from) = rest.split_at_checked(start).unwrap_or((rest, ""));
        let (line, after) = from.split_once('\n').unwrap_or((from, ""));
        let known = line.trim_end_matches(['*', '+', '!']);
        match name.cmp(known) {
            Ordering::Less => rest = before,
            Ordering::Greater => rest = after,
            Ordering::Equal => {
                return Rule {
                    itself: !line.ends_with(['*', '!']),
                    each_below: line.ends_with(['*', '+']),
                    exception: line.ends_with('!'),
                };
            }
        }
    }
    Rule::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_rule_counts_and_exceptions_win() {
        for (name, suffix) in [
            ("evil.co.uk", Some("co.uk")),
            ("uk", Some("uk")),
            ("a.b.github.io", Some("github.io")),
            ("a.b.ck", Some("b.ck")),
            ("www.ck", Some("ck")),
            ("a.city.kobe.jp", Some("kobe.jp")),
            ("a.b.kobe.jp", Some("b.kobe.jp")),
            ("evil.xn--p1ai", Some("xn--p1ai")),
            ("evil.nosuchtld", None),
            ("evil.example", None),
            ("", None),
        ] {
            assert_eq!(public_suffix(name), suffix, "{name}");
        }
    }

    #[test]
    fn shared_is_what_many_people_have_names_under() {
        for name in ["uk", "co.uk", "github.io", "any.ck", "ck", "compute.amazonaws.com", "kobe.jp"] {
            assert!(is_shared(name), "{name}");
        }
        for name in ["evil.co.uk", "evil.github.io", "www.ck", "city.kobe.jp", "a.any.ck", "evil.example", ""]
        {
            assert!(!is_shared(name), "{name}");
        }
    }
}
