//! Well-formed conversations of each protocol, with invented names, as both sides speak.

use super::hello::{client_hello, dns_answer, dns_question, handshake, prefixed, records, server_flight};

/// What one side says at once.
pub struct Message {
    pub by_server: bool,
    pub bytes: Vec<u8>,
}

/// A conversation over TCP.
pub struct Conversation {
    pub name: &'static str,
    /// The target that it is a seed of.
    pub target: &'static str,
    pub port: u16,
    pub messages: Vec<Message>,
}

type Said<'a> = (bool, &'a [u8]);

const UP: bool = false;
const DOWN: bool = true;

fn conversation((target, name, port): (&'static str, &'static str, u16), said: &[Said<'_>]) -> Conversation {
    let messages =
        said.iter().map(|(by_server, bytes)| Message { by_server: *by_server, bytes: bytes.to_vec() });
    Conversation { name, target, port, messages: messages.collect() }
}

/// All of them.
pub fn all() -> Vec<Conversation> {
    let mut all = tls();
    all.extend(http());
    all.extend(http2());
    all.extend(mail());
    all.extend(others());
    all
}

fn tls() -> Vec<Conversation> {
    let hello = client_hello("www.evil.example");
    let whole = records(&hello, 16_000);
    let answer = records(&server_flight("www.evil.example"), 16_000);
    let sealed = [&[0x17, 3, 3][..], &prefixed(&[0xab; 60])].concat();
    vec![
        conversation(("tls", "hello", 443), &[(UP, &whole), (DOWN, &answer), (UP, &sealed), (DOWN, &sealed)]),
        conversation(
            ("tls", "tiny_records", 8443),
            &[(UP, &records(&hello, 30)), (DOWN, &records(&server_flight("a.evil.example"), 50))],
        ),
        conversation(("tls", "alert", 443), &[(UP, &whole), (DOWN, b"\x15\x03\x03\0\x02\x02\x28")]),
    ]
}

fn http() -> Vec<Conversation> {
    let hello = records(&client_hello("inner.evil.example"), 16_000);
    vec![
        conversation(
            ("http", "requests", 80),
            &[
                (UP, b"GET /a?b=c HTTP/1.1\r\nHost: www.evil.example\r\nUser-Agent: curl/8.9\r\nReferer: http://ref.evil.example/x\r\nX-Forwarded-For: 203.0.113.7, 10.0.0.1\r\nForwarded: for=\"[2001:db8::7]\";proto=http\r\n\r\n"),
                (DOWN, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc"),
                (UP, b"POST /up HTTP/1.1\r\nHost: www.evil.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
                (DOWN, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\nTrailer: x\r\n\r\n"),
                (UP, b"HEAD / HTTP/1.1\r\nHost: b.evil.example\r\n\r\nGET /last HTTP/1.1\r\nHost: c.evil.example\r\n\r\n"),
                (DOWN, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
            ],
        ),
        conversation(
            ("http", "gzip", 8080),
            &[
                (UP, b"GET /z HTTP/1.1\r\nHost: z.evil.example\r\nAccept-Encoding: gzip\r\n\r\n"),
                // "abc" in a stored block (RFC 1951 §3.2.4), with its CRC-32.
                (DOWN, b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 26\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\x03\0\xfc\xffabc\xc2\x41\x24\x35\x03\0\0\0"),
            ],
        ),
        conversation(
            ("http", "connect", 3128),
            &[
                (UP, b"CONNECT inner.evil.example:443 HTTP/1.1\r\nHost: inner.evil.example:443\r\n\r\n"),
                (DOWN, b"HTTP/1.1 200 Connection established\r\n\r\n"),
                (UP, &hello),
            ],
        ),
    ]
}

fn http2() -> Vec<Conversation> {
    let frame = |kind: u8, flags: u8, stream: u8, body: &[u8]| {
        [&[0][..], &prefixed(body)[..2], &[kind, flags, 0, 0, 0, stream], body].concat()
    };
    let literal = |index: u8, value: &[u8]| {
        [&[index, u8::try_from(value.len()).unwrap_or_default()][..], value].concat()
    };
    let fields = [
        vec![0x82, 0x86],
        literal(0x41, b"h2.evil.example"),
        literal(0x44, b"/path?x=1"),
        literal(0x7a, b"Mozilla/5.0 (X11)"),
        [&literal(0x40, b"x-forwarded-for")[..], &literal(0, b"203.0.113.9")[1..]].concat(),
    ]
    .concat();
    let again = [&[0x82, 0x86, 0xc1][..], &literal(0x04, b"/again")].concat();
    let (head, rest) = fields.split_at(11);
    let up = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]),
        frame(1, 1, 1, head),
        frame(9, 4, 1, rest),
        frame(1, 5, 3, &again),
    ]
    .concat();
    let down =
        [frame(4, 0, 0, &[]), frame(4, 1, 0, &[]), frame(1, 4, 1, &[0x88]), frame(0, 1, 1, b"abc")].concat();
    vec![conversation(("http2", "prior_knowledge", 8080), &[(UP, &up), (DOWN, &down)])]
}

fn mail() -> Vec<Conversation> {
    let hello = records(&client_hello("mx.evil.example"), 16_000);
    let letter: &[u8] = b"From: Mallory <mallory@evil.example>\r\nTo: =?utf-8?q?Uno?= <uno@comune.example>,\r\n due@comune.example\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b1\"\r\n\r\n--b1\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nSee http://www.evil.example/a=3Db and https://evil.example/lo=\r\nng\r\n--b1\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPGEgaHJlZj0iaHR0cDovL2V2aWwuZXhhbXBsZS9hIj54PC9hPg==\r\n--b1--\r\n.\r\n";
    vec![
        conversation(
            ("mail", "smtp", 25),
            &[
                (DOWN, b"220 mx.comune.example ESMTP\r\n"),
                (UP, b"EHLO mail.evil.example\r\n"),
                (DOWN, b"250-mx.comune.example\r\n250-PIPELINING\r\n250 SIZE 10240000\r\n"),
                (UP, b"MAIL FROM:<mallory@evil.example> SIZE=300\r\nRCPT TO:<uno@comune.example>\r\nDATA\r\n"),
                (DOWN, b"250 ok\r\n250 ok\r\n354 go ahead\r\n"),
                (UP, letter),
                (DOWN, b"250 queued\r\n"),
                (UP, b"QUIT\r\n"),
            ],
        ),
        conversation(
            ("mail", "smtp_starttls", 587),
            &[
                (DOWN, b"220 mx.comune.example ESMTP\r\n"),
                (UP, b"EHLO mail.evil.example\r\n"),
                (DOWN, b"250-mx.comune.example\r\n250 STARTTLS\r\n"),
                (UP, b"STARTTLS\r\n"),
                (DOWN, b"220 ready\r\n"),
                (UP, &hello),
            ],
        ),
        conversation(
            ("mail", "pop3", 110),
            &[
                (DOWN, b"+OK ready\r\n"),
                (UP, b"USER uno@comune.example\r\n"),
                (DOWN, b"+OK\r\n"),
                (UP, b"RETR 1\r\n"),
                (DOWN, &[b"+OK 300 octets\r\n", letter].concat()),
                (UP, b"STLS\r\n"),
                (DOWN, b"+OK begin\r\n"),
                (UP, &hello),
            ],
        ),
        conversation(
            ("mail", "imap", 143),
            &[
                (DOWN, b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n"),
                (UP, b"a1 LOGIN \"uno@comune.example\" {6}\r\n"),
                (DOWN, b"+ go on\r\n"),
                (UP, b"secret\r\na2 FETCH 1 BODY[]\r\n"),
                (DOWN, b"a1 OK\r\n* 1 FETCH (BODY[] {46}\r\nFrom: mallory@evil.example\r\n\r\nhttp://evil.example)\r\na2 OK\r\n"),
                (UP, b"a3 STARTTLS\r\n"),
                (DOWN, b"a3 OK begin\r\n"),
                (UP, &hello),
            ],
        ),
    ]
}

fn others() -> Vec<Conversation> {
    let lists: Vec<u8> = [
        "curve25519-sha256",
        "ssh-ed25519",
        "aes128-ctr",
        "aes128-ctr",
        "hmac-sha2-256",
        "hmac-sha2-256",
        "none",
        "none",
        "",
        "",
    ]
    .iter()
    .flat_map(|list| [&[0, 0][..], &prefixed(list.as_bytes())].concat())
    .collect();
    let kexinit = [&[20][..], &[5; 16], &lists, &[0; 5]].concat();
    let kexinit = [&[0, 0][..], &prefixed(&[&[4][..], &kexinit, &[0; 4]].concat())].concat();
    let up = [&b"SSH-2.0-OpenSSH_9.6\r\n"[..], &kexinit].concat();
    let wide: Vec<u8> = r"\\fs.evil.example\share".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut tree = [&b"\xfeSMB\x40\0\0\0\0\0\0\0\x03\0"[..], &[0; 50], &[9, 0, 0, 0, 72, 0]].concat();
    tree.extend(u16::try_from(wide.len()).unwrap_or_default().to_le_bytes());
    tree.extend(&wide);
    let negotiate =
        [&b"\xffSMBr\0\0\0\0\x18\x53\xc8"[..], &[0; 20], &[0, 12, 0], b"\x02NT LM 0.12\0"].concat();
    let rdp = b"\x03\0\0\x2c\x27\xe0\0\0\0\0\0Cookie: mstshash=mallory\r\n\x01\0\x08\0\x03\0\0\0";
    let question = prefixed(&dns_question("www.evil.example"));
    let answer = prefixed(&dns_answer("www.evil.example"));
    let hello = records(&handshake(1, &client_hello("ftp.evil.example")[4..]), 16_000);
    vec![
        conversation(
            ("ssh", "banners", 22),
            &[(UP, &up), (DOWN, b"SSH-2.0-dropbear_2024.85\r\n"), (DOWN, &kexinit)],
        ),
        conversation(
            ("ftp", "files", 21),
            &[
                (DOWN, b"220 ready\r\n"),
                (UP, b"USER mallory@evil.example\r\nPASS x\r\n"),
                (DOWN, b"331 password\r\n230 in\r\n"),
                (UP, b"PASV\r\nRETR /pub/payload.bin\r\nSTOR ../a b.txt\r\n"),
                (DOWN, b"227 Entering Passive Mode (203,0,113,5,200,10)\r\n150 ok\r\n226 done\r\n"),
            ],
        ),
        conversation(
            ("ftp", "auth_tls", 21),
            &[(DOWN, b"220 ready\r\n"), (UP, b"AUTH TLS\r\n"), (DOWN, b"234 go\r\n"), (UP, &hello)],
        ),
        conversation(
            ("windows", "smb", 445),
            &[(UP, &[&[0, 0][..], &prefixed(&negotiate), &[0, 0], &prefixed(&tree)].concat())],
        ),
        conversation(
            ("windows", "rdp", 3389),
            &[(UP, rdp), (DOWN, b"\x03\0\0\x13\x0e\xd0\0\0\x12\x34\0\x02\0\x08\0\x01\0\0\0")],
        ),
        conversation(
            ("dns_over_tcp", "questions", 53),
            &[(UP, &[&question[..], &question].concat()), (DOWN, &[&answer[..], &answer].concat())],
        ),
    ]
}
