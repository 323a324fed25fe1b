//! Invented lines of the shapes that a gateway writes most: sign-ins, firewalls, name servers, web and mail servers.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::millions::Strangers;
use crate::millions::seed::Seed;

/// Who writes a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Auth,
    Firewall,
    Dns,
    Web,
    Mail,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Auth, Self::Firewall, Self::Dns, Self::Web, Self::Mail];

    pub fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Firewall => "firewall",
            Self::Dns => "dns",
            Self::Web => "web",
            Self::Mail => "mail",
        }
    }
}

/// Addresses and names that are drawn from: as many as a town's gateway meets in a day.
const MET: usize = 20_000;
const USERS: [&str; 6] = ["root", "admin", "oracle", "mario.rossi", "www-data", "test"];
const PATHS: [&str; 6] = [
    "/",
    "/albo/pretorio.php?anno=2026",
    "/wp-login.php",
    "/img/stemma-comune.png",
    "/api/v1/pratiche/7",
    "/css/a.css",
];
const AGENTS: [&str; 3] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Mobile/15E148 Safari/604.1",
];

/// Makes lines; the same seed gives the same ones.
pub struct Lines {
    draw: Seed,
    addresses: Vec<IpAddr>,
    names: Vec<String>,
}

impl Lines {
    pub fn new(seed: u64) -> Self {
        Self {
            draw: Seed::new(seed),
            addresses: Strangers::new(seed ^ 0x11).addresses().take(MET).collect(),
            names: Strangers::new(seed ^ 0x22).names().take(MET).collect(),
        }
    }

    /// At least so many bytes of lines; of all kinds in turns, or of one.
    pub fn text(&mut self, kind: Option<Kind>, bytes: usize) -> Vec<u8> {
        let mut text = String::with_capacity(bytes + 4096);
        let mut number = 0;
        while text.len() < bytes {
            self.push(kind.unwrap_or(Kind::ALL[number % Kind::ALL.len()]), &mut text);
            number += 1;
        }
        text.into_bytes()
    }

    /// Appends one line.
    pub fn push(&mut self, kind: Kind, text: &mut String) {
        let time = format!(
            "Nov {:02} {:02}:{:02}:{:02}",
            self.draw.between(1, 30),
            self.draw.between(0, 24),
            self.draw.between(0, 60),
            self.draw.between(0, 60)
        );
        match kind {
            Kind::Auth => self.auth(&time, text),
            Kind::Firewall => self.firewall(&time, text),
            Kind::Dns => self.dns(&time, text),
            Kind::Web => self.web(text),
            Kind::Mail => self.mail(&time, text),
        }
        .unwrap();
        text.push('\n');
    }

    fn address(&mut self) -> IpAddr {
        *self.draw.pick(&self.addresses).unwrap()
    }

    fn name(&mut self) -> String {
        self.draw.pick(&self.names).unwrap().clone()
    }

    /// A host of the town.
    fn host(&mut self) -> String {
        format!("10.{}.{}.{}", self.draw.between(0, 4), self.draw.between(0, 256), self.draw.between(1, 255))
    }

    fn auth(&mut self, time: &str, text: &mut String) -> std::fmt::Result {
        let (user, address) = (*self.draw.pick(&USERS).unwrap(), self.address());
        let (process, port) = (self.draw.between(300, 90_000), self.draw.port());
        match self.draw.between(0, 4) {
            0 => write!(text, "{time} gw01 sshd[{process}]: Invalid user {user} from {address} port {port}"),
            1 => write!(
                text,
                "{time} gw01 sshd[{process}]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={address}  user={user}"
            ),
            2 => write!(
                text,
                "{time} gw01 sshd[{process}]: Connection closed by authenticating user {user} {address} port {port} [preauth]"
            ),
            _ => write!(
                text,
                "{time} gw01 sshd[{process}]: Failed password for invalid user {user} from {address} port {port} ssh2"
            ),
        }
    }

    fn firewall(&mut self, time: &str, text: &mut String) -> std::fmt::Result {
        let (inside, outside, other) = (self.host(), self.address(), self.address());
        let (port, bytes) = (self.draw.port(), self.draw.between(60, 90_000));
        let session = self.draw.between(1_000_000, 90_000_000);
        if self.draw.between(0, 2) == 0 {
            return write!(
                text,
                "{time} gw01 kernel: [{}.{session:06}] [UFW BLOCK] IN=eth0 OUT= MAC=02:00:5e:10:00:01:02:00:5e:20:00:02:08:00 SRC={outside} DST={inside} LEN=40 TOS=0x00 PREC=0x00 TTL=245 ID={} PROTO=TCP SPT={port} DPT={} WINDOW=1024 RES=0x00 SYN URGP=0",
                session / 7,
                bytes % 65_536,
                bytes % 1024
            );
        }
        write!(
            text,
            "date=2026-11-22 time=10:00:{:02} devname=\"FG-COMUNE\" devid=\"FG100FEXAMPLE01\" eventtime=17637{session} tz=\"+0100\" logid=\"0000000013\" type=\"traffic\" subtype=\"forward\" level=\"notice\" vd=\"root\" srcip={inside} srcport={port} srcintf=\"lan\" srcintfrole=\"lan\" dstip={outside} dstport=443 dstintf=\"wan1\" dstintfrole=\"wan\" srccountry=\"Reserved\" dstcountry=\"Italy\" sessionid={session} proto=6 action=\"close\" policyid=7 policytype=\"policy\" poluuid=\"7f0c1f26-4a6e-51ef-9c1b-0a5e6d2f8b11\" service=\"HTTPS\" trandisp=\"snat\" transip={other} transport={port} duration=120 sentbyte={bytes} rcvdbyte={session} sentpkt=30 rcvdpkt=41 appcat=\"unscanned\"",
            bytes % 60
        )
    }

    fn dns(&mut self, time: &str, text: &mut String) -> std::fmt::Result {
        let (name, inside, outside, process) =
            (self.name(), self.host(), self.address(), self.draw.between(300, 9_000));
        match self.draw.between(0, 4) {
            0 => write!(text, "{time} gw01 dnsmasq[{process}]: query[A] www.{name} from {inside}"),
            1 => write!(text, "{time} gw01 dnsmasq[{process}]: forwarded {name} to 10.0.0.1"),
            2 => write!(text, "{time} gw01 dnsmasq[{process}]: reply {name} is {outside}"),
            _ => write!(
                text,
                "{time} gw01 unbound: [{process}:0] info: {inside} {name}. A IN NOERROR 0.012 0 71"
            ),
        }
    }

    fn web(&mut self, text: &mut String) -> std::fmt::Result {
        let (address, name) = (self.address(), self.name());
        let (path, agent) = (*self.draw.pick(&PATHS).unwrap(), *self.draw.pick(&AGENTS).unwrap());
        let (second, bytes) = (self.draw.between(0, 60), self.draw.between(200, 90_000));
        write!(
            text,
            "{address} - - [22/Nov/2026:10:00:{second:02} +0100] \"GET {path} HTTP/1.1\" 200 {bytes} \"https://{name}/uffici/{bytes}/?q=orari\" \"{agent}\""
        )
    }

    fn mail(&mut self, time: &str, text: &mut String) -> std::fmt::Result {
        let (address, name, queue) = (self.address(), self.name(), self.draw.number() & 0xff_ffff_ffff);
        let (process, user) = (self.draw.between(300, 90_000), *self.draw.pick(&USERS).unwrap());
        match self.draw.between(0, 4) {
            0 => write!(text, "{time} gw01 postfix/smtpd[{process}]: connect from mail.{name}[{address}]"),
            1 => write!(
                text,
                "{time} gw01 postfix/qmgr[{process}]: {queue:010X}: from=<{user}@{name}>, size={process}, nrcpt=1 (queue active)"
            ),
            2 => write!(
                text,
                "{time} gw01 postfix/smtp[{process}]: {queue:010X}: to=<{user}@{name}>, relay=mx1.{name}[{address}]:25, delay=1.2, delays=0.1/0.01/0.5/0.59, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as {queue:010X})"
            ),
            _ => write!(
                text,
                "{time} gw01 postfix/smtpd[{process}]: NOQUEUE: reject: RCPT from unknown[{address}]: 554 5.7.1 <{user}@{name}>: Relay access denied; from=<info@{name}> to=<{user}@{name}> proto=ESMTP helo=<mail.{name}>"
            ),
        }
    }
}
