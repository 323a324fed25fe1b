//! A bundle that goes to a share of the towns first: which towns these are, and whether it may go to all others.
//! Nothing here asks for the time or the store.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::Serial;
use sha2::{Digest as _, Sha256};

/// Hits per minute may rise to so many times those of the hour before.
pub const HITS_MULTIPLE: u64 = 10;
/// Below so many hits a minute in each town nothing is said about a bundle.
pub const HITS_PER_MINUTE_FREE: u64 = 6;

/// What is offered to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// The newest bundle for all towns, 0 for none.
    pub all: Serial,
    /// A newer one, which some have first.
    pub canary: Option<Canary>,
}

/// A bundle that some towns have first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// Its number.
    pub serial: Serial,
    /// Their identifiers.
    pub towns: Arc<BTreeSet<String>>,
}

/// Who has a pushed bundle at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All towns.
    All,
    /// These; all others after so many minutes.
    First {
        /// How long they are watched.
        minutes: u32,
        /// Their identifiers.
        towns: BTreeSet<String>,
    },
    /// Those that have it already: only its signatures were renewed.
    AsBefore,
}

impl Offered {
    /// Whether a town is among the first.
    pub fn is_first(&self, comune: &str) -> bool {
        self.canary.as_ref().is_some_and(|canary| canary.towns.contains(comune))
    }

    /// The bundle that a town is offered, 0 for none.
    pub fn to(&self, comune: &str) -> Serial {
        match &self.canary {
            Some(canary) if canary.towns.contains(comune) => canary.serial,
            _ => self.all,
        }
    }
}

/// The towns that have a bundle first: a share of all, at least one, others with each bundle, and the same whenever
/// it is asked.
pub fn first_towns(serial: Serial, towns: &[String], share_percent: u8) -> BTreeSet<String> {
    let mut ranked: Vec<(Vec<u8>, &String)> = towns
        .iter()
        .map(|town| (Sha256::digest(format!("{serial} {town}").as_bytes()).to_vec(), town))
        .collect();
    ranked.sort();
    let share = towns.len().saturating_mul(usize::from(share_percent.min(100))).div_ceil(100).max(1);
    ranked.into_iter().take(share).map(|(_, town)| town.clone()).collect()
}

/// What was seen in the first towns since the bundle went out.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Whole minutes.
    pub minutes: u64,
    /// How many first towns there are.
    pub towns: u64,
    /// A sensor that refused it, and why.
    pub refused: Option<(String, String)>,
    /// Sensors that have it in force.
    pub applied: u64,
    /// Hits since.
    pub hits: u64,
    /// Hits in the hour before.
    pub hits_before: u64,
}

/// What follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not yet.
    Wait,
    /// To all others.
    Release,
    /// To nobody else, and why.
    Stop(String),
}

/// Decides after `minutes`; what speaks against the bundle counts at once. Without one sensor that has it in force
/// nothing is known of it, and nothing is decided.
pub fn judge(seen: &Seen, minutes: u64) -> Verdict {
    if let Some((town, reason)) = &seen.refused {
        return Verdict::Stop(format!("refused in {town}: {reason}"));
    }
    let allowed_an_hour =
        seen.hits_before.saturating_mul(HITS_MULTIPLE).max(HITS_PER_MINUTE_FREE * 60 * seen.towns);
    let lasted = seen.minutes.max(1);
    if seen.hits.saturating_mul(60) > allowed_an_hour.saturating_mul(lasted) {
        return Verdict::Stop(format!(
            "{} hits in {lasted} minutes in the first towns, {} in the hour before: more than {HITS_MULTIPLE} times as many a minute",
            seen.hits, seen.hits_before
        ));
    }
    if seen.minutes >= minutes && seen.applied > 0 { Verdict::Release } else { Verdict::Wait }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn towns(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("comune-{number}")).collect()
    }

    #[test]
    fn a_share_of_the_towns_is_first_the_same_each_time_and_others_with_each_bundle() {
        for (count, share, expected) in [(1, 1, 1), (3, 10, 1), (100, 10, 10), (101, 10, 11), (7, 100, 7)] {
            assert_eq!(first_towns(Serial(5), &towns(count), share).len(), expected, "{share} % of {count}");
        }
        let mut reversed = towns(100);
        reversed.reverse();
        let first = first_towns(Serial(5), &towns(100), 10);
        assert_eq!(first_towns(Serial(5), &reversed, 10), first);
        assert_ne!(first_towns(Serial(6), &towns(100), 10), first);
        let canary = Canary { serial: Serial(5), towns: Arc::new(first.clone()) };
        let offered = Offered { all: Serial(4), canary: Some(canary) };
        for town in towns(100) {
            let serial = if first.contains(&town) { 5 } else { 4 };
            assert_eq!((offered.to(&town), offered.is_first(&town)), (Serial(serial), serial == 5));
        }
    }

    #[test]
    fn the_guard_stops_at_once_and_releases_in_time() {
        let good = Seen { minutes: 10, towns: 2, applied: 1, ..Seen::default() };
        let check = |seen: &Seen, expected: Verdict| assert_eq!(judge(seen, 10), expected, "{seen:?}");
        check(&good, Verdict::Release);
        check(&Seen { minutes: 9, ..good.clone() }, Verdict::Wait);
        check(&Seen { applied: 0, minutes: 99, ..good.clone() }, Verdict::Wait);
        check(&Seen { hits: 120, ..good.clone() }, Verdict::Release);
        check(&Seen { hits: 1_000, hits_before: 600, ..good.clone() }, Verdict::Release);
        let stops = [
            Seen { hits: 121, ..good.clone() },
            Seen { hits: 13, minutes: 0, ..good.clone() },
            Seen { hits: 1_001, hits_before: 600, ..good.clone() },
            Seen { refused: Some(("Borgo Chiaro".into(), "no room".into())), minutes: 0, ..good },
        ];
        for seen in stops {
            assert!(matches!(judge(&seen, 10), Verdict::Stop(_)), "{seen:?}");
        }
    }
}
