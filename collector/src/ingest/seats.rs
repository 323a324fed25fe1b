//! How many connections one identity may have: a sensor in foreign hands must not take everybody's place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use protocol::Identity;

use super::refusal::Refusal;

/// A sensor has one, and for a minute the dead ones that its changes of address left.
const SEATS_MAX: usize = 8;

/// Open connections by identity.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats(Arc<Mutex<HashMap<Identity, usize>>>);

/// One taken seat; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    identity: Identity,
}

impl Seats {
    /// Takes a seat.
    pub fn take(&self, identity: &Identity) -> Result<Seat, Refusal> {
        let Ok(mut taken) = self.0.lock() else { return Err(Refusal::GoingAway) };
        let count = taken.entry(identity.clone()).or_default();
        if *count >= SEATS_MAX {
            return Err(Refusal::Overload("too many connections with this certificate".into()));
        }
        *count += 1;
        Ok(Seat { seats: self.clone(), identity: identity.clone() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Ok(mut taken) = self.seats.0.lock() else { return };
        if let Some(count) = taken.get_mut(&self.identity) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.identity);
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
        let taken: Vec<Seat> = (0..SEATS_MAX).map(|_| seats.take(&identity("a")).unwrap()).collect();
        assert!(seats.take(&identity("a")).is_err());
        assert!(seats.take(&identity("b")).is_ok());
        drop(taken);
        assert!(seats.take(&identity("a")).is_ok());
        assert!(seats.0.lock().unwrap().is_empty());
    }
}
