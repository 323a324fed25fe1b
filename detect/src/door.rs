//! The one door that sightings go through: compared with the indicators, or written down as they are.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use protocol::hit::{Logged, NAMED_ORIGINS_MAX, Nat, evidence};
use protocol::index::Match;
use protocol::{Direction, Hit, HitId, Note, Observable, Place, SeenIn, Serial, Timestamp, Traffic};

use crate::cooldown::{Cooldowns, Key};
use crate::counters::Counters;
use crate::flow::{FlowKey, Way};
use crate::home::{Home, Sides, is_no_origin};
use crate::http;
use crate::line::Scan;
use crate::line::screen::Screen;
use crate::matcher::Matcher;
use crate::normal::Scratch;
use crate::sighting::{Seen, Sighting, SightingRecord, Wants};

/// Indicators remembered of one flow; of more, the first are forgotten and may give another hit.
const KNOWN_MAX: usize = 32;
/// Bytes that must be left for a flow to remember one hit more; identifiers of indicators take about fifty.
const KNOWN_BYTES: usize = 1024;

/// Hits of a flow or line already given out: the same indicator seen again there only counts.
pub(crate) type Known = Option<Box<KnownHits>>;

/// What the hits of a flow or line were.
#[derive(Default)]
pub(crate) struct KnownHits(Vec<Arc<Key>>);

impl KnownHits {
    /// Bytes kept, its own and the counts of each `Arc` included.
    pub fn held(&self) -> usize {
        let keys = self.0.iter().map(|key| size_of::<Key>() + 2 * size_of::<usize>() + key.indicator.len());
        size_of::<Self>() + self.0.capacity() * size_of::<Arc<Key>>() + keys.sum::<usize>()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter().map(|key| &**key)
    }
}

/// Where and when something is seen.
pub(crate) struct Scene<'a> {
    pub at: Timestamp,
    pub place: Where<'a>,
    pub known: &'a mut Known,
    /// What went over the flow so far.
    pub traffic: Option<Traffic>,
}

/// A flow and who began it, or a line with what was found in it.
#[derive(Clone, Copy)]
pub(crate) enum Where<'a> {
    Flow(FlowKey, Way),
    Line { line: u64, offset: Option<u64>, scan: &'a Scan<'a> },
}

/// Compares sightings, or gives them out when it only observes.
pub(crate) struct Door {
    input: String,
    home: Home,
    matcher: Option<Arc<Matcher>>,
    pub cooldowns: Cooldowns,
    pub sightings: VecDeque<SightingRecord>,
    pub counters: Counters,
    /// Bytes that flows may still keep to remember their hits.
    pub room: usize,
    scratch: Scratch,
    screen: Screen,
}

impl Door {
    pub fn new(input: &str, home: Home, matcher: Option<Arc<Matcher>>, cooldowns: Cooldowns) -> Self {
        Self {
            input: input.to_owned(),
            home,
            matcher,
            cooldowns,
            sightings: VecDeque::new(),
            counters: Counters::default(),
            room: usize::MAX,
            scratch: Scratch::default(),
            screen: Screen::default(),
        }
    }

    /// What of the kinds that cost work to make is looked for.
    pub fn wants(&self) -> Wants {
        self.matcher.as_ref().map_or(Wants::ALL, |matcher| matcher.wants())
    }

    pub fn only_observes(&self) -> bool {
        self.matcher.is_none()
    }

    /// Whether nothing that is looked for can be in a log line.
    pub fn is_out_of_question(&mut self, line: &[u8]) -> bool {
        self.matcher.as_ref().is_some_and(|matcher| !self.screen.may_match(line, matcher))
    }

    pub fn set_matcher(&mut self, matcher: Arc<Matcher>) {
        self.matcher = Some(matcher);
    }

    /// Takes one sighting.
    pub fn sight(&mut self, scene: &mut Scene<'_>, sighting: Sighting<'_>) {
        self.counters.sightings += 1;
        let Some(matcher) = &self.matcher else {
            self.write_down(scene, &sighting);
            return;
        };
        let port = sighting.port.or_else(|| scene.place.port_of(sighting.seen_in));
        let found = self.scratch.normal(sighting.seen, port, |value| matcher.look_up(value, scene.at));
        match found {
            None => self.counters.values_odd += 1,
            Some(Err(_)) => self.counters.look_ups_failed += 1,
            Some(Ok(found)) => {
                self.counters.silenced += u64::from(found.silenced);
                self.counters.revoked += u64::from(found.revoked);
                if !found.indicators.is_empty() {
                    let serial = matcher.serial();
                    self.hit(scene, sighting, &found.indicators, serial);
                }
            }
        }
    }

    fn write_down(&mut self, scene: &Scene<'_>, sighting: &Sighting<'_>) {
        let Some(observable) = self.scratch.owned(sighting.seen) else {
            self.counters.values_odd += 1;
            return;
        };
        self.sightings.push_back(SightingRecord {
            at: scene.at,
            input: self.input.clone(),
            observable,
            seen_in: sighting.seen_in,
            place: scene.place.to_place(),
            notes: sighting.notes.to_vec(),
        });
    }

    fn hit(&mut self, scene: &mut Scene<'_>, sighting: Sighting<'_>, found: &[Match], bundle: Serial) {
        self.counters.matches += 1;
        let mut ids = found.iter().map(|found| &*found.id);
        let indicator = ids.next().unwrap_or_default();
        if let Some(KnownHits(known)) = scene.known.as_deref_mut()
            && let Some(at) = known.iter().position(|key| *key.indicator == *indicator)
        {
            if known.get(at).is_some_and(|key| self.cooldowns.repeat(key, scene.at)) {
                return;
            }
            known.swap_remove(at); // its cooldown is over: a long flow is reported again
        }
        let (sides, is_masked) = self.sides(scene.place, &sighting);
        let key = Arc::new(Key { indicator: indicator.into(), host: sides.host, seen_in: sighting.seen_in });
        if self.room < KNOWN_BYTES {
            self.counters.hits_unremembered += 1;
        } else {
            let KnownHits(known) = &mut **scene.known.get_or_insert_default();
            if known.len() >= KNOWN_MAX {
                known.swap_remove(0);
            }
            known.push(Arc::clone(&key));
        }
        if self.cooldowns.repeat(&key, scene.at) {
            return;
        }
        let Some(observable) = self.scratch.owned(sighting.seen) else { return };
        let place = scene.place.to_place();
        let seen = (&observable, sighting.seen_in);
        let mut notes = sighting.notes;
        if is_masked {
            notes.add(Note::OriginMasked);
        }
        let (logged, nat) = scene.place.logged(&self.home, scene.at);
        let hit = Hit {
            hit_id: HitId::derive(scene.at, &self.input, seen, &place, indicator),
            at: scene.at,
            input: self.input.clone(),
            indicator: indicator.to_owned(),
            also: ids.map(str::to_owned).collect(),
            direction: sides.direction,
            host: sides.host,
            remote: sides.remote,
            count: 1,
            last_at: scene.at,
            bundle,
            evidence: evidence_of(&sighting),
            seen_in: sighting.seen_in,
            observable,
            place,
            notes: notes.to_vec(),
            named_origins: sighting.named_origins.iter().take(NAMED_ORIGINS_MAX).copied().collect(),
            traffic: scene.traffic,
            nat,
            witnesses: Vec::new(),
            logged,
        };
        self.cooldowns.begin(key, hit, &mut self.counters);
    }

    /// Sides of the flow or line, and whether the party outside is hidden. A resolver or relay only carries the value:
    /// it is no party to it.
    fn sides(&self, place: Where<'_>, sighting: &Sighting<'_>) -> (Sides, bool) {
        let mut sides = match place {
            Where::Flow(key, began) => {
                let flow = key.begun_by(began);
                let behind = self.home.behind_proxy(flow.src, sighting.named_origins);
                self.home.sides(behind.unwrap_or(flow.src), flow.dst)
            }
            Where::Line { scan, .. } => scan.sides(&self.home),
        };
        // A proxy of the town's own that nobody called trusted: who is behind it is only a candidate.
        let is_proxied = sides.direction == Direction::Internal && !sighting.named_origins.is_empty();
        let is_no_origin = sides.direction == Direction::Inbound && sides.remote.is_some_and(is_no_origin);
        if only_carries(sighting.seen_in) || is_no_origin {
            sides.remote = None;
        } else if sides.direction == Direction::Transit {
            sides.remote = seen_address(sighting.seen).or(sides.remote);
        }
        (sides, is_proxied || is_no_origin)
    }
}

/// Whether the other end of the flow only carried the value, and is no party to it.
pub(crate) fn only_carries(seen_in: SeenIn) -> bool {
    matches!(
        seen_in,
        SeenIn::DnsQuery
            | SeenIn::DnsAnswer
            | SeenIn::MdnsQuery
            | SeenIn::MdnsAnswer
            | SeenIn::LlmnrQuery
            | SeenIn::LlmnrAnswer
            | SeenIn::SmtpFrom
            | SeenIn::SmtpRcpt
    )
}

fn evidence_of(sighting: &Sighting<'_>) -> String {
    match sighting.seen_in {
        SeenIn::HttpHost
        | SeenIn::HttpUrl
        | SeenIn::HttpUserAgent
        | SeenIn::Http2Host
        | SeenIn::Http2Url
        | SeenIn::Http2UserAgent
        | SeenIn::HttpReferer
        | SeenIn::HttpForwarded => evidence(&http::evidence_of(sighting.evidence)),
        _ => evidence(sighting.evidence),
    }
}

fn seen_address(seen: Seen<'_>) -> Option<IpAddr> {
    match seen {
        Seen::Ip(address) => Some(address.to_canonical()),
        Seen::Normal(Observable::Ip(address)) => Some(*address),
        _ => None,
    }
}

impl Where<'_> {
    fn to_place(self) -> Place {
        match self {
            Self::Flow(key, began) => Place::Flow { flow: key.begun_by(began) },
            Self::Line { line, offset, .. } => Place::Line { line, offset },
        }
    }

    /// What a line says beyond its values, and the translation that it tells of.
    fn logged(self, home: &Home, read_at: Timestamp) -> (Option<Box<Logged>>, Option<Nat>) {
        let Self::Line { scan, .. } = self else { return (None, None) };
        let ends = scan.ends(home);
        let logged = scan.logged(ends.map(|ends| ends.inner_flow()), read_at);
        let logged = (logged != Logged::default()).then(|| Box::new(logged));
        (logged, ends.and_then(|ends| ends.nat()))
    }

    fn port_of(self, seen_in: SeenIn) -> Option<u16> {
        match (self, seen_in) {
            (Self::Flow(key, began), SeenIn::FlowSrc) => Some(key.ports(began).0),
            (Self::Flow(key, began), SeenIn::FlowDst) => Some(key.ports(began).1),
            _ => None,
        }
    }
}
