//! The one door that sightings go through: compared with the indicators, or written down as they are.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use protocol::hit::evidence;
use protocol::{Direction, Flow, Hit, HitId, Observable, Place, SeenIn, Timestamp};

use crate::cooldown::{Cooldowns, Key};
use crate::counters::Counters;
use crate::home::{Home, Sides};
use crate::http;
use crate::line::Scan;
use crate::matcher::{Found, Matcher};
use crate::sighting::{Sighting, SightingRecord};

/// Indicators remembered of one flow; of more, the first are forgotten and may give another hit.
const KNOWN_MAX: usize = 32;

/// Hits of a flow or line already given out: the same indicator seen again there only counts.
pub(crate) type Known = Option<Box<Vec<Arc<Key>>>>;

/// Where and when something is seen.
pub(crate) struct Scene<'a> {
    pub at: Timestamp,
    pub place: Where<'a>,
    pub known: &'a mut Known,
}

/// A flow, or a line with what was found in it.
#[derive(Clone, Copy)]
pub(crate) enum Where<'a> {
    Flow(Flow),
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
        }
    }

    pub fn set_matcher(&mut self, matcher: Arc<Matcher>) {
        self.matcher = Some(matcher);
    }

    /// Takes one sighting.
    pub fn sight(&mut self, scene: &mut Scene<'_>, sighting: Sighting<'_>) {
        self.counters.sightings += 1;
        let Some(matcher) = &self.matcher else {
            self.sightings.push_back(SightingRecord {
                at: scene.at,
                input: self.input.clone(),
                observable: sighting.observable,
                seen_in: sighting.seen_in,
                place: scene.place.to_place(),
            });
            return;
        };
        let port = sighting.port.or_else(|| scene.place.port_of(sighting.seen_in));
        let found = matcher.look_up(&sighting.observable, port, scene.at);
        if !found.is_empty() {
            let matcher = Arc::clone(matcher);
            self.hit(scene, sighting, &matcher, &found);
        }
    }

    fn hit(&mut self, scene: &mut Scene<'_>, sighting: Sighting<'_>, matcher: &Matcher, found: &Found) {
        self.counters.matches += 1;
        let mut ids = found.iter().map(|number| matcher.id(*number));
        let indicator = ids.next().unwrap_or_default();
        let known = scene.known.get_or_insert_default();
        if let Some(at) = known.iter().position(|key| *key.indicator == *indicator) {
            if known.get(at).is_some_and(|key| self.cooldowns.repeat(key, scene.at)) {
                return;
            }
            known.swap_remove(at); // its cooldown is over: a long flow is reported again
        }
        let sides = self.sides(scene.place, &sighting);
        let key = Arc::new(Key { indicator: indicator.into(), host: sides.host, seen_in: sighting.seen_in });
        if known.len() >= KNOWN_MAX {
            known.swap_remove(0);
        }
        known.push(Arc::clone(&key));
        if self.cooldowns.repeat(&key, scene.at) {
            return;
        }
        let place = scene.place.to_place();
        let seen = (&sighting.observable, sighting.seen_in);
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
            bundle: matcher.serial(),
            evidence: match sighting.seen_in {
                SeenIn::HttpHost | SeenIn::HttpUrl | SeenIn::HttpUserAgent => {
                    evidence(&http::evidence_of(sighting.evidence))
                }
                _ => evidence(sighting.evidence),
            },
            seen_in: sighting.seen_in,
            observable: sighting.observable,
            place,
        };
        self.cooldowns.begin(key, hit, &mut self.counters);
    }

    /// Sides of the flow or line. A resolver or relay only carries the value: it is no party to it.
    fn sides(&self, place: Where<'_>, sighting: &Sighting<'_>) -> Sides {
        let mut sides = match place {
            Where::Flow(flow) => self.home.sides(flow.src, flow.dst),
            Where::Line { scan, .. } => scan.sides(&self.home),
        };
        let carried = matches!(
            sighting.seen_in,
            SeenIn::DnsQuery | SeenIn::DnsAnswer | SeenIn::SmtpFrom | SeenIn::SmtpRcpt
        );
        if carried {
            sides.remote = None;
        } else if sides.direction == Direction::Transit {
            sides.remote = seen_address(&sighting.observable).or(sides.remote);
        }
        sides
    }
}

fn seen_address(observable: &Observable) -> Option<IpAddr> {
    match observable {
        Observable::Ip(address) => Some(*address),
        _ => None,
    }
}

impl Where<'_> {
    fn to_place(self) -> Place {
        match self {
            Self::Flow(flow) => Place::Flow { flow },
            Self::Line { line, offset, .. } => Place::Line { line, offset },
        }
    }

    fn port_of(self, seen_in: SeenIn) -> Option<u16> {
        match (self, seen_in) {
            (Self::Flow(flow), SeenIn::FlowSrc) => Some(flow.src_port),
            (Self::Flow(flow), SeenIn::FlowDst) => Some(flow.dst_port),
            _ => None,
        }
    }
}
