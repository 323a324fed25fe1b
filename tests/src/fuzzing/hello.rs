//! Handshake messages small enough for seeds: hellos, certificates in clear, and DNS messages beside them.

/// A ClientHello message.
pub fn client_hello(name: &str) -> Vec<u8> {
    let server_name = [&[0][..], &prefixed(name.as_bytes())].concat();
    let key_share = [&[0, 29][..], &prefixed(&[7; 32])].concat();
    let extensions = [
        extension(0x0a0a, &[]),
        extension(0, &prefixed(&server_name)),
        extension(43, &[4, 3, 4, 3, 3]),
        extension(10, &[0, 4, 0x11, 0xec, 0, 29]),
        extension(11, &[1, 0]),
        extension(13, &[0, 6, 4, 3, 8, 4, 4, 1]),
        extension(16, &prefixed(b"\x02h2\x08http/1.1")),
        extension(51, &prefixed(&key_share)),
    ];
    let mut body = vec![3, 3];
    body.extend([9; 32]);
    body.extend([4, 1, 2, 3, 4]);
    body.extend([0, 6, 0x13, 1, 0x13, 2, 0xc0, 0x2b, 1, 0]);
    body.extend(prefixed(&extensions.concat()));
    handshake(1, &body)
}

/// What a TLS 1.2 server answers: hello, certificate, done.
pub fn server_flight(name: &str) -> Vec<u8> {
    let mut hello = vec![3, 3];
    hello.extend([8; 32]);
    hello.extend([0, 0xc0, 0x2b, 0]);
    hello.extend(prefixed(&extension(16, &prefixed(b"\x02h2"))));
    let certificate = certificate(name);
    let list = long_prefixed(&long_prefixed(&certificate));
    [handshake(2, &hello), handshake(11, &list), handshake(14, &[])].concat()
}

/// A handshake message behind its kind and length.
pub fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &long_prefixed(body)].concat()
}

/// Handshake bytes in records of at most so many bytes.
pub fn records(handshake: &[u8], fragment_max: usize) -> Vec<u8> {
    let record = |fragment: &[u8]| [&[0x16, 3, 1][..], &prefixed(fragment)].concat();
    handshake.chunks(fragment_max.max(1)).flat_map(record).collect()
}

/// A ClientHello of DTLS 1.2 in one record (RFC 6347 §4.2).
pub fn dtls_hello(name: &str) -> Vec<u8> {
    let hello = client_hello(name);
    let body = hello.get(4..).unwrap_or_default();
    let (before, after) = body.split_at(34 + 5);
    let body = [before, &[0], after].concat(); // an empty cookie
    let length = long_prefixed(&body);
    let length = length.get(..3).unwrap_or_default();
    let message = [&[1], length, &[0, 0, 0, 0, 0], length, &body].concat();
    [&[0x16, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0][..], &prefixed(&message)].concat()
}

/// A certificate as far as a reader of names needs it (RFC 5280 §4.1), signed by nobody.
fn certificate(name: &str) -> Vec<u8> {
    let algorithm = der(0x30, &der(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]));
    let named = der(0x31, &der(0x30, &[der(6, &[0x55, 4, 3]), der(12, name.as_bytes())].concat()));
    let validity = der(0x30, &[der(23, b"260101000000Z"), der(23, b"270101000000Z")].concat());
    let key = der(0x30, &[algorithm.clone(), der(3, &[0, 4, 1, 2, 3])].concat());
    let names = der(0x30, &[der(0x82, name.as_bytes()), der(0x87, &[203, 0, 113, 9])].concat());
    let alternative = der(0x30, &[der(6, &[0x55, 0x1d, 0x11]), der(4, &names)].concat());
    let signed = [
        der(0xa0, &der(2, &[2])),
        der(2, &[1]),
        algorithm.clone(),
        der(0x30, &named),
        validity,
        der(0x30, &named),
        key,
        der(0xa3, &der(0x30, &alternative)),
    ];
    der(0x30, &[der(0x30, &signed.concat()), algorithm, der(3, &[0, 1, 2, 3])].concat())
}

fn der(tag: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
    let length = match body.len() {
        0..0x80 => vec![low],
        0x80..0x100 => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag][..], &length, body].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &prefixed(body)].concat()
}

/// Bytes behind their length in 16 bits.
pub fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

/// Bytes behind their length in 24 bits.
fn long_prefixed(bytes: &[u8]) -> Vec<u8> {
    let [_, high, mid, low] = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[high, mid, low][..], bytes].concat()
}

/// A DNS question.
pub fn dns_question(name: &str) -> Vec<u8> {
    [&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &wire_name(name), &[0, 1, 0, 1]].concat()
}

/// Its answer: an alias, addresses of both families, a mail server, a service with hints (RFC 9460).
pub fn dns_answer(name: &str) -> Vec<u8> {
    let mut message = dns_question(name);
    message[2] = 0x81;
    message[7] = 6;
    let record = |kind: u16, data: &[u8]| {
        [&[0xc0, 12][..], &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &prefixed(data)].concat()
    };
    let v6 = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
    message.extend(record(5, &wire_name("cdn.evil.example")));
    message.extend(record(1, &[203, 0, 113, 5]));
    message.extend(record(28, &v6));
    message.extend(record(15, &[&[0, 10][..], &wire_name("mx.evil.example")].concat()));
    message.extend(record(33, &[&[0, 1, 0, 1, 1, 0xbb][..], &wire_name("srv.evil.example")].concat()));
    let hints =
        [&[0, 1][..], &wire_name("svc.evil.example"), &[0, 4, 0, 4, 203, 0, 113, 6, 0, 6, 0, 16], &v6];
    message.extend(record(65, &hints.concat()));
    message
}

fn wire_name(name: &str) -> Vec<u8> {
    let label = |label: &str| [&[u8::try_from(label.len()).unwrap_or_default()], label.as_bytes()].concat();
    name.split('.').flat_map(label).chain([0]).collect()
}
