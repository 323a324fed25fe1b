//! Where an observable was seen: the contract's `seen_in` names, the flow and the log line.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::text::display;

macro_rules! seen_in {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The place in a flow or a line. DESIGN's contract: names are added, none renamed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum SeenIn {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
            /// A place that a newer agent knows and this program does not.
            #[serde(other, rename = "other")]
            Other,
        }

        impl SeenIn {
            /// All that this program knows.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in JSON, in the store and on pages.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other => "other",
                }
            }
        }
    };
}

seen_in! {
    /// Source address of a flow.
    FlowSrc = "flow.src",
    /// Destination address of a flow.
    FlowDst = "flow.dst",
    /// Name asked for.
    DnsQuery = "dns.query",
    /// Name or address answered.
    DnsAnswer = "dns.answer",
    /// Name asked for by multicast DNS (RFC 6762).
    MdnsQuery = "mdns.query",
    /// Name or address announced by multicast DNS.
    MdnsAnswer = "mdns.answer",
    /// Name asked for by LLMNR (RFC 4795).
    LlmnrQuery = "llmnr.query",
    /// Name or address answered by LLMNR.
    LlmnrAnswer = "llmnr.answer",
    /// Server name in a TLS ClientHello.
    TlsSni = "tls.sni",
    /// JA3 of a TLS ClientHello.
    TlsJa3 = "tls.ja3",
    /// JA4 of a TLS ClientHello.
    TlsJa4 = "tls.ja4",
    /// Certificate sent in clear.
    TlsCert = "tls.cert",
    /// Subject alternative name of a certificate sent in clear.
    TlsCertName = "tls.cert_name",
    /// Certificate sent in clear over DTLS; those of calls are made for the call.
    DtlsCert = "dtls.cert",
    /// Subject alternative name of a certificate sent in clear over DTLS.
    DtlsCertName = "dtls.cert_name",
    /// Server name in the beginning of a TLS ClientHello whose rest was not seen.
    TlsSniCut = "tls.sni_cut",
    /// Server name in a QUIC Initial.
    QuicSni = "quic.sni",
    /// Server name in the beginning of a QUIC Initial's ClientHello whose rest was not seen.
    QuicSniCut = "quic.sni_cut",
    /// JA3 of a QUIC Initial.
    QuicJa3 = "quic.ja3",
    /// JA4 of a QUIC Initial.
    QuicJa4 = "quic.ja4",
    /// Host header or authority.
    HttpHost = "http.host",
    /// URL made of host and target.
    HttpUrl = "http.url",
    /// User-Agent header.
    HttpUserAgent = "http.user_agent",
    /// Authority of an HTTP/2 request in clear.
    Http2Host = "http2.host",
    /// URL of an HTTP/2 request in clear, made of scheme, authority and path.
    Http2Url = "http2.url",
    /// User agent of an HTTP/2 request in clear.
    Http2UserAgent = "http2.user_agent",
    /// Body of a request or response.
    HttpBody = "http.body",
    /// Referer header.
    HttpReferer = "http.referer",
    /// Address that X-Forwarded-For or Forwarded names.
    HttpForwarded = "http.forwarded",
    /// Envelope or header sender.
    SmtpFrom = "smtp.from",
    /// Envelope or header recipient.
    SmtpRcpt = "smtp.rcpt",
    /// Address that the author of a message wrote in its header.
    SmtpHeader = "smtp.header",
    /// Address in a header field that programs on the way write, such as Sender and Return-Path.
    SmtpTrace = "smtp.trace",
    /// URL in the text of a message.
    SmtpUrl = "smtp.url",
    /// Name that a mail client or server calls itself.
    SmtpHelo = "smtp.helo",
    /// File that an FTP client asks for or brings, as a URL.
    FtpUrl = "ftp.url",
    /// Version text of an SSH client or server.
    SshBanner = "ssh.banner",
    /// HASSH of an SSH client or server (MD5 of its key exchange offer).
    SshHassh = "ssh.hassh",
    /// Name of a host or domain in SMB.
    SmbName = "smb.name",
    /// Name or client text in RDP.
    RdpName = "rdp.name",
    /// Source field of a log line.
    LogSrc = "log.src",
    /// Destination field of a log line.
    LogDst = "log.dst",
    /// Translated address in a log line.
    LogNat = "log.nat",
    /// Free text of a log line.
    LogText = "log.text",
    /// URL in a log line.
    LogUrl = "log.url",
    /// Domain in a log line.
    LogDomain = "log.domain",
    /// Hash in a log line.
    LogHash = "log.hash",
    /// User agent in a log line.
    LogUserAgent = "log.user_agent",
}

/// Transport protocol of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP (RFC 9293).
    Tcp,
    /// UDP (RFC 768).
    Udp,
    /// ICMP and ICMPv6; ports are zero.
    Icmp,
    /// Any other IP protocol; ports are zero.
    #[serde(other)]
    Other,
}

/// One conversation; `src` is the party that began it, as far as the sensor saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Flow {
    /// Transport protocol.
    pub proto: Transport,
    /// Who began.
    #[serde(with = "display")]
    pub src: IpAddr,
    /// Port of who began.
    pub src_port: u16,
    /// Who was contacted.
    #[serde(with = "display")]
    pub dst: IpAddr,
    /// Port of who was contacted.
    pub dst_port: u16,
}

/// Why a flow is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowEnd {
    /// Both ends said FIN.
    Closed,
    /// One end said RST.
    Reset,
    /// Silence.
    Idle,
    /// Another connection began between the same ends.
    Replaced,
    /// The flow table was full.
    Evicted,
    /// The capture ended, or the sensor stopped.
    InputEnded,
    /// A reason that a newer agent knows and this program does not.
    #[serde(other)]
    Other,
}

/// What went over a flow so far: whole IP packets, each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Packets from the party that began.
    pub packets_out: u64,
    /// Packets to it.
    pub packets_back: u64,
    /// Bytes of IP from the party that began.
    pub bytes_out: u64,
    /// Bytes of IP to it.
    pub bytes_back: u64,
    /// Whether both ends of a TCP connection were seen to agree on it (SYN, SYN and ACK).
    pub established: bool,
    /// Why it is over; absent while it lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<FlowEnd>,
    /// First sequence number of the party that began a TCP connection, where it was seen: no translation changes it,
    /// so it tells which flows on the two sides of a gateway are one. It does not leave the sensor.
    #[serde(skip)]
    pub start: Option<u32>,
}

/// What a person who judges a sighting must know about how it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// The client offered Encrypted Client Hello: the server name may only be the outer one, of the operator
    /// that hides the real one. Browsers also send a meaningless offer, which cannot be told apart.
    EchOffered,
    /// Bytes of the stream were sent again with other contents: somebody may be deceiving sensors.
    SegmentsDiffer,
    /// Fragments of the packet overlap.
    FragmentsOverlap,
    /// The flow was seen on both sides of a translation, or only looks like it: both hits are kept.
    NatUncertain,
    /// The start of the connection was not seen: who began is a guess.
    Midstream,
    /// The party outside is hidden behind a proxy, a translation or a VPN: the address that was seen is private, of
    /// shared space (RFC 6598) or the town's own, and no origin.
    OriginMasked,
    /// A note that a newer agent knows and this program does not.
    #[serde(other)]
    Other,
}

/// A flow or a log line: what a sighting points at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Place {
    /// In traffic.
    Flow {
        /// The conversation.
        flow: Flow,
    },
    /// In a log.
    Line {
        /// Number of the line in its file since the reader began it, from 1.
        line: u64,
        /// Byte offset of the line's first byte in its file; with the input it identifies the line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
    },
}
