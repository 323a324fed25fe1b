//! Stored hits for the command line, oldest first, in pages.

use protocol::Timestamp;
use rusqlite::params;

use super::{Store, StoreError};

/// Which hits; `None` is any.
#[derive(Clone, Debug, Default)]
pub struct HitFilter {
    /// Kind of the observable.
    pub kind: Option<String>,
    /// The town, by identifier or name.
    pub comune: Option<String>,
    /// Exact value of the observable.
    pub value: Option<String>,
}

/// One stored hit.
#[derive(Debug)]
pub struct StoredHit {
    /// Its row: the order of arrival.
    pub row: i64,
    /// The town's identifier.
    pub comune: String,
    /// The sensor.
    pub agent: String,
    /// When it was stored first.
    pub received_at: Timestamp,
    /// The hit as DESIGN's contract has it.
    pub hit_json: String,
}

/// Rows of one page.
const PAGE_ROWS: i64 = 1000;

/// The next page after a row, in order of arrival; empty at the end.
pub(crate) async fn page_after(
    store: &Store,
    row: i64,
    filter: HitFilter,
) -> Result<Vec<StoredHit>, StoreError> {
    store
        .read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT h.id, h.comune, h.agent, h.received_at, h.hit_json FROM hit h
                 JOIN comune c ON c.id = h.comune
                 WHERE h.id > ?1 AND (?2 IS NULL OR h.kind = ?2)
                   AND (?3 IS NULL OR h.comune = ?3 OR c.name = ?3) AND (?4 IS NULL OR h.value = ?4)
                 ORDER BY h.id LIMIT ?5",
            )?;
            let asked = params![row, filter.kind, filter.comune, filter.value, PAGE_ROWS];
            let rows = statement.query_map(asked, |row| {
                Ok(StoredHit {
                    row: row.get(0)?,
                    comune: row.get(1)?,
                    agent: row.get(2)?,
                    received_at: Timestamp::from_micros(row.get(3)?),
                    hit_json: row.get(4)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
}
