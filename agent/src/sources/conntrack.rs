//! Asks the kernel's connection tracking for one conversation, by netlink. The messages are few and small enough to
//! be written here; nothing is subscribed to and nothing is kept.

use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use detect::Tracked;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use protocol::{Flow, Transport};

/// The kernel answers within the call; this only keeps a broken one from stopping the hits.
const PATIENCE_MILLISECONDS: i64 = 200;
/// Answers to earlier questions that are passed over.
const STALE_MAX: usize = 8;

// linux/netlink.h
const HEADER_BYTES: usize = 16;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLA_F_NESTED: u16 = 1 << 15;
const NLA_TYPE_MASK: u16 = 0x3fff;
// linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h
const NFGENMSG_BYTES: usize = 4;
const CTNETLINK_NEW: u16 = 1 << 8;
const CTNETLINK_GET: u16 = 1 << 8 | 1;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
// RFC 9293, RFC 768
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Why connection tracking cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The process may not.
    #[error(
        "no permission: start the agent by its unit (systemctl start vedetta-agent), or give the program the right once: setcap cap_net_raw,cap_net_admin+ep /usr/bin/vedetta-agent"
    )]
    Permission,
    /// The kernel has no such module, or it is not loaded.
    #[error("the kernel does not offer it: modprobe nf_conntrack_netlink")]
    Module,
    /// Anything else.
    #[error("the kernel says: {0}")]
    Other(Errno),
}

impl From<Errno> for Unavailable {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EPERM | Errno::EACCES => Self::Permission,
            // nfnetlink answers EINVAL when nobody has registered for connection tracking.
            Errno::EINVAL | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP => Self::Module,
            other => Self::Other(other),
        }
    }
}

/// An open way to the kernel's connection tracking.
#[derive(Debug)]
pub struct Conntrack {
    socket: OwnedFd,
    sequence: u32,
}

impl Conntrack {
    /// Opens it and asks for a conversation that nobody has, to learn whether it answers.
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub fn open() -> Result<Self, Unavailable> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::milliseconds(PATIENCE_MILLISECONDS))?;
        let mut opened = Self { socket, sequence: 0 };
        let nobody = IpAddr::from([0, 0, 0, 0]);
        let flow = Flow { proto: Transport::Udp, src: nobody, src_port: 0, dst: nobody, dst_port: 0 };
        opened.ask(&flow)?;
        Ok(opened)
    }

    /// The conversation that a flow is part of: from either end, on either side of a translation. Nothing when it is
    /// not known, and for protocols whose flows have no ports.
    ///
    /// # Errors
    /// When it cannot be asked any more.
    pub fn ask(&mut self, flow: &Flow) -> Result<Option<Tracked>, Unavailable> {
        // Entries are found by what either party sends.
        let back =
            Flow { src: flow.dst, src_port: flow.dst_port, dst: flow.src, dst_port: flow.src_port, ..*flow };
        match self.ask_for(flow)? {
            Some(tracked) => Ok(Some(tracked)),
            None => self.ask_for(&back),
        }
    }

    fn ask_for(&mut self, flow: &Flow) -> Result<Option<Tracked>, Unavailable> {
        self.sequence = self.sequence.wrapping_add(1);
        let Some(question) = question(flow, self.sequence) else { return Ok(None) };
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.socket.as_raw_fd(), &question, &kernel, MsgFlags::empty())?;
        let mut answer = [0; 4096];
        for _ in 0..STALE_MAX {
            let length = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
            let answer = answer.get(..length).unwrap_or_default();
            if sequence_of(answer) == Some(self.sequence) {
                return tracked(answer);
            }
        }
        Err(Unavailable::Other(Errno::EBADMSG))
    }
}

/// `IPCTNL_MSG_CT_GET` for one tuple.
fn question(flow: &Flow, sequence: u32) -> Option<Vec<u8>> {
    let number = match flow.proto {
        Transport::Tcp => TCP,
        Transport::Udp => UDP,
        _ => return None,
    };
    let (family, ends) = match (flow.src, flow.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => (
            libc_family(AddressFamily::Inet),
            [attribute(CTA_IP_V4_SRC, &src.octets()), attribute(CTA_IP_V4_DST, &dst.octets())].concat(),
        ),
        (IpAddr::V6(src), IpAddr::V6(dst)) => (
            libc_family(AddressFamily::Inet6),
            [attribute(CTA_IP_V6_SRC, &src.octets()), attribute(CTA_IP_V6_DST, &dst.octets())].concat(),
        ),
        _ => return None,
    };
    let ports = [
        attribute(CTA_PROTO_NUM, &[number]),
        attribute(CTA_PROTO_SRC_PORT, &flow.src_port.to_be_bytes()),
        attribute(CTA_PROTO_DST_PORT, &flow.dst_port.to_be_bytes()),
    ];
    let tuple = [
        attribute(CTA_TUPLE_IP | NLA_F_NESTED, &ends),
        attribute(CTA_TUPLE_PROTO | NLA_F_NESTED, &ports.concat()),
    ];
    let body = [vec![family?, 0, 0, 0], attribute(CTA_TUPLE_ORIG | NLA_F_NESTED, &tuple.concat())].concat();
    let mut message = u32::try_from(HEADER_BYTES + body.len()).ok()?.to_ne_bytes().to_vec();
    message.extend(CTNETLINK_GET.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes()); // the kernel fills in whose socket it is
    message.extend(body);
    Some(message)
}

fn libc_family(family: AddressFamily) -> Option<u8> {
    u8::try_from(family as i32).ok()
}

/// Length and type in the machine's order, value, padded to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn sequence_of(message: &[u8]) -> Option<u32> {
    message.get(8..12)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// The first message of an answer.
fn tracked(message: &[u8]) -> Result<Option<Tracked>, Unavailable> {
    let malformed = || Unavailable::Other(Errno::EBADMSG);
    let kind = message.get(4..6).and_then(<[u8]>::first_chunk).map(|bytes| u16::from_ne_bytes(*bytes));
    let length = message.first_chunk().and_then(|bytes| usize::try_from(u32::from_ne_bytes(*bytes)).ok());
    let body = length.and_then(|length| message.get(HEADER_BYTES..length)).ok_or_else(malformed)?;
    match kind {
        Some(NLMSG_ERROR) => {
            let code = body.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or_else(malformed)?;
            match Errno::from_raw(code.saturating_neg()) {
                Errno::ENOENT => Ok(None),
                errno => Err(errno.into()),
            }
        }
        Some(CTNETLINK_NEW) => {
            let attributes = body.get(NFGENMSG_BYTES..).ok_or_else(malformed)?;
            let tuple = |kind| find(attributes, kind).and_then(flow_of);
            Ok(tuple(CTA_TUPLE_ORIG)
                .zip(tuple(CTA_TUPLE_REPLY))
                .map(|(original, reply)| Tracked { original, reply }))
        }
        _ => Err(malformed()),
    }
}

/// The value of the first attribute of a type.
fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let (length, rest) = attributes.split_first_chunk()?;
        let found = rest.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes) & NLA_TYPE_MASK)?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let value = attributes.get(4..length)?;
        if found == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn flow_of(tuple: &[u8]) -> Option<Flow> {
    let (ends, ports) = (find(tuple, CTA_TUPLE_IP)?, find(tuple, CTA_TUPLE_PROTO)?);
    let address = |v4, v6| match find(ends, v4) {
        Some(bytes) => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        None => <[u8; 16]>::try_from(find(ends, v6)?).ok().map(IpAddr::from),
    };
    let port = |kind| find(ports, kind)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
    let proto = match find(ports, CTA_PROTO_NUM)? {
        [TCP] => Transport::Tcp,
        [UDP] => Transport::Udp,
        _ => return None,
    };
    Some(Flow {
        proto,
        src: address(CTA_IP_V4_SRC, CTA_IP_V6_SRC)?,
        src_port: port(CTA_PROTO_SRC_PORT)?,
        dst: address(CTA_IP_V4_DST, CTA_IP_V6_DST)?,
        dst_port: port(CTA_PROTO_DST_PORT)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(src: &str, dst: &str) -> Flow {
        let end = |text: &str| text.parse::<std::net::SocketAddr>().unwrap();
        let (src, dst) = (end(src), end(dst));
        Flow {
            proto: Transport::Tcp,
            src: src.ip(),
            src_port: src.port(),
            dst: dst.ip(),
            dst_port: dst.port(),
        }
    }

    /// An entry as the kernel sends it: the same tuple attribute as in a question, twice, and others between.
    fn entry(original: &Flow, reply: &Flow) -> Vec<u8> {
        let tuple = |flow| question(flow, 7).unwrap()[HEADER_BYTES + NFGENMSG_BYTES + 4..].to_vec();
        let mut message = question(original, 7).unwrap();
        message[4..6].copy_from_slice(&CTNETLINK_NEW.to_ne_bytes());
        message.extend(attribute(3, &[0, 0, 1, 0x8e]));
        message.extend(attribute(CTA_TUPLE_REPLY | NLA_F_NESTED, &tuple(reply)));
        let length = u32::try_from(message.len()).unwrap();
        message[..4].copy_from_slice(&length.to_ne_bytes());
        message
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        for (original, reply) in [
            (flow("10.0.0.5:5000", "203.0.113.9:443"), flow("203.0.113.9:443", "198.51.100.1:1024")),
            (flow("[fd00::5]:5000", "[2001:db8::9]:443"), flow("[2001:db8::9]:443", "[fd00::5]:5000")),
        ] {
            let message = entry(&original, &reply);
            assert_eq!(sequence_of(&message), Some(7));
            assert_eq!(tracked(&message), Ok(Some(Tracked { original, reply })));
            for length in 0..message.len() {
                assert!(!matches!(tracked(&message[..length]), Ok(Some(_))), "cut to {length}");
            }
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let refused = |errno: Errno| {
            let mut message = [20_u32.to_ne_bytes(), [0; 4], [0; 4], [0; 4]].concat();
            message[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
            message.extend((-(errno as i32)).to_ne_bytes());
            tracked(&message)
        };
        assert_eq!(refused(Errno::ENOENT), Ok(None));
        assert!(refused(Errno::EPERM).unwrap_err().to_string().contains("setcap"));
        assert!(refused(Errno::EINVAL).unwrap_err().to_string().contains("modprobe"));
    }

    #[test]
    fn protocols_without_ports_are_not_asked_for() {
        let ping = Flow { proto: Transport::Icmp, ..flow("10.0.0.5:0", "203.0.113.9:0") };
        assert_eq!(question(&ping, 1), None);
    }
}
