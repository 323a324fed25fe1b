//! What the console reads about origins. A remote address is one origin wherever it was seen; a town's own
//! host is an origin of that town only, because private addresses repeat from town to town.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

/// By what origins are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OriginOrder {
    /// Last seen, newest first.
    LastSeen,
    /// Number of towns, most first.
    Comuni,
}

/// Which origins to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OriginFilter {
    /// `remote` or `host`.
    pub role: Option<String>,
    /// Text that the address contains; empty for all.
    pub address: String,
    /// Town's identifier.
    pub comune: Option<String>,
    /// Exactly this address.
    pub only: Option<String>,
}

/// The last origin of a page; the next page begins after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OriginCursor {
    /// Its towns.
    pub comuni: i64,
    /// When it was last seen.
    pub last_at: i64,
    /// Its address.
    pub address: String,
    /// Its role.
    pub role: String,
    /// Its town for a host, empty for a remote party.
    pub of: String,
}

/// One origin, summed over its towns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OriginRow {
    /// Address.
    pub address: String,
    /// `remote` or `host`.
    pub role: String,
    /// The town's identifier for a host, empty for a remote party.
    pub of: String,
    /// First seen.
    pub first_at: i64,
    /// Last seen.
    pub last_at: i64,
    /// Number of towns.
    pub comuni: i64,
    /// Their names.
    pub names: Vec<String>,
    /// Hits by direction: inbound, outbound, internal, transit.
    pub directions: [i64; 4],
    /// Number of different indicators.
    pub indicators: i64,
}

/// An origin in one town.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OriginTown {
    /// Town's identifier.
    pub comune: String,
    /// Town's name.
    pub name: String,
    /// First seen.
    pub first_at: i64,
    /// Last seen.
    pub last_at: i64,
    /// Hits by direction: inbound, outbound, internal, transit.
    pub directions: [i64; 4],
}

/// An indicator that an origin was seen with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OriginIndicator {
    /// Identifier.
    pub id: String,
    /// As its newest bundle has it, when it is known here.
    pub json: Option<String>,
    /// Number of towns where it was seen with this origin.
    pub comuni: i64,
}

/// An address that proxies named as the party behind an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedOrigin {
    /// What was named.
    pub address: String,
    /// Hits in which it was.
    pub hits: i64,
    /// Towns that these hits are of.
    pub comuni: i64,
    /// Last seen.
    pub last_at: i64,
}

/// The newest hits of an origin in which named addresses are looked for.
const NAMING_HITS_MAX: u32 = 1000;

/// Which town an origin belongs to: none for a remote party.
const OF: &str = "CASE o.role WHEN 'host' THEN o.comune ELSE '' END";

/// A page of origins.
pub(crate) fn origins(
    db: &Connection,
    filter: &OriginFilter,
    order: OriginOrder,
    after: Option<&OriginCursor>,
    limit: u32,
) -> rusqlite::Result<Vec<OriginRow>> {
    let mut inner: Vec<&str> = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    if let Some(role) = &filter.role {
        inner.push("o.role = ?");
        values.push(role.clone().into());
    }
    if let Some(only) = &filter.only {
        inner.push("o.address = ?");
        values.push(only.clone().into());
    } else if !filter.address.is_empty() {
        inner.push("instr(o.address, lower(?)) > 0");
        values.push(filter.address.clone().into());
    }
    if let Some(comune) = &filter.comune {
        // The sums stay those of all towns: an origin of this town is listed with its whole reach.
        inner.push(
            "EXISTS (SELECT 1 FROM origin p WHERE p.address = o.address AND p.role = o.role \
             AND p.comune = ? AND (o.role = 'remote' OR p.comune = o.comune))",
        );
        values.push(comune.clone().into());
    }
    let mut outer = "1";
    let order_by = match order {
        OriginOrder::LastSeen => "last_at DESC, address DESC, role DESC, of DESC",
        OriginOrder::Comuni => "comuni DESC, last_at DESC, address DESC, role DESC, of DESC",
    };
    if let Some(cursor) = after {
        if order == OriginOrder::Comuni {
            outer = "(comuni, last_at, address, role, of) < (?, ?, ?, ?, ?)";
            values.push(cursor.comuni.into());
        } else {
            outer = "(last_at, address, role, of) < (?, ?, ?, ?)";
        }
        values.push(cursor.last_at.into());
        values.push(cursor.address.clone().into());
        values.push(cursor.role.clone().into());
        values.push(cursor.of.clone().into());
    }
    values.push(limit.into());
    let inner = if inner.is_empty() { "1".to_owned() } else { inner.join(" AND ") };
    let sql = format!(
        "SELECT g.*, (SELECT count(DISTINCT x.indicator) FROM origin_indicator x WHERE x.address = g.address \
           AND x.role = g.role AND (g.of = '' OR x.comune = g.of)) \
         FROM (SELECT o.address AS address, o.role AS role, {OF} AS of, min(o.first_at), max(o.last_at) AS last_at, \
             count(*) AS comuni, json_group_array(c.name ORDER BY c.name), sum(o.inbound), sum(o.outbound), \
             sum(o.internal), sum(o.transit) \
           FROM origin o JOIN comune c ON c.id = o.comune WHERE {inner} GROUP BY o.address, o.role, {OF}) g \
         WHERE {outer} ORDER BY {order_by} LIMIT ?"
    );
    let mut statement = db.prepare_cached(&sql)?;
    statement.query_map(params_from_iter(values), origin_row)?.collect()
}

/// The towns of an origin, last seen first; `of` is its town for a host, empty for a remote party.
pub(crate) fn origin_towns(
    db: &Connection,
    address: &str,
    role: &str,
    of: &str,
) -> rusqlite::Result<Vec<OriginTown>> {
    let mut statement = db.prepare_cached(
        "SELECT o.comune, c.name, o.first_at, o.last_at, o.inbound, o.outbound, o.internal, o.transit \
         FROM origin o JOIN comune c ON c.id = o.comune \
         WHERE o.address = ?1 AND o.role = ?2 AND (?3 = '' OR o.comune = ?3) ORDER BY o.last_at DESC, c.name",
    )?;
    statement
        .query_map([address, role, of], |row| {
            Ok(OriginTown {
                comune: row.get(0)?,
                name: row.get(1)?,
                first_at: row.get(2)?,
                last_at: row.get(3)?,
                directions: [row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?],
            })
        })?
        .collect()
}

/// The indicators an origin was seen with, those of most towns first.
pub(crate) fn origin_indicators(
    db: &Connection,
    address: &str,
    role: &str,
    of: &str,
    limit: u32,
) -> rusqlite::Result<Vec<OriginIndicator>> {
    let mut statement = db.prepare_cached(
        "SELECT x.indicator, i.json, count(*) AS comuni \
         FROM origin_indicator x LEFT JOIN indicator i ON i.id = x.indicator \
         WHERE x.address = ?1 AND x.role = ?2 AND (?3 = '' OR x.comune = ?3) \
         GROUP BY x.indicator ORDER BY comuni DESC, x.indicator LIMIT ?4",
    )?;
    statement
        .query_map(rusqlite::params![address, role, of, limit], |row| {
            Ok(OriginIndicator { id: row.get(0)?, json: row.get(1)?, comuni: row.get(2)? })
        })?
        .collect()
}

/// The addresses that were named behind a remote party in its newest inbound hits, those of most hits first.
/// Nobody vouches for them.
pub(crate) fn named_origins(
    db: &Connection,
    address: &str,
    limit: u32,
) -> rusqlite::Result<Vec<NamedOrigin>> {
    let mut statement = db.prepare_cached(
        "SELECT n.value, count(*) AS hits, count(DISTINCT h.comune), max(h.last_at) AS last_at \
         FROM (SELECT hit_json, comune, last_at FROM hit WHERE remote = ?1 AND direction = 'inbound' \
               ORDER BY id DESC LIMIT ?2) h, json_each(h.hit_json, '$.named_origins') n \
         GROUP BY n.value ORDER BY hits DESC, last_at DESC, n.value LIMIT ?3",
    )?;
    statement
        .query_map(rusqlite::params![address, NAMING_HITS_MAX, limit], |row| {
            Ok(NamedOrigin {
                address: row.get(0)?,
                hits: row.get(1)?,
                comuni: row.get(2)?,
                last_at: row.get(3)?,
            })
        })?
        .collect()
}

fn origin_row(row: &Row<'_>) -> rusqlite::Result<OriginRow> {
    let names: String = row.get(6)?;
    Ok(OriginRow {
        address: row.get(0)?,
        role: row.get(1)?,
        of: row.get(2)?,
        first_at: row.get(3)?,
        last_at: row.get(4)?,
        comuni: row.get(5)?,
        names: serde_json::from_str(&names).unwrap_or_default(),
        directions: [row.get(7)?, row.get(8)?, row.get(9)?, row.get(10)?],
        indicators: row.get(11)?,
    })
}
