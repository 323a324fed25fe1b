//! Hits and origins in the store beside a plain model that counts hit by hit, over whatever sensors may send.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::schema;
use super::*;
use crate::origins;

/// Two sensors in one town, and one in another with two spools.
const SPOOLS: [(&str, u8, u8); 4] = [("999001", 1, 1), ("999001", 2, 1), ("999002", 3, 1), ("999002", 3, 2)];

fn spool(number: usize) -> Spool {
    let (comune, agent, epoch) = SPOOLS[number];
    Spool { comune: comune.parse().unwrap(), agent: AgentId([agent; 16]), epoch: Epoch([epoch; 16]) }
}

/// Records as one sensor sends them, before or after what it sent last.
#[derive(Clone, Debug)]
struct Sent {
    spool: usize,
    /// Relative to what is stored: 1 is what follows, less is a repeat, more leaves something out.
    first: i64,
    hits: Vec<Hit>,
}

fn hits() -> impl Strategy<Value = Hit> {
    let addresses =
        prop::sample::select(vec!["203.0.113.9", "::ffff:203.0.113.9", "2001:db8::9", "198.51.100.1"]);
    let hosts = prop::sample::select(vec!["192.0.2.10", "192.0.2.11"]);
    let directions = prop::sample::select(vec!["inbound", "outbound", "internal", "transit"]);
    let parties = (prop::option::of(addresses), prop::option::of(hosts), directions);
    let indicators = (0..3_u8, prop::collection::vec(0..4_u8, 0..3));
    (0..8_u8, parties, indicators, 0..9_i64, -2..9_i64, 0..4_u64).prop_map(
        |(id, (remote, host, direction), (indicator, also), at, lasts, count)| {
            let time = |seconds: i64| Timestamp::default().plus_seconds(seconds).to_string();
            let also: Vec<String> = also.iter().map(|also| format!("i{also}")).collect();
            serde_json::from_value(serde_json::json!({
                "hit_id": format!("{id:032x}"), "at": time(at), "last_at": time(at + lasts), "input": "lan0",
                "kind": "domain", "value": "evil.example", "seen_in": "dns.query", "line": 1,
                "indicator": format!("i{indicator}"), "also": also, "direction": direction,
                "host": host, "remote": remote, "count": count, "bundle": 1,
            }))
            .unwrap()
        },
    )
}

fn sent() -> impl Strategy<Value = Sent> {
    let first = prop_oneof![6 => Just(1_i64), 3 => -4..1_i64, 1 => Just(2_i64)];
    (0..SPOOLS.len(), first, prop::collection::vec(hits(), 1..7)).prop_map(|(spool, first, hits)| Sent {
        spool,
        first,
        hits,
    })
}

type Place = (String, String, String);

/// What the store should hold, in the words of its tables.
#[derive(Debug, Default, PartialEq)]
struct Model {
    hits: BTreeMap<(String, String), (i64, i64, String)>,
    origins: BTreeMap<Place, (i64, i64, [i64; 4])>,
    indicators: BTreeSet<(Place, String)>,
    progress: BTreeMap<(String, String), u64>,
}

impl Model {
    fn stored(&self, spool: &Spool) -> u64 {
        self.progress.get(&(spool.agent.to_string(), spool.epoch.to_string())).copied().unwrap_or(0)
    }

    fn keep(&mut self, spool: &Spool, first: u64, hits: &[Hit]) -> bool {
        let stored = self.stored(spool);
        if first > stored + 1 {
            return false;
        }
        for (_, hit) in (first..).zip(hits).filter(|(sequence, _)| *sequence > stored) {
            self.keep_hit(spool, hit);
        }
        let last = stored.max(first + hits.len() as u64 - 1);
        self.progress.insert((spool.agent.to_string(), spool.epoch.to_string()), last);
        true
    }

    fn keep_hit(&mut self, spool: &Spool, hit: &Hit) {
        let mut hit = hit.clone();
        hit.count = hit.count.max(1);
        hit.last_at = hit.last_at.max(hit.at);
        let json = serde_json::to_string(&hit).unwrap();
        let (count, at, last_at) = (hit.count as i64, hit.at.as_micros(), hit.last_at.as_micros());
        let places = origins::of(&hit).into_iter().map(|(address, role)| {
            (address.to_string(), role.as_str().to_owned(), spool.comune.as_str().to_owned())
        });
        let key = (spool.agent.to_string(), hit.hit_id.to_string());
        if let Some(before) = self.hits.get_mut(&key) {
            if count >= before.0 && last_at >= before.1 {
                before.2 = json;
            }
            *before = (before.0.max(count), before.1.max(last_at), before.2.clone());
            for place in places {
                if let Some(origin) = self.origins.get_mut(&place) {
                    origin.1 = origin.1.max(last_at);
                }
            }
            return;
        }
        self.hits.insert(key, (count, last_at, json));
        for place in places {
            let origin = self.origins.entry(place.clone()).or_insert((at, last_at, [0; 4]));
            (origin.0, origin.1) = (origin.0.min(at), origin.1.max(last_at));
            origin.2[hit.direction as usize] += 1;
            let named = std::iter::once(&hit.indicator).chain(&hit.also);
            self.indicators.extend(named.map(|indicator| (place.clone(), indicator.clone())));
        }
    }

    /// What a database holds.
    fn read(db: &Connection) -> Self {
        fn all<T, C: FromIterator<T>>(
            db: &Connection,
            sql: &str,
            row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
        ) -> C {
            db.prepare(sql).unwrap().query_map([], row).unwrap().map(Result::unwrap).collect()
        }
        Self {
            hits: all(db, "SELECT agent, hit_id, count, last_at, hit_json FROM hit", |row| {
                Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?, row.get(4)?)))
            }),
            origins: all(
                db,
                "SELECT address, role, comune, first_at, last_at, inbound, outbound, internal, transit FROM origin",
                |row| {
                    let directions = [row.get(5)?, row.get(6)?, row.get(7)?, row.get(8)?];
                    Ok(((row.get(0)?, row.get(1)?, row.get(2)?), (row.get(3)?, row.get(4)?, directions)))
                },
            ),
            indicators: all(db, "SELECT address, role, comune, indicator FROM origin_indicator", |row| {
                Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?))
            }),
            progress: all(db, "SELECT agent, epoch, stored FROM progress", |row| {
                Ok(((row.get(0)?, row.get(1)?), from_stored(row.get(2)?)))
            }),
        }
    }
}

fn database() -> Connection {
    let mut db = Connection::open_in_memory().unwrap();
    schema::migrate(&mut db, std::path::Path::new("not there")).unwrap();
    db.execute_batch("INSERT INTO comune VALUES ('999001', 'A', 0), ('999002', 'B', 0)").unwrap();
    for number in 0..SPOOLS.len() {
        let Spool { comune, agent, .. } = spool(number);
        let sql = "INSERT INTO agent (id, comune, host_name, version, enrolled_at) VALUES (?1, ?2, '', '', 0)
                   ON CONFLICT DO NOTHING";
        db.execute(sql, [&agent.to_string(), comune.as_str()]).unwrap();
    }
    db
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_together_is_what_a_plain_count_hit_by_hit_gives(
        transactions in prop::collection::vec(prop::collection::vec(sent(), 1..6), 1..5),
    ) {
        let (mut db, mut model) = (database(), Model::default());
        for sent in transactions {
            let works: Vec<_> = sent
                .iter()
                .map(|sent| {
                    let records = sent.hits.iter().map(|hit| Record::Hit(Box::new(hit.clone()))).collect::<Vec<_>>();
                    (spool(sent.spool), Clipped::from(records))
                })
                .collect();
            let transaction = db.transaction().unwrap();
            let mut origins = Tally::default();
            for ((spool, records), sent) in works.iter().zip(&sent) {
                let first = model.stored(spool).saturating_add_signed(sent.first).max(1);
                let kept = model.keep(spool, first, &sent.hits);
                let now = Timestamp::default();
                let rows = keep_records(&transaction, (spool, first, records), &mut origins, now).unwrap();
                prop_assert_eq!(rows.is_some(), kept);
            }
            origins.write(&transaction).unwrap();
            transaction.commit().unwrap();
            prop_assert_eq!(&Model::read(&db), &model);
        }
    }
}
