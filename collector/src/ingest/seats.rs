//! How many connections one identity may have, and how often it may begin one: a sensor in foreign hands must not take everybody's place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use protocol::Identity;

use super::quota::Quota;
use super::rates::Rate;
use super::refusal::Refusal;

/// A sensor has one, and for a minute the dead ones that its changes of address left.
const SEATS_MAX: usize = 8;

/// A sensor connects again after a change of address or a restart; one that does so all the time waits.
const CONNECTIONS_BURST: u32 = 32;
const CONNECTIONS_EVERY: Duration = Duration::from_secs(2);

/// Open connections by identity.
#[derive(Clone, Debug)]
pub(super) struct Seats(Arc<Mutex<Taken>>);

#[derive(Debug)]
struct Taken {
    open: HashMap<Identity, Open>,
    begun: Rate<Identity>,
}

/// The open connections of one identity.
#[derive(Debug)]
struct Open {
    count: usize,
    quota: Quota,
}

impl Default for Seats {
    fn default() -> Self {
        let begun = Rate::new(CONNECTIONS_BURST, CONNECTIONS_EVERY);
        Self(Arc::new(Mutex::new(Taken { open: HashMap::new(), begun })))
    }
}

/// One taken seat; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    identity: Identity,
    /// What the identity may have stored.
    pub quota: Quota,
}

impl Seats {
    /// Takes a seat.
    pub fn take(&self, identity: &Identity, now: Instant) -> Result<Seat, Refusal> {
        let Ok(mut taken) = self.0.lock() else { return Err(Refusal::GoingAway) };
        if !taken.begun.take(identity.clone(), now) {
            return Err(Refusal::Overload(
                "too many connections with this certificate in a short time".into(),
            ));
        }
        let fresh = || Open { count: 0, quota: Quota::new(now) };
        let open = taken.open.entry(identity.clone()).or_insert_with(fresh);
        if open.count >= SEATS_MAX {
            return Err(Refusal::Overload("too many connections with this certificate".into()));
        }
        open.count += 1;
        Ok(Seat { seats: self.clone(), identity: identity.clone(), quota: open.quota.clone() })
    }

    /// How many are taken, by all together.
    pub fn taken(&self) -> usize {
        self.0.lock().map_or(0, |taken| taken.open.values().map(|open| open.count).sum())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Ok(mut taken) = self.seats.0.lock() else { return };
        if let Some(open) = taken.open.get_mut(&self.identity) {
            open.count = open.count.saturating_sub(1);
            if open.count == 0 {
                taken.open.remove(&self.identity);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_identity_has_so_many_seats_and_gets_them_back() {
        let seats = Seats::default();
        let identity = |name: &str| Identity::Desk { name: name.parse().unwrap() };
        let start = Instant::now();
        let take = |name, seconds| seats.take(&identity(name), start + Duration::from_secs(seconds));
        let taken: Vec<Seat> = (0..SEATS_MAX).map(|_| take("a", 0).unwrap()).collect();
        assert!(take("a", 0).is_err());
        assert!(take("b", 0).is_ok());
        drop(taken);
        assert!(take("a", 0).is_ok());
        assert!(seats.0.lock().unwrap().open.is_empty());
    }

    #[test]
    fn one_identity_that_comes_back_all_the_time_waits() {
        let seats = Seats::default();
        let identity = Identity::Desk { name: "a".parse().unwrap() };
        let start = Instant::now();
        let come = |seconds| seats.take(&identity, start + Duration::from_secs(seconds)).is_ok();
        let welcome = (0..100).filter(|_| come(0)).count();
        assert_eq!(welcome, CONNECTIONS_BURST as usize);
        assert!(!come(1));
        assert!(come(2) && !come(2));
    }
}
