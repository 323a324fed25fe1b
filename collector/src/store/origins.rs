//! Origins as they are kept: one row for each address, role and town.

use std::collections::{BTreeMap, BTreeSet};

use protocol::Hit;
use rusqlite::{Transaction, params};

use super::StoreError;
use crate::origins;

/// What the hits of one transaction say about origins, written at its end: an attack brings many hits of few origins,
/// and each is written once. In the order of the tables, so that neighbours share pages.
///
/// It borrows from the records that are committed together, and is limited as they are.
#[derive(Debug, Default)]
pub(crate) struct Tally<'a>(BTreeMap<Key<'a>, Seen<'a>>);

/// Address, role and town.
type Key<'a> = (String, &'static str, &'a str);

#[derive(Debug, Default)]
struct Seen<'a> {
    /// The last time of hits that went on before one was counted here: it moves an origin that is stored, and makes none.
    extended_to: Option<i64>,
    counted: Option<Counted<'a>>,
}

#[derive(Debug)]
struct Counted<'a> {
    first_at: i64,
    last_at: i64,
    /// Inbound, outbound, internal, transit.
    directions: [i64; 4],
    indicators: BTreeSet<&'a str>,
}

impl<'a> Tally<'a> {
    /// Counts a hit that is new in the store.
    pub fn count(&mut self, comune: &'a str, hit: &'a Hit) {
        let (first_at, last_at) = (hit.at.as_micros(), hit.last_at.max(hit.at).as_micros());
        self.each_of(comune, hit, |seen| {
            let counted = seen.counted.get_or_insert_with(|| Counted {
                first_at,
                last_at,
                directions: [0; 4],
                indicators: BTreeSet::new(),
            });
            counted.first_at = counted.first_at.min(first_at);
            counted.last_at = counted.last_at.max(last_at);
            for (name, count) in
                ["inbound", "outbound", "internal", "transit"].iter().zip(&mut counted.directions)
            {
                *count += i64::from(*name == hit.direction.as_str());
            }
            counted.indicators.insert(&hit.indicator);
            counted.indicators.extend(hit.also.iter().map(String::as_str));
        });
    }

    /// Extends the time of origins of a hit that was stored before: it went on, it is not another one.
    pub fn extend(&mut self, comune: &'a str, hit: &Hit) {
        let last_at = hit.last_at.as_micros();
        self.each_of(comune, hit, |seen| match &mut seen.counted {
            Some(counted) => counted.last_at = counted.last_at.max(last_at),
            None => seen.extended_to = seen.extended_to.max(Some(last_at)),
        });
    }

    fn each_of(&mut self, comune: &'a str, hit: &Hit, change: impl Fn(&mut Seen<'a>)) {
        for (address, role) in origins::of(hit) {
            change(self.0.entry((address.to_string(), role.as_str(), comune)).or_default());
        }
    }

    /// Writes all of it.
    pub fn write(self, transaction: &Transaction<'_>) -> Result<(), StoreError> {
        let mut extend = transaction.prepare_cached(
            "UPDATE origin SET last_at = max(last_at, ?4) WHERE address = ?1 AND role = ?2 AND comune = ?3",
        )?;
        let mut count = transaction.prepare_cached(
            "INSERT INTO origin (address, role, comune, first_at, last_at, inbound, outbound, internal, transit)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (address, role, comune) DO UPDATE SET
                first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at),
                inbound = inbound + excluded.inbound, outbound = outbound + excluded.outbound,
                internal = internal + excluded.internal, transit = transit + excluded.transit",
        )?;
        let mut name = transaction.prepare_cached(
            "INSERT INTO origin_indicator (address, role, comune, indicator) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING",
        )?;
        for ((address, role, comune), seen) in self.0 {
            if let Some(last_at) = seen.extended_to {
                extend.execute(params![address, role, comune, last_at])?;
            }
            let Some(Counted { first_at, last_at, directions, indicators }) = seen.counted else { continue };
            let [inbound, outbound, internal, transit] = directions;
            count.execute(params![
                address, role, comune, first_at, last_at, inbound, outbound, internal, transit
            ])?;
            for indicator in indicators {
                name.execute(params![address, role, comune, indicator])?;
            }
        }
        Ok(())
    }
}
