//! The one writer: takes what all sessions want stored and commits it, as much as waits, in one transaction.
//!
//! A transaction that fails is tried again work by work, so that one session's trouble is not another's.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use protocol::identity::AgentId;
use protocol::message::BundleOutcome;
use protocol::{Serial, Timestamp};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::arrivals::{Arrival, Arrivals};
use crate::clock;
use crate::store::courses;
use crate::store::origins::Tally;
use crate::store::records::Clipped;
use crate::store::sessions::{self, Greeting, Health, Spool};
use crate::store::twins::{self, Sign};
use crate::store::{Store, StoreError, Transaction};

/// Works that wait; sessions wait when it is full, and so their sensors.
const QUEUED_MAX: usize = 64;
/// Works in one transaction.
const TOGETHER_MAX: usize = 32;

/// Identifies one connection, for as long as the collector runs.
pub(super) type ConnectionNumber = usize;

/// Answers to a session, in the order of its works.
pub(super) type Answers = mpsc::UnboundedSender<Answer>;

/// What a session wants stored.
pub(super) enum Work {
    Greeting { spool: Spool, greeting: Greeting, connection: ConnectionNumber, answers: Answers },
    Records { spool: Spool, first: u64, records: Clipped, answers: Answers },
    Gap { spool: Spool, from: u64, to: u64, answers: Answers },
    Health { agent: AgentId, health: Health },
    Offer { agent: AgentId, serial: Serial },
    Outcome { agent: AgentId, serial: Serial, outcome: BundleOutcome },
    Twin { agent: AgentId, sign: Sign },
    Part { agent: AgentId, connection: ConnectionNumber },
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Answer {
    /// The greeted spool is stored up to here.
    Stored(u64),
    /// Records up to here are committed.
    Committed(u64),
    /// Not stored, and why. Nothing after it in the same spool is stored either.
    Failed(String),
}

/// What a work did inside a transaction that may yet fail.
enum Done {
    Stored(u64),
    Committed { up_to: u64, rows: Vec<i64> },
    OutOfOrder,
    Noted,
}

/// Starts the writer; it ends when every sender is gone and all is committed.
pub(super) fn start(store: Store, arrivals: Arrivals) -> (JoinHandle<()>, mpsc::Sender<Work>) {
    let (to_writer, queue) = mpsc::channel(QUEUED_MAX);
    let writer = Writer { store, arrivals, sessions: HashMap::new(), failing: false };
    (tokio::spawn(writer.run(queue)), to_writer)
}

struct Writer {
    store: Store,
    arrivals: Arrivals,
    /// Open connections of each sensor: an old one may end after its successor began.
    sessions: HashMap<AgentId, HashSet<ConnectionNumber>>,
    failing: bool,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Work>) {
        let mut works = Vec::with_capacity(TOGETHER_MAX);
        while queue.recv_many(&mut works, TOGETHER_MAX).await > 0 {
            works.retain(|work| self.is_worth_writing(work));
            let together = Arc::new(std::mem::take(&mut works));
            if together.is_empty() {
                continue;
            }
            match self.commit(&together, 0..together.len()).await {
                Ok(done) => self.answer_all(&together, done),
                Err(error) if together.len() == 1 => self.fail(together.first(), &error),
                Err(_) => self.commit_one_by_one(&together).await,
            }
        }
    }

    async fn commit_one_by_one(&mut self, works: &Arc<Vec<Work>>) {
        for (index, work) in works.iter().enumerate() {
            match self.commit(works, index..index + 1).await {
                Ok(done) => done.into_iter().for_each(|done| self.answer(work, done)),
                Err(error) => self.fail(Some(work), &error),
            }
        }
    }

    async fn commit(
        &mut self,
        works: &Arc<Vec<Work>>,
        range: std::ops::Range<usize>,
    ) -> Result<Vec<Done>, StoreError> {
        let works = Arc::clone(works);
        let now = clock::now();
        self.store
            .write(move |transaction| {
                let works = works.get(range).unwrap_or_default();
                let mut origins = Tally::default();
                let done = works.iter().map(|work| write(transaction, work, &mut origins, now));
                let done = done.collect::<Result<_, _>>()?;
                origins.write(transaction)?;
                Ok(done)
            })
            .await
    }

    /// Keeps count of connections; of the ends only a sensor's last one is written.
    fn is_worth_writing(&mut self, work: &Work) -> bool {
        match work {
            Work::Greeting { spool, connection, .. } => {
                self.sessions.entry(spool.agent).or_default().insert(*connection);
                true
            }
            Work::Part { agent, connection } => {
                let Some(open) = self.sessions.get_mut(agent) else { return false };
                let was_open = open.remove(connection);
                let last = open.is_empty();
                if last {
                    self.sessions.remove(agent);
                }
                was_open && last
            }
            _ => true,
        }
    }

    fn answer_all(&mut self, works: &[Work], done: Vec<Done>) {
        works.iter().zip(done).for_each(|(work, done)| self.answer(work, done));
    }

    fn answer(&mut self, work: &Work, done: Done) {
        if self.failing {
            self.failing = false;
            tracing::info!("the store takes writes again");
        }
        match done {
            Done::Stored(stored) => tell(work, Answer::Stored(stored)),
            Done::Committed { up_to, rows } => {
                rows.into_iter().for_each(|hit_row| self.arrivals.announce(Arrival { hit_row }));
                tell(work, Answer::Committed(up_to));
            }
            Done::OutOfOrder => tell(work, Answer::Failed("records before these were not stored".into())),
            Done::Noted => {}
        }
    }

    fn fail(&mut self, work: Option<&Work>, error: &StoreError) {
        if !self.failing {
            self.failing = true;
            tracing::error!(%error, "the store takes no writes; sensors keep their hits until it does");
        }
        if let Some(work) = work {
            tell(work, Answer::Failed(error.to_string()));
        }
    }
}

fn write<'a>(
    transaction: &Transaction<'_>,
    work: &'a Work,
    origins: &mut Tally<'a>,
    now: Timestamp,
) -> Result<Done, StoreError> {
    match work {
        Work::Greeting { spool, greeting, .. } => {
            sessions::greet(transaction, spool, greeting, now).map(Done::Stored)
        }
        Work::Records { spool, first, records, .. } => {
            let rows = sessions::keep_records(transaction, (spool, *first, records), origins, now)?;
            let up_to = first.saturating_add(records.as_slice().len() as u64).saturating_sub(1);
            Ok(rows.map_or(Done::OutOfOrder, |rows| Done::Committed { up_to, rows }))
        }
        Work::Gap { spool, from, to, .. } => {
            let kept = sessions::keep_gap(transaction, spool, *from, *to, now)?;
            Ok(if kept { Done::Noted } else { Done::OutOfOrder })
        }
        Work::Health { agent, health } => {
            sessions::keep_health(transaction, *agent, health, now).map(|()| Done::Noted)
        }
        Work::Offer { agent, serial } => {
            courses::offered(transaction, *agent, *serial, now).map(|()| Done::Noted)
        }
        Work::Outcome { agent, serial, outcome } => {
            sessions::keep_outcome(transaction, *agent, *serial, outcome, now).map(|()| Done::Noted)
        }
        Work::Twin { agent, sign } => twins::note(transaction, *agent, *sign, now).map(|()| Done::Noted),
        Work::Part { agent, .. } => sessions::part(transaction, *agent).map(|()| Done::Noted),
    }
}

/// A session that ended meanwhile needs no answer.
fn tell(work: &Work, answer: Answer) {
    if let Work::Greeting { answers, .. } | Work::Records { answers, .. } | Work::Gap { answers, .. } = work {
        let _session_ended = answers.send(answer);
    }
}
