//! What resolvers write of questions and answers: dnsmasq (Pi-hole), Unbound, BIND.

use memchr::memmem;

use super::Format;
use crate::line::header::Logged;
use crate::line::reading::{Field, Reading};
use crate::line::{cut, words};

pub(super) const DNSMASQ: Format = Format { name: "dnsmasq", read: read_dnsmasq };
pub(super) const UNBOUND: Format = Format { name: "unbound", read: read_unbound };
pub(super) const BIND: Format = Format { name: "bind", read: read_bind };

/// `query[A] evil.example from 10.0.0.4`, `reply evil.example is 203.0.113.5`, `forwarded evil.example to 192.0.2.53`
fn read_dnsmasq<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let message = logged.message;
    if let Some(question) = cut::after(message, b"query[").and_then(|rest| cut::after(rest, b"] ")) {
        let (name, rest) = cut::word(question);
        let Some(client) = rest.strip_prefix(b"from ") else { return false };
        reading.take(Field::Domain, name);
        reading.take(Field::Src, cut::word(client).0);
        return true;
    }
    if !super::is_of(logged, b"dnsmasq") {
        return false;
    }
    let marks = [
        &b"reply "[..],
        b"cached ",
        b"forwarded ",
        b"config ",
        b"cached-stale ",
        b"gravity blocked ",
        b"/etc/hosts ",
    ];
    let Some(rest) = marks.iter().find_map(|mark| cut::after(message, mark)) else { return false };
    let (name, rest) = cut::word(rest);
    let (verb, value) = cut::word(rest);
    if !matches!(verb, b"is" | b"to") {
        return false;
    }
    reading.take(Field::Domain, name);
    reading.take(Field::Address, cut::word(value).0);
    true
}

/// `[1:0] info: 10.0.0.4 evil.example. A IN`, `info: rpz: applied [z] evil.example. rpz-nxdomain 10.0.0.4@4000 evil.example. A IN`
fn read_unbound<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let Some(rest) =
        cut::after(logged.message, b" info: ").or_else(|| cut::after(logged.message, b" reply: "))
    else {
        return false;
    };
    let rest = match cut::after(rest, b"applied [")
        .filter(|_| rest.starts_with(b"rpz") || rest.starts_with(b"RPZ"))
    {
        Some(applied) => {
            // The rule that was applied, then what was done, then who asked for what.
            let (rule, rest) = cut::word(cut::after(applied, b"] ").unwrap_or_default());
            reading.take(Field::Nothing, rule);
            cut::word(rest).1
        }
        None => rest,
    };
    let (client, rest) = cut::word(rest);
    let (name, rest) = cut::word(rest);
    let (_, class) = cut::word(rest);
    let (address, port) = cut::at_last(client, b'@').unwrap_or((client, b""));
    if !matches!(cut::word(class).0, b"IN" | b"CH" | b"HS") || !words::is_address(address) {
        return false;
    }
    reading.take(Field::Src, address);
    reading.take(Field::SrcPort, port);
    reading.take(Field::Domain, name);
    true
}

/// `client @0x7f 10.0.0.4#4000 (evil.example): query: evil.example IN A +E(0)K (192.0.2.1)`
fn read_bind<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let Some(rest) = cut::after(logged.message, b"client ") else { return false };
    let (first, after) = cut::word(rest);
    let (client, rest) = if first.starts_with(b"@0x") { cut::word(after) } else { (first, after) };
    let Some((address, port)) = cut::at_last(client, b'#') else { return false };
    let port = port.strip_suffix(b":").unwrap_or(port);
    if !words::is_address(address) || !cut::is_number(port) {
        return false;
    }
    reading.take(Field::Src, address);
    reading.take(Field::SrcPort, port);
    if let Some(name) = rest.strip_prefix(b"(") {
        reading.take(Field::Domain, cut::until(name, b")"));
    }
    if let Some(question) = cut::after(rest, b"query: ") {
        reading.take(Field::Domain, cut::word(question).0);
        // The server's own address, which was asked.
        if let Some(server) = question.strip_suffix(b")").and_then(|text| cut::at_last(text, b'(')) {
            reading.take(Field::Dst, server.1);
        }
    } else if let Some(question) = cut::between(rest, b" '", b"/'").filter(|name| !name.is_empty()) {
        reading.take(Field::Domain, question);
    }
    if let Some(zone) = memmem::find(rest, b" via ").and_then(|at| rest.get(at + 5..)) {
        reading.take(Field::Nothing, cut::word(zone).0);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;

    #[test]
    fn dnsmasq() {
        for header in ["Nov 22 10:00:00 dnsmasq[1]: ", "<30>Nov 22 10:00:00 gw dnsmasq[1]: 12 "] {
            check(
                &DNSMASQ,
                &format!("{header}query[AAAA] evil.zip from 10.0.0.4"),
                &["log.domain evil.zip", "log.src 10.0.0.4"],
            );
        }
        check(
            &DNSMASQ,
            "dnsmasq[1]: reply evil.sh is 203.0.113.5",
            &["log.domain evil.sh", "log.text 203.0.113.5"],
        );
        check(&DNSMASQ, "dnsmasq[1]: cached evil.sh is <CNAME>", &["log.domain evil.sh"]);
        check(
            &DNSMASQ,
            "dnsmasq[1]: forwarded evil.sh to 2001:db8::53",
            &["log.domain evil.sh", "log.text 2001:db8::53"],
        );
        check_not(&DNSMASQ, "dnsmasq[1]: started, version 2.90");
        check_not(&DNSMASQ, "other: reply a.example is here");
    }

    #[test]
    fn unbound() {
        check(
            &UNBOUND,
            "[1795341600] unbound[1:0] info: 10.0.0.4 evil.zip. A IN NOERROR 0.012 0 45",
            &["log.src 10.0.0.4", "log.domain evil.zip"],
        );
        check(
            &UNBOUND,
            "unbound: [1:0] info: rpz: applied [block] *.evil.example. rpz-nxdomain 10.0.0.4@4000 www.evil.example. A IN",
            &["log.src 10.0.0.4:4000", "log.domain www.evil.example"],
        );
        check_not(&UNBOUND, "unbound[1:0] info: start of service (unbound 1.19)");
    }

    #[test]
    fn bind() {
        check(
            &BIND,
            "22-Nov-2026 10:00:00.425 queries: info: client @0x7f65 10.0.0.4#4000 (evil.zip): query: evil.zip IN A +E(0)K (192.0.2.1)",
            &["log.src 10.0.0.4:4000", "log.domain evil.zip", "log.dst 192.0.2.1"],
        );
        check(
            &BIND,
            "named[1]: client 2001:db8::4#4000: query (cache) 'evil.zip/ANY/IN' denied",
            &["log.src 2001:db8::4:4000", "log.domain evil.zip"],
        );
        check(
            &BIND,
            "rpz: info: client @0x7f 10.0.0.4#4000 (evil.zip): rpz QNAME NXDOMAIN rewrite evil.zip via evil.zip.rpz.local",
            &["log.src 10.0.0.4:4000", "log.domain evil.zip"],
        );
        check_not(&BIND, "client 203.0.113.5 closed");
    }
}
