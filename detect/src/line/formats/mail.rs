//! Mail servers: Postfix, Exim, Dovecot.

use memchr::memmem;

use super::Format;
use crate::line::header::Logged;
use crate::line::reading::{Field, Reading};
use crate::line::{cut, words};

pub(super) const POSTFIX: Format = Format { name: "postfix", read: read_postfix };
pub(super) const EXIM: Format = Format { name: "exim", read: read_exim };
pub(super) const DOVECOT: Format = Format { name: "dovecot", read: read_dovecot };

const SRC: [Field; 2] = [Field::Src, Field::SrcPort];
const DST: [Field; 2] = [Field::Dst, Field::DstPort];

fn read_postfix<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    if !super::is_of(logged, b"postfix") {
        return false;
    }
    let message = logged.message;
    if let Some(relay) = cut::after(message, b" relay=") {
        take_host(relay, DST, reading);
    } else {
        let marks = [&b"client="[..], b"onnect from ", b"CONNECT from ", b" from ", b"warning: "];
        let taken = marks
            .iter()
            .filter_map(|mark| cut::after(message, mark))
            .any(|text| take_host(text, SRC, reading));
        if let Some(service) =
            cut::after(message, b"] to [").or_else(|| cut::after(message, b" to [")).filter(|_| taken)
        {
            take_bracketed(service, DST, reading);
        }
    }
    for (mark, field) in
        [(&b" from=<"[..], Field::Email), (b" to=<", Field::Email), (b" helo=<", Field::Domain)]
    {
        if let Some(text) = cut::between(message, mark, b">") {
            reading.take(field, text);
        }
    }
    true
}

/// `name[203.0.113.5]:4000` at the beginning of a text.
fn take_host<'a>(text: &'a [u8], fields: [Field; 2], reading: &mut Reading<'a>) -> bool {
    let name = cut::until(text, b"[ ,;:<");
    let Some(rest) = text.get(name.len()..).and_then(|rest| rest.strip_prefix(b"[")) else { return false };
    if !take_bracketed(rest, fields, reading) {
        return false;
    }
    if name != b"unknown" {
        reading.take(Field::Domain, name);
    }
    true
}

/// `203.0.113.5]:4000`
fn take_bracketed<'a>(
    text: &'a [u8],
    [address_field, port_field]: [Field; 2],
    reading: &mut Reading<'a>,
) -> bool {
    let inside = cut::until(text, b"] ");
    let address = inside.strip_prefix(b"IPv6:").unwrap_or(inside);
    if !words::is_address(address) {
        return false;
    }
    reading.take(address_field, address);
    if let Some(port) = text.get(inside.len()..).and_then(|rest| rest.strip_prefix(b"]:")) {
        let digits = port.iter().take_while(|byte| byte.is_ascii_digit()).count();
        reading.take(port_field, port.get(..digits).unwrap_or_default());
    }
    true
}

/// `ID <= a@b.example H=name (helo) [203.0.113.5]:4000 I=[192.0.2.9]:25 P=esmtp`
fn read_exim<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let message = logged.message;
    if let Some(host) = cut::after(message, b" H=") {
        let is_mail = [&b" <= "[..], b" => ", b" -> ", b" == ", b" ** ", b" rejected ", b" F=<", b" SMTP "]
            .iter()
            .any(|mark| memmem::find(message, mark).is_some());
        let sends = [&b" => "[..], b" -> ", b" == ", b" ** "]
            .iter()
            .any(|mark| memmem::find(message, mark).is_some());
        let Some(bracketed) = after_name(host) else { return false };
        let is_taken = is_mail && take_bracketed(bracketed, if sends { DST } else { SRC }, reading);
        if let Some(interface) = cut::after(message, b" I=[").filter(|_| is_taken && !sends) {
            take_bracketed(interface, DST, reading);
        }
        return is_taken;
    }
    let Some(who) = cut::after(message, b" authenticator failed for ") else { return false };
    after_name(who).is_some_and(|bracketed| take_bracketed(bracketed, SRC, reading))
}

/// What the client calls itself, which may be an address in brackets, stands in parentheses before its own.
fn after_name(host: &[u8]) -> Option<&[u8]> {
    match host.strip_prefix(b"[") {
        Some(inside) => Some(inside),
        None => cut::after(host, b" ["),
    }
}

fn read_dovecot<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let Some(src) = cut::between(logged.message, b"rip=", b", )") else { return false };
    if memmem::find(logged.message, b"lip=").is_none() && !super::is_of(logged, b"dovecot") {
        return false;
    }
    reading.take(Field::Src, src);
    for (mark, field) in [
        (&b"lip="[..], Field::Dst),
        (b"rport=", Field::SrcPort),
        (b"lport=", Field::DstPort),
        (b"user=<", Field::User),
    ] {
        if let Some(text) = cut::between(logged.message, mark, b", )>") {
            reading.take(field, text);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;

    #[test]
    fn postfix() {
        for header in
            ["Nov 22 10:00:00 mx postfix/smtpd[1]: ", "<22>1 2026-11-22T10:00:00Z mx postfix/smtpd 1 - - "]
        {
            check(
                &POSTFIX,
                &format!(
                    "{header}NOQUEUE: reject: RCPT from a.example[203.0.113.5]:4000: 554 5.7.1 <b@b.example>: Relay access denied; from=<m@evil.example> to=<b@b.example> proto=ESMTP helo=<evil.sh>"
                ),
                &[
                    "log.src 203.0.113.5:4000",
                    "log.domain a.example",
                    "log.text m@evil.example",
                    "log.text b@b.example",
                    "log.domain evil.sh",
                ],
            );
            check(&POSTFIX, &format!("{header}A1: client=unknown[2001:db8::5]"), &["log.src 2001:db8::5"]);
            check(
                &POSTFIX,
                &format!("{header}warning: unknown[203.0.113.5]: SASL LOGIN failed"),
                &["log.src 203.0.113.5"],
            );
        }
        check(
            &POSTFIX,
            "postfix/postscreen[1]: CONNECT from [203.0.113.5]:4000 to [192.0.2.9]:25",
            &["log.src 203.0.113.5:4000", "log.dst 192.0.2.9:25"],
        );
        check(
            &POSTFIX,
            "postfix/smtp[1]: A1: to=<b@b.example>, relay=mx.b.example[203.0.113.5]:25, delay=1, status=sent (250 ok from x[198.51.100.1])",
            &[
                "log.text b@b.example",
                "log.domain mx.b.example",
                "log.dst 203.0.113.5:25",
                "log.text 198.51.100.1",
            ],
        );
    }

    #[test]
    fn exim() {
        check(
            &EXIM,
            "2026-11-22 10:00:00 1Ai79e-0000Dq-8i <= m@evil.example H=(helo.example) [203.0.113.5]:4000 I=[192.0.2.9]:25 P=esmtp S=5",
            &[
                "log.text m@evil.example",
                "log.domain helo.example",
                "log.src 203.0.113.5:4000",
                "log.dst 192.0.2.9:25",
            ],
        );
        check(
            &EXIM,
            "2026-11-22 10:00:00 1Ai79e-0000Dq-8i => b@b.example R=dnslookup T=smtp H=mx.b.example [203.0.113.5]",
            &["log.text b@b.example", "log.domain mx.b.example", "log.dst 203.0.113.5"],
        );
        check(
            &EXIM,
            "2026-11-22 10:00:00 login authenticator failed for ([198.51.100.1]) [203.0.113.5]:4000: 535 Incorrect (set_id=a@b.example)",
            &["log.text 198.51.100.1", "log.src 203.0.113.5:4000", "log.text a@b.example"],
        );
        check_not(&EXIM, "PATH H=5 [203.0.113.5]");
    }

    #[test]
    fn dovecot() {
        check(
            &DOVECOT,
            "Nov 22 10:00:00 mx dovecot: imap-login: Disconnected (auth failed, 1 attempts): user=<a@b.example>, method=PLAIN, rip=203.0.113.5, rport=4000, lip=192.0.2.9, lport=993, TLS, session=<x>",
            &["log.text a@b.example", "log.src 203.0.113.5:4000", "log.dst 192.0.2.9:993"],
        );
        check_not(&DOVECOT, "grip=5");
    }
}
