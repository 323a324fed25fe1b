//! Header fields of HTTP/2 as they are compressed (RFC 7541), bounded in all: table, strings, fields of a block.

use std::collections::VecDeque;

use super::huffman;

/// A server may allow its clients a larger table than the usual 4 KiB; more than this is not followed.
const TABLE_BYTES_MAX: usize = 64 * 1024;
/// RFC 7541 §4.2: until the client says otherwise.
const TABLE_BYTES: usize = 4096;
/// What an entry counts beside its name and value (RFC 7541 §4.1).
const ENTRY_BYTES: usize = 32;
/// A longer name or value ends the reading.
const STRING_BYTES_MAX: usize = 16 * 1024;
/// Fields of a block; one byte can stand for a field of kilobytes.
const FIELDS_MAX: usize = 1024;

/// Name and value of a field.
type Field = (Box<[u8]>, Box<[u8]>);

/// The state of one direction's compression.
pub(crate) struct Decoder {
    /// The newest first.
    table: VecDeque<Field>,
    bytes: usize,
    bytes_max: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: VecDeque::new(), bytes: 0, bytes_max: TABLE_BYTES }
    }
}

impl Decoder {
    /// Bytes kept.
    pub fn held(&self) -> usize {
        self.bytes + self.table.capacity() * size_of::<Field>()
    }

    /// Reads a block and hands out each field. `None` when it cannot be read: then no later one can be either.
    pub fn read(&mut self, block: &[u8], mut field: impl FnMut(&[u8], &[u8])) -> Option<()> {
        let mut rest = block;
        let mut fields = 0;
        while let Some(first) = rest.first() {
            fields += 1;
            if fields > FIELDS_MAX {
                return None;
            }
            match first {
                0x80.. => {
                    let (name, value) = self.entry(integer(&mut rest, 7)?)?;
                    field(name, value);
                }
                0x40..0x80 => {
                    let (name, value) = self.literal(&mut rest, 6)?;
                    field(&name, &value);
                    self.insert(name, value);
                }
                0x20..0x40 => {
                    self.bytes_max = integer(&mut rest, 5).filter(|size| *size <= TABLE_BYTES_MAX)?;
                    self.shrink(0);
                }
                0x00..0x20 => {
                    let (name, value) = self.literal(&mut rest, 4)?;
                    field(&name, &value);
                }
            }
        }
        Some(())
    }

    fn literal(&self, rest: &mut &[u8], prefix: u32) -> Option<Field> {
        let name = match integer(rest, prefix)? {
            0 => string(rest)?,
            index => self.entry(index)?.0.into(),
        };
        Some((name, string(rest)?))
    }

    fn entry(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let index = index.checked_sub(1)?;
        match STATIC.get(index) {
            Some((name, value)) => Some((name, value)),
            None => self.table.get(index - STATIC.len()).map(|(name, value)| (&**name, &**value)),
        }
    }

    /// An entry larger than the table empties it (RFC 7541 §4.4).
    fn insert(&mut self, name: Box<[u8]>, value: Box<[u8]>) {
        let size = name.len() + value.len() + ENTRY_BYTES;
        self.shrink(size);
        if size <= self.bytes_max {
            self.bytes += size;
            self.table.push_front((name, value));
        }
    }

    /// Makes room for so many bytes.
    fn shrink(&mut self, room: usize) {
        while self.bytes + room > self.bytes_max {
            let Some((name, value)) = self.table.pop_back() else { break };
            self.bytes -= name.len() + value.len() + ENTRY_BYTES;
        }
    }
}

/// RFC 7541 §5.1, with so many bits of the first byte.
fn integer(rest: &mut &[u8], prefix: u32) -> Option<usize> {
    let (first, mut after) = rest.split_first()?;
    let most = (1usize << prefix) - 1;
    let mut value = usize::from(*first) & most;
    if value == most {
        for shift in [0, 7, 14, 21] {
            let (byte, next) = after.split_first()?;
            after = next;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *rest = after;
                return Some(value);
            }
        }
        return None;
    }
    *rest = after;
    Some(value)
}

/// RFC 7541 §5.2.
fn string(rest: &mut &[u8]) -> Option<Box<[u8]>> {
    let is_huffman = rest.first()? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    if !is_huffman {
        return (length <= STRING_BYTES_MAX).then(|| text.into());
    }
    let mut decoded = Vec::with_capacity(length.min(STRING_BYTES_MAX) * 8 / 5);
    huffman::decode(text, STRING_BYTES_MAX, &mut decoded)?;
    Some(decoded.into())
}

/// RFC 7541 appendix A.
const STATIC: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(decoder: &mut Decoder, block: &[u8]) -> Option<String> {
        let mut fields = Vec::new();
        decoder.read(block, |name, value| {
            fields.push(format!("{}={}", name.escape_ascii(), value.escape_ascii()));
        })?;
        Some(fields.join(" "))
    }

    #[test]
    fn the_requests_of_rfc_7541_c_4_are_read_one_after_the_other() {
        let mut decoder = Decoder::default();
        for (block, expected) in [
            (
                &b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..],
                ":method=GET :scheme=http :path=/ :authority=www.example.com",
            ),
            (
                b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
                ":method=GET :scheme=http :path=/ :authority=www.example.com cache-control=no-cache",
            ),
            (
                b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
                ":method=GET :scheme=https :path=/index.html :authority=www.example.com custom-key=custom-value",
            ),
        ] {
            assert_eq!(read(&mut decoder, block).as_deref(), Some(expected));
        }
        assert_eq!(decoder.bytes, 164);
    }

    #[test]
    fn the_table_never_holds_more_than_its_size() {
        let mut decoder = Decoder::default();
        for number in 0..=255 {
            let mut block = vec![0x40, 1, number, 100];
            block.extend([number; 100]);
            read(&mut decoder, &block).unwrap();
            assert!(decoder.bytes <= TABLE_BYTES);
        }
        assert_eq!(decoder.table.len(), TABLE_BYTES / 133);
        read(&mut decoder, &[0x20]).unwrap();
        assert_eq!((decoder.bytes, decoder.table.len()), (0, 0));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for block in [
            &[0x80][..],                              // index 0
            &[0xbe],                                  // index 62 of an empty table
            &[0x3f, 0xff, 0xff, 0xff, 0xff, 0x7f],    // a table of gigabytes
            &[0x41, 0x05, b'a'],                      // a string that is cut
            &[0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0], // a number that does not end
            &[0x82; FIELDS_MAX + 1],
        ] {
            assert_eq!(read(&mut Decoder::default(), block), None, "{block:02x?}");
        }
    }
}
