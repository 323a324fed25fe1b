//! One conversation with what was seen of it: the view that is reported, and its witnesses.

use protocol::{Flow, Hit, HitId, Nat, Note, Place, Timestamp, Vantage};

use super::translation::{Translation, flow_of, same_ends};
use crate::door::only_carries;
use crate::home::Home;

/// Views of one conversation; further ones are joined without being named.
const VIEWS_MAX: usize = 16;

/// A conversation as one input saw it.
pub(super) struct View {
    id: HitId,
    input: String,
    flow: Flow,
}

/// A hit that waits for its other side, or was given out and may get another witness.
pub(super) struct Conversation {
    pub key: u64,
    /// The reported view, as its detector told it last.
    pub hit: Hit,
    flow: Flow,
    views: Vec<View>,
    /// Connection tracking knows it, translated or not.
    pub is_tracked: bool,
    pub translation: Option<Translation>,
    pub is_uncertain: bool,
    /// The identity under which it was given out.
    given_as: Option<HitId>,
    pub arrived: Timestamp,
    pub ask_at: Option<Timestamp>,
    /// When it is given out; once it was, when it is forgotten.
    pub due_at: Timestamp,
}

impl Conversation {
    pub fn new(hit: Hit, flow: Flow, key: u64, arrived: Timestamp) -> Self {
        let view = View { id: hit.hit_id, input: hit.input.clone(), flow };
        Self {
            key,
            hit,
            flow,
            views: vec![view],
            is_tracked: false,
            translation: None,
            is_uncertain: false,
            given_as: None,
            arrived,
            ask_at: None,
            due_at: arrived,
        }
    }

    pub fn is_given(&self) -> bool {
        self.given_as.is_some()
    }

    /// The flow of the reported view, as it was seen.
    pub fn flow(&self) -> Flow {
        self.flow
    }

    /// Every identity that a detector gave to one of its views.
    pub fn ids(&self) -> impl Iterator<Item = HitId> {
        self.views.iter().map(|view| view.id)
    }

    /// Whether a hit is of the same kind: the same value in the same field for the same reason.
    pub fn is_about(&self, hit: &Hit) -> bool {
        self.hit.seen_in == hit.seen_in
            && self.hit.indicator == hit.indicator
            && self.hit.observable == hit.observable
    }

    /// Whether this input reported this flow before: then it is another conversation, or the same one again.
    pub fn was_seen_at(&self, input: &str, flow: &Flow) -> bool {
        self.views.iter().any(|view| view.input == input && same_ends(&view.flow, flow))
    }

    /// Takes another view in, with what was known of it.
    pub fn absorb(&mut self, other: Self) {
        let is_inner = |flow: &Flow| self.translation.is_some_and(|known| same_ends(&known.inner, flow));
        let (at, count) = (self.hit.at.min(other.hit.at), self.hit.count);
        let last_at = self.hit.last_at.max(other.hit.last_at);
        let notes = [self.hit.notes.clone(), other.hit.notes.clone()].concat();
        if is_inner(&other.flow) && !is_inner(&self.flow) {
            self.hit = other.hit;
            self.flow = other.flow;
            // What was given out must not shrink; before that, the inner side counts for itself.
            self.hit.count = if self.given_as.is_some() { self.hit.count.max(count) } else { self.hit.count };
        }
        if self.given_as.is_some() {
            self.hit.last_at = last_at;
        }
        self.hit.at = at;
        for note in notes {
            if !self.hit.notes.contains(&note) {
                self.hit.notes.push(note);
            }
        }
        let room = VIEWS_MAX.saturating_sub(self.views.len());
        self.views.extend(other.views.into_iter().take(room));
    }

    /// Takes what a detector says anew of a view; gives whether there is something to report.
    pub fn update(&mut self, hit: Hit) -> bool {
        if flow_of(&hit) != Some(self.flow) || hit.input != self.hit.input {
            return false; // a witness counts the hosts behind a translation together
        }
        let (at, count) = (self.hit.at, self.hit.count);
        let last_at = self.hit.last_at.max(hit.last_at);
        self.hit = hit;
        self.hit.at = at;
        self.hit.count = self.hit.count.max(count);
        self.hit.last_at = last_at;
        self.given_as.is_some()
    }

    /// The hit as it is given out.
    pub fn report(&mut self, home: &Home) -> Hit {
        let mut hit = self.hit.clone();
        hit.hit_id = *self.given_as.get_or_insert(hit.hit_id);
        if let Some(translation) = &self.translation {
            let sides = translation.sides(home);
            hit.place = Place::Flow { flow: translation.inner };
            hit.direction = sides.direction;
            hit.host = sides.host;
            hit.remote = if only_carries(hit.seen_in) { None } else { sides.remote };
            let (outer, outer_port) = translation.outer_end();
            hit.nat = Some(Nat {
                outer,
                outer_port,
                vantage: self.vantage(translation),
                by: translation.by,
                outer_flow: translation.outer,
            });
        }
        for view in &self.views {
            if view.input != hit.input && !hit.witnesses.contains(&view.input) {
                hit.witnesses.push(view.input.clone());
            }
        }
        if self.is_uncertain && !hit.notes.contains(&Note::NatUncertain) {
            hit.notes.push(Note::NatUncertain);
        }
        hit
    }

    fn vantage(&self, translation: &Translation) -> Vantage {
        let saw = |side: &Flow| self.views.iter().any(|view| same_ends(&view.flow, side));
        match (saw(&translation.inner), saw(&translation.outer)) {
            (true, true) => Vantage::Both,
            (_, false) => Vantage::Inside,
            (false, true) => Vantage::Outside,
        }
    }
}
