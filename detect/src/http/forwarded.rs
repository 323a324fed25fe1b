//! Addresses that proxies name as the party behind them: candidate origins of an inbound request.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Addresses kept of one request, the last ones that it names.
pub(crate) const ORIGINS_MAX: usize = 8;

/// Fields that hold addresses, one or several with commas. Not standard, but what proxies and content networks send.
const LISTS: [&[u8]; 5] =
    [b"x-forwarded-for", b"x-real-ip", b"true-client-ip", b"cf-connecting-ip", b"x-client-ip"];

/// The addresses of a request, each where it was named last, in the order of the fields.
pub(crate) struct Origins {
    addresses: [IpAddr; ORIGINS_MAX],
    length: usize,
}

impl Default for Origins {
    fn default() -> Self {
        Self { addresses: [IpAddr::V4(Ipv4Addr::UNSPECIFIED); ORIGINS_MAX], length: 0 }
    }
}

impl Origins {
    /// Whether a field of this name is one that names addresses.
    pub fn are_in(name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(b"forwarded") || LISTS.iter().any(|list| name.eq_ignore_ascii_case(list))
    }

    /// Takes a field, if it is one that names addresses; tells whether it is.
    pub fn note(&mut self, name: &[u8], value: &[u8]) -> bool {
        if name.eq_ignore_ascii_case(b"forwarded") {
            self.note_forwarded(value);
        } else if LISTS.iter().any(|list| name.eq_ignore_ascii_case(list)) {
            value.split(|byte| *byte == b',').for_each(|node| self.add(node));
        } else {
            return false;
        }
        true
    }

    /// Takes a value of which only this is known that it names addresses: a list, or as RFC 7239 has it.
    pub fn note_any(&mut self, value: &[u8]) {
        if value.contains(&b'=') {
            self.note_forwarded(value);
        } else {
            value.split(|byte| *byte == b',').for_each(|node| self.add(node));
        }
    }

    /// RFC 7239 §4: elements with commas, in each pairs with semicolons.
    fn note_forwarded(&mut self, value: &[u8]) {
        for pair in value.split(|byte| matches!(byte, b',' | b';')) {
            let mut sides = pair.splitn(2, |byte| *byte == b'=');
            let name = sides.next().unwrap_or_default().trim_ascii();
            if let (true, Some(node)) = (name.eq_ignore_ascii_case(b"for"), sides.next()) {
                self.add(node);
            }
        }
    }

    fn add(&mut self, node: &[u8]) {
        let Some(address) = address_of(node) else { return };
        // Proxies append: the last are those that a trusted one vouches for, and what comes first anybody may write.
        let named = self.addresses.get_mut(..self.length).unwrap_or_default();
        let known = named.iter().position(|known| *known == address);
        if let Some(again) = known.or_else(|| (named.len() == ORIGINS_MAX).then_some(0)) {
            named.get_mut(again..).unwrap_or_default().rotate_left(1);
            self.length -= 1;
        }
        if let Some(free) = self.addresses.get_mut(self.length) {
            *free = address;
            self.length += 1;
        }
    }

    pub fn as_slice(&self) -> &[IpAddr] {
        self.addresses.get(..self.length).unwrap_or_default()
    }
}

/// The address of a node (RFC 7239 §6): quoted or not, with a port or not, of IPv6 in brackets or not.
fn address_of(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node).ok()?.trim().trim_matches('"').trim();
    let text = text.strip_prefix("::ffff:").filter(|rest| rest.contains('.')).unwrap_or(text);
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some(socket.ip());
    }
    match text.strip_prefix('[') {
        Some(inside) => inside.split(']').next()?.parse().ok(),
        // A port may be hidden as `_name`.
        None => text.split_once(':').and_then(|(address, _)| address.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str, expected: &[&str]) {
        let mut origins = Origins::default();
        assert!(origins.note(name.as_bytes(), value.as_bytes()));
        let found: Vec<String> = origins.as_slice().iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{name}: {value}");
    }

    #[test]
    fn lists_of_addresses_are_read_with_ports_and_without() {
        check("X-Forwarded-For", "203.0.113.7, 198.51.100.2", &["203.0.113.7", "198.51.100.2"]);
        check(
            "x-forwarded-for",
            "203.0.113.7:4711,unknown,[2001:db8::1]:80",
            &["203.0.113.7", "2001:db8::1"],
        );
        check("X-Real-IP", "2001:DB8::1", &["2001:db8::1"]);
        check("True-Client-IP", "::ffff:203.0.113.7", &["203.0.113.7"]);
        check("X-Forwarded-For", "203.0.113.7, 203.0.113.7", &["203.0.113.7"]);
        check("X-Forwarded-For", "203.0.113.7,10.0.0.1,203.0.113.7", &["10.0.0.1", "203.0.113.7"]);
        check("X-Forwarded-For", "a.example, 203.0.113.300, ", &[]);
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_says() {
        check("Forwarded", "for=192.0.2.60;proto=http;by=203.0.113.43", &["192.0.2.60"]);
        check(
            "forwarded",
            "For=\"[2001:db8:cafe::17]:4711\", for=192.0.2.43",
            &["2001:db8:cafe::17", "192.0.2.43"],
        );
        check("Forwarded", "for=_hidden, for=unknown, for=\"192.0.2.43:_port\"", &["192.0.2.43"]);
    }

    #[test]
    fn a_request_names_so_many_addresses_at_most() {
        let many: Vec<String> = (0..100).map(|number| format!("203.0.113.{number}")).collect();
        check(
            "X-Forwarded-For",
            &many.join(","),
            &many.iter().skip(100 - ORIGINS_MAX).map(String::as_str).collect::<Vec<_>>(),
        );
    }
}
