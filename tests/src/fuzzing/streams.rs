//! Targets over TCP: conversations that begin as a protocol does and go on as the fuzzer likes, cut, turned round,
//! sent twice, sent with other contents, and lost.

use detect::Link;

use super::conversations::{self, Conversation, Message};
use super::frames::v4;
use super::input::Input;
use super::watch::Watch;

/// Lengths of segments that a plan may ask for.
const LENGTHS: [usize; 16] = [1, 2, 3, 5, 8, 13, 21, 40, 77, 100, 250, 536, 900, 1360, 1460, 9000];
const CLIENT: u16 = 40_000;
const SYN: u8 = 2;
const ACK: u8 = 16;
const FIN: u8 = 1;

pub fn tls(bytes: &[u8]) {
    stream(&[443, 8443, 993, 25], bytes);
}

pub fn http(bytes: &[u8]) {
    stream(&[80, 8080, 3128, 53], bytes);
}

pub fn http2(bytes: &[u8]) {
    stream(&[80, 8080], bytes);
}

pub fn mail(bytes: &[u8]) {
    stream(&[25, 587, 110, 143], bytes);
}

pub fn ftp(bytes: &[u8]) {
    stream(&[21, 2121], bytes);
}

pub fn ssh(bytes: &[u8]) {
    stream(&[22, 2222], bytes);
}

/// SMB and RDP.
pub fn windows(bytes: &[u8]) {
    stream(&[445, 139, 3389], bytes);
}

pub fn dns_over_tcp(bytes: &[u8]) {
    stream(&[53], bytes);
}

/// A stream: the port, a plan of how it is cut, then the messages of both sides.
fn stream(ports: &[u16], bytes: &[u8]) {
    let mut input = Input(bytes);
    let port = input.choice(ports).unwrap_or_default();
    let plan_length = usize::from(input.byte());
    let plan = input.take(plan_length);
    let mut messages = Vec::new();
    while !input.is_empty() {
        let (by_server, bytes) = input.message();
        messages.push(Message { by_server, bytes: bytes.to_vec() });
    }
    let mut wire = Wire::open(port);
    let mut plan = plan.iter().copied().cycle();
    for message in &messages {
        wire.say(message, &mut plan);
    }
    wire.close();
}

/// Well-formed conversations give the same sightings however they are cut, turned round and sent twice.
pub fn cuts(bytes: &[u8]) {
    let mut input = Input(bytes);
    let all = conversations::all();
    let Some(conversation) = all.get(usize::from(input.byte()) % all.len().max(1)) else { return };
    let whole = say_all(conversation, &[]);
    // Nothing of the plan's bits asks for other contents or for losses.
    let plan: Vec<u8> = input.0.iter().map(|byte| if byte & 7 > 4 { byte & !7 } else { *byte }).collect();
    let cut = say_all(conversation, &plan);
    assert_eq!(whole, cut, "{}: whole, and cut as {plan:?}", conversation.name);
}

fn say_all(conversation: &Conversation, plan: &[u8]) -> std::collections::BTreeSet<String> {
    let mut wire = Wire::open(conversation.port);
    let mut plan = plan.iter().copied().cycle();
    for message in &conversation.messages {
        wire.say(message, &mut plan);
    }
    wire.close()
}

/// A connection as a sensor sees it.
struct Wire {
    watch: Watch,
    port: u16,
    /// Sequence numbers of what client and server say next; the client's wrap around early.
    next: [u32; 2],
}

impl Wire {
    fn open(port: u16) -> Self {
        let mut wire = Self { watch: Watch::default(), port, next: [u32::MAX - 600, 70_000] };
        wire.segment(false, (wire.next[0], SYN), &[]);
        wire.segment(true, (wire.next[1], SYN | ACK), &[]);
        wire.next = wire.next.map(|next| next.wrapping_add(1));
        wire
    }

    /// Says a message in segments. A byte of the plan is one segment: in its low bits what happens to it, in the
    /// higher ones its length.
    fn say(&mut self, message: &Message, plan: &mut impl Iterator<Item = u8>) {
        let mut rest = &message.bytes[..];
        let mut kept_back = None;
        let start = self.next[usize::from(message.by_server)];
        let mut sequence = start;
        while !rest.is_empty() {
            let step = plan.next();
            let length = step.map_or(rest.len(), |step| LENGTHS[usize::from(step >> 4)]);
            let (part, after) = rest.split_at(length.min(rest.len()));
            let place = (sequence, ACK);
            match step.unwrap_or_default() & 7 {
                3 if kept_back.is_none() => kept_back = Some((place, part)),
                4 => {
                    self.segment(message.by_server, place, part);
                    self.segment(message.by_server, place, part);
                }
                5 => {
                    self.segment(message.by_server, place, part);
                    let changed: Vec<u8> = part.iter().map(|byte| byte ^ 1).collect();
                    self.segment(message.by_server, place, &changed);
                }
                6 => {
                    // Begins before what is next, with other contents there.
                    let overlap = [b"overlap", part].concat();
                    self.segment(message.by_server, (sequence.wrapping_sub(7), ACK), &overlap);
                }
                7 => {} // lost
                _ => {
                    self.segment(message.by_server, place, part);
                    if let Some((place, part)) = kept_back.take() {
                        self.segment(message.by_server, place, part);
                    }
                }
            }
            sequence = sequence.wrapping_add(u32::try_from(part.len()).unwrap_or_default());
            rest = after;
        }
        if let Some((place, part)) = kept_back {
            self.segment(message.by_server, place, part);
        }
        self.next[usize::from(message.by_server)] = sequence;
    }

    fn close(mut self) -> std::collections::BTreeSet<String> {
        for by_server in [false, true] {
            self.segment(by_server, (self.next[usize::from(by_server)], FIN | ACK), &[]);
        }
        self.watch.finish()
    }

    fn segment(&mut self, by_server: bool, (sequence, flags): (u32, u8), payload: &[u8]) {
        let (src, dst) = if by_server { (self.port, CLIENT) } else { (CLIENT, self.port) };
        let mut segment = Vec::with_capacity(20 + payload.len());
        segment.extend(src.to_be_bytes());
        segment.extend(dst.to_be_bytes());
        segment.extend(sequence.to_be_bytes());
        segment.extend([0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(payload);
        let mut packet = v4(6, (0, 0), &segment);
        if by_server {
            packet[12..20].rotate_left(4);
        }
        self.watch.frame(Link::RawIp, &packet);
    }
}
