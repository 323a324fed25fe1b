//! What inputs that are read at the same time give out, put in the order of the inputs.
//!
//! The input whose turn it is streams. What others give out meanwhile is kept in memory up to a limit and beyond it
//! in a temporary file without a name; where there is no room either, the reader waits for its turn.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What all inputs together may keep in memory.
const HELD_BYTES_MAX: usize = 32 << 20;
/// What the input whose turn it is may be ahead of the output.
const AHEAD_BYTES_MAX: usize = 1 << 20;

/// The output of inputs by their number, and what came of each.
pub struct Shelf<T> {
    inputs: Mutex<Inputs<T>>,
    changed: Condvar,
    held_max: usize,
}

/// What comes next in the output.
pub enum Next<T> {
    /// Whole lines.
    Lines(Vec<u8>),
    /// Lines that were kept on disk.
    Spilled(File),
    /// The input is over; the next one's turn begins.
    End(T),
}

struct Inputs<T> {
    turn: usize,
    held: usize,
    closed: bool,
    kept: BTreeMap<usize, Kept<T>>,
}

struct Kept<T> {
    before: VecDeque<Vec<u8>>,
    spilled: Spilled,
    /// What came while there was something on disk.
    after: VecDeque<Vec<u8>>,
    bytes: usize,
    end: Option<T>,
}

enum Spilled {
    Not,
    /// Bytes that were written whole.
    To(File, u64),
    /// The disk takes nothing more; the file has what it took.
    Full(Option<File>),
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { before: VecDeque::new(), spilled: Spilled::Not, after: VecDeque::new(), bytes: 0, end: None }
    }
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self::holding(HELD_BYTES_MAX)
    }
}

impl<T> Shelf<T> {
    fn holding(held_max: usize) -> Self {
        let inputs = Inputs { turn: 0, held: 0, closed: false, kept: BTreeMap::new() };
        Self { inputs: Mutex::new(inputs), changed: Condvar::new(), held_max }
    }

    /// Takes lines of an input; waits when there is no room.
    ///
    /// # Errors
    /// When nobody takes the output any more.
    pub fn put(&self, number: usize, lines: Vec<u8>) -> io::Result<()> {
        let mut inputs = self.lock();
        loop {
            if inputs.closed {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if inputs.has_room(number, lines.len(), self.held_max) {
                inputs.keep(number, lines);
                break;
            }
            if inputs.turn != number && inputs.spill(number, &lines) {
                break;
            }
            inputs = self.changed.wait(inputs).unwrap_or_else(PoisonError::into_inner);
        }
        self.changed.notify_all();
        Ok(())
    }

    /// An input is over.
    pub fn end(&self, number: usize, with: T) {
        self.lock().of(number).end = Some(with);
        self.changed.notify_all();
    }

    /// Waits for what comes next in the output.
    pub fn take(&self) -> Next<T> {
        let mut inputs = self.lock();
        loop {
            if let Some(next) = inputs.next() {
                self.changed.notify_all();
                return next;
            }
            inputs = self.changed.wait(inputs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nobody takes the output any more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Each change is whole before the lock is given back, also when a reader panics.
    fn lock(&self) -> MutexGuard<'_, Inputs<T>> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Inputs<T> {
    fn of(&mut self, number: usize) -> &mut Kept<T> {
        self.kept.entry(number).or_default()
    }

    fn has_room(&mut self, number: usize, bytes: usize, held_max: usize) -> bool {
        let (turn, held) = (self.turn, self.held);
        let kept = self.of(number);
        if turn == number {
            return kept.bytes == 0 || kept.bytes + bytes <= AHEAD_BYTES_MAX;
        }
        matches!(kept.spilled, Spilled::Not) && held + bytes <= held_max
    }

    fn keep(&mut self, number: usize, lines: Vec<u8>) {
        self.held += lines.len();
        let kept = self.of(number);
        kept.bytes += lines.len();
        let behind = !matches!(kept.spilled, Spilled::Not) || !kept.after.is_empty();
        if behind { kept.after.push_back(lines) } else { kept.before.push_back(lines) }
    }

    /// Puts lines on disk; false when it takes nothing.
    fn spill(&mut self, number: usize, lines: &[u8]) -> bool {
        let kept = self.of(number);
        if matches!(kept.spilled, Spilled::Not) {
            kept.spilled = unnamed_file().map_or(Spilled::Full(None), |file| Spilled::To(file, 0));
        }
        let Spilled::To(file, bytes) = &mut kept.spilled else { return false };
        if file.write_all(lines).is_ok() {
            *bytes += lines.len() as u64;
            return true;
        }
        // What was written in part is written again when it is this input's turn.
        let whole = file.set_len(*bytes);
        if let Spilled::To(file, _) = std::mem::replace(&mut kept.spilled, Spilled::Full(None)) {
            kept.spilled = Spilled::Full(whole.is_ok().then_some(file));
        }
        false
    }

    fn next(&mut self) -> Option<Next<T>> {
        let turn = self.turn;
        let kept = self.of(turn);
        let mut lines = kept.before.pop_front();
        if lines.is_none() {
            match std::mem::replace(&mut kept.spilled, Spilled::Not) {
                Spilled::To(mut file, _) | Spilled::Full(Some(mut file)) => {
                    // A file that cannot be rewound cannot be read either, which its reader says.
                    let _ = file.rewind();
                    return Some(Next::Spilled(file));
                }
                Spilled::Full(None) | Spilled::Not => lines = kept.after.pop_front(),
            }
        }
        if let Some(lines) = lines {
            kept.bytes -= lines.len();
            self.held -= lines.len();
            return Some(Next::Lines(lines));
        }
        let end = kept.end.take()?;
        self.kept.remove(&turn);
        self.turn += 1;
        Some(Next::End(end))
    }
}

/// A file that is gone when it is closed, however the program ends.
fn unnamed_file() -> io::Result<File> {
    let name = format!("vedetta-output-{}-{:016x}", std::process::id(), rand::random::<u64>());
    let path = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// Everything up to the end of so many inputs.
    fn output(shelf: &Shelf<usize>, inputs: usize) -> String {
        let (mut out, mut ended) = (String::new(), 0);
        while ended < inputs {
            match shelf.take() {
                Next::Lines(lines) => out.push_str(std::str::from_utf8(&lines).unwrap()),
                Next::Spilled(mut file) => {
                    out.push('<');
                    file.read_to_string(&mut out).unwrap();
                    out.push('>');
                }
                Next::End(number) => {
                    assert_eq!(number, ended);
                    ended += 1;
                    out.push('.');
                }
            }
        }
        out
    }

    fn put(shelf: &Shelf<usize>, number: usize, lines: &str) {
        shelf.put(number, lines.into()).unwrap();
    }

    #[test]
    fn output_is_in_the_order_of_the_inputs() {
        let shelf = Shelf::default();
        put(&shelf, 2, "e");
        shelf.end(2, 2);
        put(&shelf, 0, "a");
        put(&shelf, 1, "c");
        put(&shelf, 0, "b");
        shelf.end(0, 0);
        put(&shelf, 1, "d");
        shelf.end(1, 1);
        assert_eq!(output(&shelf, 3), "ab.cd.e.");
    }

    #[test]
    fn what_does_not_fit_in_memory_waits_on_disk() {
        let shelf = Shelf::holding(4);
        put(&shelf, 1, "cd");
        put(&shelf, 1, "efg");
        put(&shelf, 1, "h");
        shelf.end(0, 0);
        put(&shelf, 1, "i");
        shelf.end(1, 1);
        assert_eq!(output(&shelf, 2), ".cd<efghi>.");
    }

    #[test]
    fn what_comes_after_the_disk_was_read_follows_it() {
        let shelf = Shelf::holding(0);
        put(&shelf, 1, "a");
        shelf.end(0, 0);
        assert!(matches!(shelf.take(), Next::End(0)));
        put(&shelf, 1, "b");
        assert!(matches!(shelf.take(), Next::Spilled(_)));
        put(&shelf, 1, "c");
        assert!(matches!(shelf.take(), Next::Lines(lines) if lines == b"b"));
        assert!(matches!(shelf.take(), Next::Lines(lines) if lines == b"c"));
    }

    #[test]
    fn a_reader_far_ahead_waits_until_its_turn_takes_more() {
        let shelf: Shelf<usize> = Shelf::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..40 {
                    shelf.put(0, vec![b'x'; AHEAD_BYTES_MAX / 4]).unwrap();
                }
                shelf.end(0, 0);
            });
            assert_eq!(output(&shelf, 1).len(), 10 * AHEAD_BYTES_MAX + 1);
        });
    }

    #[test]
    fn a_closed_output_ends_the_readers() {
        let shelf: Shelf<usize> = Shelf::default();
        shelf.close();
        assert_eq!(shelf.put(3, vec![1]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
