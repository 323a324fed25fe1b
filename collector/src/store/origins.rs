//! Origins as they are kept: one row for each address, role and town.

use protocol::Hit;
use rusqlite::{Transaction, params};

use super::StoreError;
use crate::origins;

/// Counts a hit that is new in the store.
pub(crate) fn count_hit(transaction: &Transaction<'_>, comune: &str, hit: &Hit) -> Result<(), StoreError> {
    for (address, role) in origins::of(hit) {
        let address = address.to_string();
        let counts = ["inbound", "outbound", "internal", "transit"]
            .map(|direction| i64::from(direction == hit.direction.as_str()));
        let [inbound, outbound, internal, transit] = counts;
        transaction
            .prepare_cached(
                "INSERT INTO origin (address, role, comune, first_at, last_at, inbound, outbound, internal, transit)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                 ON CONFLICT (address, role, comune) DO UPDATE SET
                    first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at),
                    inbound = inbound + excluded.inbound, outbound = outbound + excluded.outbound,
                    internal = internal + excluded.internal, transit = transit + excluded.transit",
            )?
            .execute(params![
                address,
                role.as_str(),
                comune,
                hit.at.as_micros(),
                hit.last_at.as_micros().max(hit.at.as_micros()),
                inbound,
                outbound,
                internal,
                transit
            ])?;
        for indicator in std::iter::once(&hit.indicator).chain(&hit.also) {
            transaction
                .prepare_cached(
                    "INSERT INTO origin_indicator (address, role, comune, indicator) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO NOTHING",
                )?
                .execute(params![address, role.as_str(), comune, indicator])?;
        }
    }
    Ok(())
}

/// Extends the time of origins of a hit that was stored before: it went on, it is not another one.
pub(crate) fn extend(transaction: &Transaction<'_>, comune: &str, hit: &Hit) -> Result<(), StoreError> {
    for (address, role) in origins::of(hit) {
        transaction
            .prepare_cached(
                "UPDATE origin SET last_at = max(last_at, ?4)
                 WHERE address = ?1 AND role = ?2 AND comune = ?3",
            )?
            .execute(params![address.to_string(), role.as_str(), comune, hit.last_at.as_micros()])?;
    }
    Ok(())
}
