//! A TCP connection as long as something in it is of interest: both streams, and what they know together.

use crate::flow::Way;
use crate::frame::Tcp;
use crate::reader::{Reader, Talk, Towards};
use crate::sighting::Sink;
use crate::stream::{Segment, Stream};

/// Both directions of a connection.
pub(crate) struct Connection {
    up: Stream,
    down: Stream,
    began: Way,
    talk: Talk,
}

impl Connection {
    /// `starts`: the sequence numbers of the first bytes, where the SYN was seen.
    pub fn new(starts: [Option<u32>; 2], began: Way, ports: [u16; 2]) -> Self {
        let [up, down] = starts.map(|start| Stream::starting_at(start, Reader::for_ports(ports)));
        Self { up, down, began, talk: Talk::default() }
    }

    pub fn is_done(&self) -> bool {
        self.up.is_done() && self.down.is_done()
    }

    /// Whether nothing more is of interest of what goes this way.
    pub fn is_done_with(&self, way: Way) -> bool {
        if way == Way::Up { self.up.is_done() } else { self.down.is_done() }
    }

    /// Bytes kept, its own included.
    pub fn held(&self) -> usize {
        size_of::<Self>() + self.up.held() + self.down.held()
    }

    /// Takes a segment with payload. `room`: bytes that may be kept more than are.
    pub fn push(&mut self, tcp: &Tcp<'_>, (way, room): (Way, usize), sink: &mut Sink<'_>) {
        let towards = Towards::of(way, self.began);
        let stream = if way == Way::Up { &mut self.up } else { &mut self.down };
        if tcp.payload.len() > room && !stream.is_done() {
            sink.counters.streams_refused += 1;
            stream.give_up();
        }
        self.talk.room = room;
        let sequence = if tcp.syn { tcp.sequence.wrapping_add(1) } else { tcp.sequence };
        let segment = Segment { sequence, bytes: tcp.payload, cut: tcp.cut };
        stream.push(&segment, (towards, &mut self.talk), sink);
    }

    /// The connection ended: what waits for missing segments will wait in vain.
    /// `closed`: which ends, up and down, said that they had sent all.
    pub fn end(&mut self, closed: [bool; 2], sink: &mut Sink<'_>) {
        let streams = [(&mut self.up, Way::Up), (&mut self.down, Way::Down)];
        for ((stream, way), closed) in streams.into_iter().zip(closed) {
            let towards = Towards::of(way, self.began);
            stream.end((towards, &mut self.talk), closed, sink);
        }
    }
}
