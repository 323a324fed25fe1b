//! Servers that people and machines log in to: SSH, FTP and OpenVPN, and Fail2ban, which watches them.

use memchr::memmem;

use super::Format;
use crate::line::header::Logged;
use crate::line::reading::{Field, Reading};
use crate::line::{cut, words};

pub(super) const SSH: Format = Format { name: "ssh", read: read_ssh };
pub(super) const FTP: Format = Format { name: "ftp", read: read_ftp };
pub(super) const OPENVPN: Format = Format { name: "openvpn", read: read_openvpn };
pub(super) const FAIL2BAN: Format = Format { name: "fail2ban", read: read_fail2ban };

fn read_ssh<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    if !super::is_of(logged, b"sshd") && !super::is_of(logged, b"dropbear") {
        return false;
    }
    let message = logged.message;
    // Names of users are the client's to choose, and so is what it says when it leaves: they stand before the
    // address, and behind it.
    let leaves =
        [&b"isconnect from "[..], b"isconnected from "].iter().find_map(|mark| cut::after(message, mark));
    let from = || memmem::rfind(message, b" from ").and_then(|at| message.get(at + 6..));
    let Some(mut rest) = leaves.or_else(from) else {
        return take_before_port(message, reading);
    };
    while let Some(after) = [&b"authenticating user "[..], b"invalid user ", b"user "]
        .iter()
        .find_map(|word| rest.strip_prefix(*word))
    {
        let at = memmem::find(after, b" port ")
            .and_then(|end| after.get(..end))
            .map_or(0, |text| memchr::memrchr(b' ', text).map_or(0, |at| at + 1));
        rest = after.get(at..).unwrap_or_default();
    }
    let (word, rest) = cut::word(rest);
    let address = word.strip_suffix(b":").unwrap_or(word);
    if !words::is_address(address) {
        return false;
    }
    reading.take(Field::Src, address);
    if let Some(port) = rest.strip_prefix(b"port ") {
        let digits = port.iter().take_while(|byte| byte.is_ascii_digit()).count();
        reading.take(Field::SrcPort, port.get(..digits).unwrap_or_default());
    }
    true
}

/// `Connection closed by 203.0.113.5 port 4000`
fn take_before_port<'a>(message: &'a [u8], reading: &mut Reading<'a>) -> bool {
    let Some(at) = memmem::rfind(message, b" port ") else { return false };
    let (before, after) = message.split_at_checked(at).unwrap_or_default();
    let address = cut::at_last(before, b' ').map_or(before, |(_, word)| word);
    let port = after.get(6..).unwrap_or_default();
    let digits = port.iter().take_while(|byte| byte.is_ascii_digit()).count();
    reading.take(Field::Src, address);
    reading.take(Field::SrcPort, port.get(..digits).unwrap_or_default());
    words::is_address(address)
}

/// vsftpd: `Client "203.0.113.5"`; ProFTPD: `gw.example (a.example[203.0.113.5]): … to 192.0.2.9:21`
fn read_ftp<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    if let Some(client) = cut::between(logged.message, b": Client \"", b"\"") {
        reading.take(Field::Src, client);
        return words::is_address(client);
    }
    if !super::is_of(logged, b"proftpd") {
        return false;
    }
    let in_brackets =
        cut::between(logged.message, b" (", b")").and_then(|text| cut::between(text, b"[", b"]"));
    let Some(client) = in_brackets else { return false };
    reading.take(Field::Src, client);
    if let Some((server, port)) =
        cut::between(logged.message, b"] to ", b" ").and_then(|end| cut::at_last(end, b':'))
    {
        reading.take(Field::Dst, server);
        reading.take(Field::DstPort, port);
    }
    words::is_address(client)
}

/// `user/203.0.113.5:4000 TLS: …`, `[AF_INET6]2001:db8::5:4000`
fn read_openvpn<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    if let Some(end) =
        [&b"[AF_INET6]"[..], b"[AF_INET]"].iter().find_map(|mark| cut::between(logged.message, mark, b" ,"))
    {
        return take_peer(end, reading);
    }
    if !super::is_of(logged, b"openvpn") {
        return false;
    }
    let mut words = logged.message.split(|byte| *byte == b' ').take(8);
    words.any(|word| take_peer(cut::at_last(word, b'/').map_or(word, |(_, peer)| peer), reading))
}

fn take_peer<'a>(end: &'a [u8], reading: &mut Reading<'a>) -> bool {
    let Some((address, port)) = cut::at_last(end, b':') else { return false };
    if !words::is_address(address) || !cut::is_number(port) {
        return false;
    }
    reading.take(Field::Src, address);
    reading.take(Field::SrcPort, port);
    true
}

/// `fail2ban.actions [1]: NOTICE [sshd] Ban 203.0.113.5`
fn read_fail2ban<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    if !super::is_of(logged, b"fail2ban") {
        return false;
    }
    let marks = [&b" Ban "[..], b" Unban ", b" Found ", b" Ignore "];
    let Some(rest) = marks.iter().find_map(|mark| cut::after(logged.message, mark)) else { return false };
    let address = cut::word(rest).0;
    reading.take(Field::Src, address);
    if let Some(at) = memmem::find(logged.message, b"fail2ban.") {
        reading.take(Field::Nothing, cut::word(logged.message.get(at..).unwrap_or_default()).0);
    }
    words::is_address(address)
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;

    #[test]
    fn ssh() {
        let expected = ["log.src 203.0.113.5:4000"];
        for text in [
            "Failed password for root from 203.0.113.5 port 4000 ssh2",
            "Disconnected from authenticating user root 203.0.113.5 port 4000 [preauth]",
            "Disconnected from invalid user x y 203.0.113.5 port 4000 [preauth]",
            "Connection closed by 203.0.113.5 port 4000",
            "Received disconnect from 203.0.113.5 port 4000:11: bye",
        ] {
            for header in
                ["Nov 22 10:00:00 gw sshd[1]: ", "<38>1 2026-11-22T10:00:00Z gw sshd-session 1 - - "]
            {
                check(&SSH, &format!("{header}{text}"), &expected);
            }
        }
        check(
            &SSH,
            "gw sshd[1]: Invalid user a from 198.51.100.1 from 203.0.113.5 port 4000",
            &["log.src 198.51.100.1", "log.src 203.0.113.5:4000"],
        );
        check(&SSH, "gw dropbear[1]: bad password attempt for 'root' from 203.0.113.5:4000", &expected);
        check_not(&SSH, "gw other[1]: login from 203.0.113.5 port 4000");
        check_not(&SSH, "gw sshd[1]: Server listening");
    }

    #[test]
    fn ftp() {
        check(
            &FTP,
            "Sun Nov 22 10:00:00 2026 [pid 1] [bob] FAIL LOGIN: Client \"::ffff:203.0.113.5\"",
            &["log.src 203.0.113.5"],
        );
        check(
            &FTP,
            "Nov 22 10:00:00 gw proftpd[1] gw.example (a.example[203.0.113.5]): USER x: no such user from a.example [203.0.113.5] to 192.0.2.9:21",
            &[
                "log.domain gw.example",
                "log.domain a.example",
                "log.src 203.0.113.5",
                "log.text 203.0.113.5",
                "log.dst 192.0.2.9:21",
            ],
        );
        check_not(&FTP, "x: Client \"abc\"");
    }

    #[test]
    fn openvpn() {
        check(
            &OPENVPN,
            "Nov 22 10:00:00 gw openvpn[1]: bob/203.0.113.5:4000 TLS Error",
            &["log.src 203.0.113.5:4000"],
        );
        check(
            &OPENVPN,
            "ovpn: Peer Connection Initiated with [AF_INET6]2001:db8::5:4000",
            &["log.src 2001:db8::5:4000"],
        );
        check_not(&OPENVPN, "gw openvpn[1]: started");
    }

    #[test]
    fn fail2ban() {
        check(
            &FAIL2BAN,
            "2026-11-22 10:00:00,388 fail2ban.actions [1]: NOTICE [sshd] Ban 203.0.113.5",
            &["log.src 203.0.113.5"],
        );
        check_not(&FAIL2BAN, "fail2ban.jail [1]: INFO Jail started");
    }
}
