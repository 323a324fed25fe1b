//! Lines of one file: their ends, their places, and what is not a line.

use std::io::Write as _;

use super::*;

struct Log {
    file: tempfile::NamedTempFile,
    reader: LineReader,
    block: Block,
}

impl Log {
    fn new(text: &[u8]) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        let reader = reader_of(&file);
        Self { file, reader, block: Block::default() }
    }

    fn write(&mut self, text: &[u8]) {
        self.file.write_all(text).unwrap();
    }

    /// Reads to the end, with the places of the lines.
    fn placed(&mut self) -> Result<Vec<(String, u64)>, Reset> {
        let mut lines = Vec::new();
        loop {
            let reading = self.reader.read(&mut self.block, &mut |line| {
                let text = String::from_utf8_lossy(line.bytes);
                lines.push((format!("{} {text}", line.number), line.place));
                true
            });
            match reading.unwrap() {
                Reading::Reset(reset) => return Err(reset),
                Reading::End => return Ok(lines),
                Reading::More => {}
                Reading::Paused => panic!("nobody paused"),
            }
        }
    }

    fn lines(&mut self) -> Vec<String> {
        self.placed().unwrap().into_iter().map(|(line, _)| line).collect()
    }

    fn unfinished(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut take = |line: WholeLine<'_>| {
            lines.push(String::from_utf8_lossy(line.bytes).into_owned());
            true
        };
        assert!(self.reader.give_unfinished(&mut self.block, &mut take).unwrap());
        lines
    }

    fn resumed(self) -> Self {
        let saved = self.reader.position();
        let mut content = Content::Plain(self.file.reopen().unwrap());
        assert_eq!(saved.prove(&mut content).unwrap(), Proof::Same);
        let reader = LineReader::resume(content, saved).unwrap();
        Self { reader, ..self }
    }
}

fn reader_of(file: &tempfile::NamedTempFile) -> LineReader {
    let file = file.reopen().unwrap();
    let id = FileId::of(&file.metadata().unwrap());
    LineReader::from_start(Content::Plain(file), id).unwrap()
}

#[test]
fn a_line_is_given_when_its_end_is_there() {
    let mut log = Log::new(b"one\r\n\ntw");
    assert_eq!(log.lines(), ["1 one", "2 "]);
    log.write(b"o\nthree");
    assert_eq!(log.lines(), ["3 two"]);
    assert_eq!(log.unfinished(), ["three"]);
    assert_eq!(log.reader.position().offset, 10, "the offset passed a line without an end");
}

#[test]
fn an_unfinished_line_is_given_whole_when_it_ends_and_not_again_when_only_its_end_was_missing() {
    let mut log = Log::new(b"one\nfirst half");
    log.lines();
    assert_eq!(log.unfinished(), ["first half"]);
    assert_eq!(log.unfinished(), Vec::<String>::new());
    log.write(b" and second\nthree");
    let finished = log.placed().unwrap();
    assert_eq!(finished[0].0, "2 first half and second");
    assert_eq!(finished[0].1 & 0xffff, 4, "its place is where it began");
    assert_eq!(log.unfinished(), ["three"]);
    let mut log = log.resumed();
    assert_eq!(log.unfinished(), Vec::<String>::new());
    log.write(b"\nfour\n");
    assert_eq!(log.lines(), ["4 four"]);
    assert_eq!(log.reader.take_counts(), Counts { lines: 2, ..Counts::default() });
}

#[test]
fn bytes_that_are_no_text_stay_as_they_are() {
    let mut log = Log::new(b"a\0\xff\x1b[31m\n");
    let mut seen = Vec::new();
    let mut take = |line: WholeLine<'_>| {
        seen.push(line.bytes.to_vec());
        true
    };
    log.reader.read(&mut log.block, &mut take).unwrap();
    assert_eq!(seen, [b"a\0\xff\x1b[31m".to_vec()]);
}

#[test]
fn a_file_of_sixteen_bits_is_read_by_its_mark() {
    let text = "first bad.example\r\nsecond\n";
    for (mark, big) in [([0xff, 0xfe], false), ([0xfe, 0xff], true)] {
        let units = text.encode_utf16();
        let bytes: Vec<u8> =
            units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect();
        let mut log = Log::new(&[mark.to_vec(), bytes].concat());
        assert_eq!(log.lines(), ["1 first bad.example", "2 second"], "big {big}");
    }
    assert_eq!(Log::new(b"\xef\xbb\xbfmarked\n").lines(), ["1 marked"]);
}

#[test]
fn of_a_long_line_the_beginning_is_given_at_once_and_the_rest_is_skipped_and_counted() {
    for length in [LINE_BYTES_MAX + 1, LINE_BYTES_MAX * 3, BLOCK_BYTES * 3 + 5] {
        let mut log = Log::new(&[b"before\n".to_vec(), vec![b'x'; length]].concat());
        let lines = log.lines();
        assert_eq!((lines.len(), lines[1].len()), (2, LINE_BYTES_MAX + 2), "{length}");
        assert_eq!(log.reader.position().offset, 7);
        assert!(!log.reader.has_unfinished());
        // Also over a restart it is one line.
        let mut log = log.resumed();
        assert!(log.lines().is_empty());
        log.write(b"yy\nnext\n");
        assert_eq!(log.lines(), ["3 next"]);
        let counts = log.reader.take_counts();
        assert_eq!((counts.cut, counts.cut_bytes), (1, (length + 2 - LINE_BYTES_MAX) as u64));
        assert_eq!(log.reader.position().offset, length as u64 + 15);
    }
    let mut log = Log::new(&[vec![b'x'; LINE_BYTES_MAX], b"\nnext\n".to_vec()].concat());
    assert_eq!(log.lines().len(), 2);
    assert_eq!(log.reader.take_counts().cut, 0);
}

#[test]
fn zeros_that_a_writer_leaves_after_truncation_are_passed_over() {
    for hole in [1, 63, LINE_BYTES_MAX * 2, BLOCK_BYTES * 2 + 7] {
        let mut log = Log::new(&[vec![0; hole], b"after\n".to_vec()].concat());
        assert_eq!(log.lines(), ["1 after"], "{hole}");
        assert_eq!(log.reader.position().offset, hole as u64 + 6);
    }
}

#[test]
fn text_that_is_written_over_zeros_is_read() {
    let mut log = Log::new(&[b"one\n".to_vec(), vec![0; 5000]].concat());
    assert_eq!(log.lines(), ["1 one"]);
    assert!(log.unfinished().is_empty());
    log.file.as_file().write_all_at(b"two\nthree\n", 4).unwrap();
    assert_eq!(log.lines(), ["2 two", "3 three"]);
}

#[test]
fn reading_goes_on_where_it_stopped() {
    let mut log = Log::new(b"one\ntwo\npart");
    assert_eq!(log.lines().len(), 2);
    let mut log = log.resumed();
    log.write(b"ial\n");
    assert_eq!(log.lines(), ["3 partial"]);
    let saved = log.reader.position();
    for (content, expected) in [
        (&b"one\ntwo\npartial\nand more\n"[..], Proof::Same),
        (b"one\ntwo\npartial\n", Proof::Same),
        (b"one\ntwo\n", Proof::Little),
        (b"ONE\nTWO\nPARTIAL\nFOUR\n", Proof::Other),
        (b"one\ntwo\nPARTIAL\nFOUR\n", Proof::Other),
        (b"", Proof::Other),
    ] {
        let file = Log::new(content).file;
        let found = saved.prove(&mut Content::Plain(file.reopen().unwrap())).unwrap();
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(content));
    }
}

#[test]
fn a_copy_that_ends_before_the_offset_is_known_by_its_beginning() {
    let text: Vec<u8> = (0..100).flat_map(|number| format!("line {number}\n").into_bytes()).collect();
    let mut log = Log::new(&text);
    log.lines();
    let file = Log::new(&text[..600]).file;
    let found = log.reader.position().prove(&mut Content::Plain(file.reopen().unwrap())).unwrap();
    assert_eq!(found, Proof::Shorter);
}

#[test]
fn truncation_is_noticed_at_any_size() {
    for after in ["x\n", "other line of length\n", "much longer than everything that was there before\n"] {
        let mut log = Log::new(b"first line of text!!\n");
        let before = log.placed().unwrap();
        std::fs::write(log.file.path(), after).unwrap();
        assert!(log.placed().is_err(), "{after:?}");
        log.reader.begin_again();
        let lines = log.placed().unwrap();
        assert_eq!(lines[0].0, format!("1 {}", after.trim_end()));
        assert_ne!(lines[0].1, before[0].1, "the same place stood for two lines");
    }
}

#[test]
fn what_does_not_change_is_not_read_and_what_is_refused_is_read_again() {
    let mut log = Log::new(b"one\ntwo\nthree\n");
    let mut refused = Vec::new();
    let mut refuse = |line: WholeLine<'_>| {
        refused.push(line.number);
        false
    };
    assert_eq!(log.reader.read(&mut log.block, &mut refuse).unwrap(), Reading::Paused);
    // The one that it was handed is its own.
    assert_eq!(refused, [1]);
    assert_eq!(log.lines(), ["2 two", "3 three"]);
    assert!(log.lines().is_empty());
}

#[test]
fn from_the_end_only_new_lines_are_read() {
    let mut log = Log::new(b"old\nunfinish");
    log.reader = LineReader::from_end(log.file.reopen().unwrap()).unwrap();
    log.write(b"ed\nnew\n");
    assert_eq!(log.lines(), ["1 unfinished", "2 new"]);
}

#[test]
fn a_place_survives_json_and_ends_with_the_offset() {
    let mut log = Log::new(b"x\ny\n");
    let place = log.placed().unwrap()[1].1;
    assert_eq!(serde_json::from_str::<u64>(&serde_json::to_string(&place).unwrap()).unwrap(), place);
    assert_eq!(place & ((1 << OFFSET_BITS) - 1), 2);
}

#[test]
fn the_head_grows_with_the_file_in_any_pieces() {
    let text: Vec<u8> = (0..80).flat_map(|number| format!("line {number}\n").into_bytes()).collect();
    for piece in [1, 7, 100, 255, 256, 257] {
        let mut log = Log::new(b"");
        for part in text.chunks(piece) {
            log.write(part);
            log.lines();
        }
        assert_eq!(log.reader.position().head, Head::of(&text), "pieces of {piece}");
    }
}

#[test]
fn positions_of_earlier_versions_are_read() {
    let saved = r#"{"id":{"device":1,"inode":2,"born":3},"truncations":1,"offset":5,"lines":2,"marker":7}"#;
    let position: FilePosition = serde_json::from_str(saved).unwrap();
    assert_eq!((position.offset, position.given, position.open), (5, 0, false));
    assert!(position.head.is_empty() && !position.is_blank());
}
