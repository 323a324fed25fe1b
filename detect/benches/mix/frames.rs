//! Ethernet frames made by hand: fast enough for a million of them.

use std::net::IpAddr;

pub const SYN: u8 = 0x02;
pub const SYN_ACK: u8 = 0x12;
pub const ACK: u8 = 0x10;

/// The bytes of a frame.
pub type Frame = Vec<u8>;

/// Who sends to whom.
#[derive(Clone, Copy)]
pub struct Ends {
    pub src: (IpAddr, u16),
    pub dst: (IpAddr, u16),
}

impl Ends {
    pub fn back(self) -> Self {
        Self { src: self.dst, dst: self.src }
    }

    pub fn tcp(self, sequence: u32, flags: u8, payload: &[u8]) -> Frame {
        let mut frame = self.ip(6, 20 + payload.len());
        frame.extend(self.src.1.to_be_bytes());
        frame.extend(self.dst.1.to_be_bytes());
        frame.extend(sequence.to_be_bytes());
        frame.extend([0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        frame.extend(payload);
        frame
    }

    pub fn udp(self, payload: &[u8]) -> Frame {
        let mut frame = self.ip(17, 8 + payload.len());
        frame.extend(self.src.1.to_be_bytes());
        frame.extend(self.dst.1.to_be_bytes());
        frame.extend((8 + payload.len() as u16).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(payload);
        frame
    }

    fn ip(self, protocol: u8, length: usize) -> Frame {
        let mut frame = Vec::with_capacity(54 + length);
        frame.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
        match (self.src.0, self.dst.0) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                frame.extend([8, 0, 0x45, 0]);
                frame.extend((20 + length as u16).to_be_bytes());
                frame.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
                frame.extend(src.octets());
                frame.extend(dst.octets());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend((length as u16).to_be_bytes());
                frame.extend([protocol, 64]);
                frame.extend(src.octets());
                frame.extend(dst.octets());
            }
            _ => unreachable!("both ends are of one family"),
        }
        frame
    }
}

/// A DNS question for a name.
pub fn dns_question(name: &str) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// Its answer: one address.
pub fn dns_answer(name: &str, address: [u8; 4]) -> Vec<u8> {
    let mut message = dns_question(name);
    message[2] = 0x81;
    message[7] = 1;
    message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    message.extend(address);
    message
}
