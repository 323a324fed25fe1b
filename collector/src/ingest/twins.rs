//! Notices two machines that are connected with one sensor's identity. A connection that a crash or a change of
//! address left behind is never heard again; one whose owner lives sends at least its keep-alive.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::identity::AgentId;
use quinn::Connection;
use tokio::sync::watch;

/// What was under way when the newer connection was greeted has arrived, and a sensor that changed over is quiet.
const SETTLE: Duration = Duration::from_secs(5);
/// Sensors send a keep-alive every 15 seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The greeted connections of every sensor, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Twins(Arc<Mutex<HashMap<AgentId, Vec<Greeted>>>>);

#[derive(Debug)]
struct Greeted {
    connection: usize,
    superseded: watch::Sender<bool>,
}

/// One connection's place among them; it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    twins: Twins,
    agent: AgentId,
    connection: usize,
    superseded: watch::Sender<bool>,
}

impl Twins {
    /// A place for a connection that is not greeted yet.
    pub fn place(&self, agent: AgentId, connection: usize) -> Place {
        Place { twins: self.clone(), agent, connection, superseded: watch::Sender::new(false) }
    }
}

impl Place {
    /// The connection was greeted: those before it should fall silent.
    pub fn greet(&self) {
        let Ok(mut all) = self.twins.0.lock() else { return };
        let greeted = all.entry(self.agent).or_default();
        for older in greeted.iter() {
            older.superseded.send_replace(true);
        }
        greeted.push(Greeted { connection: self.connection, superseded: self.superseded.clone() });
    }

    /// Returns when this connection is heard although a newer one was greeted some time ago.
    pub async fn until_twin(&self, connection: &Connection) {
        let mut superseded = self.superseded.subscribe();
        if superseded.wait_for(|superseded| *superseded).await.is_err() {
            return std::future::pending().await;
        }
        tokio::time::sleep(SETTLE).await;
        let before = heard(connection);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if heard(connection) > before {
                return;
            }
        }
    }
}

/// Frames that only the owner of the connection's keys can have sent.
fn heard(connection: &Connection) -> u64 {
    let frames = connection.stats().frame_rx;
    frames.acks.saturating_add(frames.ping).saturating_add(frames.stream)
}

impl Drop for Place {
    fn drop(&mut self) {
        let Ok(mut all) = self.twins.0.lock() else { return };
        if let Some(greeted) = all.get_mut(&self.agent) {
            greeted.retain(|it| it.connection != self.connection);
            if greeted.is_empty() {
                all.remove(&self.agent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_greeted_before_is_superseded_and_nothing_is_left() {
        let twins = Twins::default();
        let (here, there) = (AgentId([1; 16]), AgentId([2; 16]));
        let places =
            [twins.place(here, 1), twins.place(here, 2), twins.place(there, 3), twins.place(here, 4)];
        let superseded = |place: &Place| *place.superseded.borrow();
        places.iter().take(3).for_each(Place::greet);
        assert_eq!(places.each_ref().map(superseded), [true, false, false, false]);
        drop(places);
        assert!(twins.0.lock().unwrap().is_empty());
    }
}
