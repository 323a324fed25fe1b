//! What the console reads about hits: the filtered list, one hit with its indicator, the same value elsewhere.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use super::{Store, StoreError};

/// Which hits to list; absent parts let everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HitFilter {
    /// Town's identifier.
    pub comune: Option<String>,
    /// Direction's name.
    pub direction: Option<String>,
    /// Kind's name.
    pub kind: Option<String>,
    /// Severity's name; hits whose indicator is not known here have none.
    pub severity: Option<String>,
    /// Text that the value contains, whatever the case of ASCII letters; empty for all.
    pub value: String,
    /// Seen at or after, microseconds.
    pub from: Option<i64>,
    /// Seen before, microseconds.
    pub until: Option<i64>,
}

/// By what the list is sorted, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HitOrder {
    /// Arrival in the store: what a town delivers after an outage comes on top.
    Arrival,
    /// The time at which it was seen.
    Time,
}

/// The last hit of a page; the next page begins after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HitCursor {
    /// When it was seen.
    pub at: i64,
    /// Its row.
    pub id: i64,
}

/// A hit as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HitRow {
    /// Order of arrival.
    pub id: i64,
    /// Town's identifier.
    pub comune: String,
    /// Town's name.
    pub comune_name: String,
    /// First seen.
    pub at: i64,
    /// Last seen.
    pub last_at: i64,
    /// Stored.
    pub received_at: i64,
    /// How often.
    pub count: i64,
    /// Direction's name.
    pub direction: String,
    /// Kind's name.
    pub kind: String,
    /// Value in normal form.
    pub value: String,
    /// The contract's name of the place.
    pub seen_in: String,
    /// The town's own host.
    pub host: Option<String>,
    /// The party outside.
    pub remote: Option<String>,
    /// Severity of the indicator, when it is known here.
    pub severity: Option<String>,
    /// Threat of the indicator, empty when it has none.
    pub threat: String,
}

/// A hit with everything that is stored about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HitDetail {
    /// What lists show.
    pub row: HitRow,
    /// The sensor.
    pub agent: String,
    /// The sensor's host name.
    pub host_name: String,
    /// The hit's own identifier.
    pub hit_id: String,
    /// The indicator's identifier.
    pub indicator: String,
    /// The indicator as its newest bundle has it.
    pub indicator_json: Option<String>,
    /// Serial of the bundle that was in force.
    pub bundle: i64,
    /// Who issued that bundle.
    pub issuer: Option<String>,
    /// Interface, log or capture.
    pub input: String,
    /// The line, request or name.
    pub evidence: String,
    /// The whole hit as it was sent.
    pub hit_json: String,
}

/// How often a value was seen, everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prevalence {
    /// Hits.
    pub hits: i64,
    /// Towns.
    pub comuni: i64,
    /// First seen, when it ever was.
    pub first_at: Option<i64>,
    /// Last seen, when it ever was.
    pub last_at: Option<i64>,
}

impl Store {
    /// Reads for a page of the console.
    pub(crate) async fn look_up<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.read(move |db| Ok(f(db)?)).await
    }
}

const COLUMNS: &str = "h.id, h.comune, c.name, h.at, h.last_at, h.received_at, h.count, h.direction, h.kind, \
     h.value, h.seen_in, h.host, h.remote, json_extract(i.json, '$.severity'), \
     coalesce(json_extract(i.json, '$.threat'), '')";
const TABLES: &str = "hit h JOIN comune c ON c.id = h.comune LEFT JOIN indicator i ON i.id = h.indicator";

/// A page of hits, newest first.
pub(crate) fn hits(
    db: &Connection,
    filter: &HitFilter,
    order: HitOrder,
    after: Option<HitCursor>,
    limit: u32,
) -> rusqlite::Result<Vec<HitRow>> {
    let mut conditions = Conditions::of(filter);
    let order_by = match order {
        HitOrder::Arrival => "h.id DESC",
        HitOrder::Time => "h.at DESC, h.id DESC",
    };
    if let Some(cursor) = after {
        match order {
            HitOrder::Arrival => conditions.add("h.id < ?", [cursor.id.into()]),
            HitOrder::Time => conditions.add("(h.at, h.id) < (?, ?)", [cursor.at.into(), cursor.id.into()]),
        }
    }
    conditions.select(db, order_by, limit)
}

/// Hits that arrived after the row `id`, oldest first.
pub(crate) fn hits_since(
    db: &Connection,
    filter: &HitFilter,
    id: i64,
    limit: u32,
) -> rusqlite::Result<Vec<HitRow>> {
    let mut conditions = Conditions::of(filter);
    conditions.add("h.id > ?", [id.into()]);
    conditions.select(db, "h.id", limit)
}

/// One row, when it fits the filter.
pub(crate) fn hit_in(db: &Connection, filter: &HitFilter, id: i64) -> rusqlite::Result<Option<HitRow>> {
    let mut conditions = Conditions::of(filter);
    conditions.add("h.id = ?", [id.into()]);
    Ok(conditions.select(db, "h.id", 1)?.pop())
}

/// The newest row's number, 0 when there is none.
pub(crate) fn newest_hit(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT coalesce(max(id), 0) FROM hit", [], |row| row.get(0))
}

/// One hit.
pub(crate) fn hit(db: &Connection, id: i64) -> rusqlite::Result<Option<HitDetail>> {
    let sql = format!(
        "SELECT {COLUMNS}, h.agent, a.host_name, h.hit_id, h.indicator, i.json, h.bundle, b.issuer, h.input, \
         h.evidence, h.hit_json \
         FROM {TABLES} JOIN agent a ON a.id = h.agent LEFT JOIN bundle b ON b.serial = h.bundle \
         WHERE h.id = ?"
    );
    db.query_row(&sql, [id], |row| {
        Ok(HitDetail {
            row: hit_row(row)?,
            agent: row.get(15)?,
            host_name: row.get(16)?,
            hit_id: row.get(17)?,
            indicator: row.get(18)?,
            indicator_json: row.get(19)?,
            bundle: row.get(20)?,
            issuer: row.get(21)?,
            input: row.get(22)?,
            evidence: row.get(23)?,
            hit_json: row.get(24)?,
        })
    })
    .optional()
}

/// Other hits with the value of this one, last arrived first.
pub(crate) fn hits_with_value(db: &Connection, of: &HitRow, limit: u32) -> rusqlite::Result<Vec<HitRow>> {
    let mut conditions = Conditions::default();
    conditions.add("h.value = ?", [of.value.clone().into()]);
    conditions.add("h.kind = ?", [of.kind.clone().into()]);
    conditions.add("h.id <> ?", [of.id.into()]);
    conditions.select(db, "h.id DESC", limit)
}

/// How often this kind and value were seen, this hit included.
pub(crate) fn prevalence(db: &Connection, kind: &str, value: &str) -> rusqlite::Result<Prevalence> {
    db.query_row(
        "SELECT count(*), count(DISTINCT comune), min(at), max(last_at) FROM hit WHERE value = ? AND kind = ?",
        params![value, kind],
        |row| {
            Ok(Prevalence {
                hits: row.get(0)?,
                comuni: row.get(1)?,
                first_at: row.get(2)?,
                last_at: row.get(3)?,
            })
        },
    )
}

/// Hits of an origin, last arrived first; `comune` narrows to one town, as a town's own host asks for.
pub(crate) fn hits_of_origin(
    db: &Connection,
    address: &str,
    role: OriginColumn,
    comune: Option<&str>,
    limit: u32,
) -> rusqlite::Result<Vec<HitRow>> {
    let mut conditions = Conditions::default();
    match role {
        OriginColumn::Remote => conditions.add("h.remote = ?", [address.to_owned().into()]),
        // The town's own host is an origin only of what it began itself.
        OriginColumn::Host => conditions
            .add("h.host = ? AND h.direction IN ('outbound', 'internal')", [address.to_owned().into()]),
    }
    if let Some(comune) = comune {
        conditions.add("h.comune = ?", [comune.to_owned().into()]);
    }
    conditions.select(db, "h.id DESC", limit)
}

/// Which column of a hit holds an origin's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OriginColumn {
    /// The party outside.
    Remote,
    /// The town's own host.
    Host,
}

/// Parts of a WHERE clause, each with its values. Text comes from this file only, values are bound.
#[derive(Default)]
struct Conditions {
    parts: Vec<&'static str>,
    values: Vec<Value>,
}

impl Conditions {
    fn of(filter: &HitFilter) -> Self {
        let mut conditions = Self::default();
        let mut equal = |sql, text: &Option<String>| {
            if let Some(text) = text {
                conditions.add(sql, [text.clone().into()]);
            }
        };
        equal("h.comune = ?", &filter.comune);
        equal("h.direction = ?", &filter.direction);
        equal("h.kind = ?", &filter.kind);
        equal("json_extract(i.json, '$.severity') = ?", &filter.severity);
        if !filter.value.is_empty() {
            conditions.add("instr(lower(h.value), lower(?)) > 0", [filter.value.clone().into()]);
        }
        if let Some(from) = filter.from {
            conditions.add("h.at >= ?", [from.into()]);
        }
        if let Some(until) = filter.until {
            conditions.add("h.at < ?", [until.into()]);
        }
        conditions
    }

    fn add<const N: usize>(&mut self, sql: &'static str, values: [Value; N]) {
        self.parts.push(sql);
        self.values.extend(values);
    }

    fn select(mut self, db: &Connection, order_by: &str, limit: u32) -> rusqlite::Result<Vec<HitRow>> {
        let filter = if self.parts.is_empty() { "1".to_owned() } else { self.parts.join(" AND ") };
        let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE {filter} ORDER BY {order_by} LIMIT ?");
        self.values.push(limit.into());
        let mut statement = db.prepare_cached(&sql)?;
        statement.query_map(params_from_iter(self.values), hit_row)?.collect()
    }
}

fn hit_row(row: &Row<'_>) -> rusqlite::Result<HitRow> {
    Ok(HitRow {
        id: row.get(0)?,
        comune: row.get(1)?,
        comune_name: row.get(2)?,
        at: row.get(3)?,
        last_at: row.get(4)?,
        received_at: row.get(5)?,
        count: row.get(6)?,
        direction: row.get(7)?,
        kind: row.get(8)?,
        value: row.get(9)?,
        seen_in: row.get(10)?,
        host: row.get(11)?,
        remote: row.get(12)?,
        severity: row.get(13)?,
        threat: row.get(14)?,
    })
}
