//! Which handshakes begin. Each address has so many, and all together have the steady rate at length and twice of it in
//! no second, whatever happened to how many sensors; half of it is theirs alone. Who is turned away comes back later, by the rules of its return.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tracing::info;

use super::rates::Rate;
use super::returning::{STEADY_A_SECOND, STEADY_EVERY};

/// Handshakes of one address: so many at once, then one each time. Addresses that are not proven to be the sender's
/// cannot use up what the proven ones have: beyond their few they have to prove it.
const UNPROVEN_BURST: u32 = 16;
const UNPROVEN_EVERY: Duration = Duration::from_secs(1);
/// Less than all others have together: one address must not use up what another stranger needs to enrol.
const PROVEN_BURST: u32 = 32;
const PROVEN_EVERY: Duration = Duration::from_millis(250);
/// Of all together, those that do not come from a sensor's home with proof: however many addresses somebody has, or
/// writes on his packets, half is left to the sensors.
const OTHERS_BURST: u32 = STEADY_A_SECOND / 2;
const OTHERS_EVERY: Duration = Duration::from_millis(20);
/// A second with fewer handshakes is worth no line in the log.
const TELL_FROM: u32 = STEADY_A_SECOND / 2;
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What becomes of one that wants to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Begins,
    /// Its address has to be proven first (Retry, RFC 9000 §8.1.2).
    Proves,
    /// This address had too many.
    TooOften,
    /// All together had too many.
    TooMany,
}

/// Whether somebody with a good certificate came from an address before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whence {
    Home,
    Elsewhere,
}

/// The limits, and what came in the second that is under way.
#[derive(Debug)]
pub(super) struct Intake {
    unproven: Rate<IpAddr>,
    proven: Rate<IpAddr>,
    others: Rate<()>,
    all: Rate<()>,
    since: Instant,
    begun: u32,
    turned_away: u32,
}

impl Intake {
    /// Nobody came yet.
    pub fn new(now: Instant) -> Self {
        Self {
            unproven: Rate::new(UNPROVEN_BURST, UNPROVEN_EVERY),
            proven: Rate::new(PROVEN_BURST, PROVEN_EVERY),
            others: Rate::new(OTHERS_BURST, OTHERS_EVERY),
            all: Rate::new(STEADY_A_SECOND, STEADY_EVERY),
            since: now,
            begun: 0,
            turned_away: 0,
        }
    }

    /// One wants to begin whose address is proven to be its own.
    pub fn admit(&mut self, source: IpAddr, whence: Whence, now: Instant) -> Admission {
        if !self.proven.take(source, now) {
            return Admission::TooOften;
        }
        if whence == Whence::Elsewhere && !self.others.take((), now) {
            return self.turn_away(now);
        }
        self.admit_any(now)
    }

    /// One wants to begin who may write any address on its packets.
    pub fn admit_unproven(&mut self, source: IpAddr, now: Instant) -> Admission {
        let may_begin = self.unproven.take(source, now) && self.others.take((), now);
        if may_begin { self.admit_any(now) } else { Admission::Proves }
    }

    fn admit_any(&mut self, now: Instant) -> Admission {
        self.tell(now);
        if self.all.take((), now) {
            self.begun = self.begun.saturating_add(1);
            return Admission::Begins;
        }
        self.turn_away(now)
    }

    fn turn_away(&mut self, now: Instant) -> Admission {
        self.tell(now);
        self.turned_away = self.turned_away.saturating_add(1);
        Admission::TooMany
    }

    /// Logs a second in which many came.
    pub fn tell(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) < TELL_EVERY {
            return;
        }
        if self.begun >= TELL_FROM || self.turned_away > 0 {
            info!(begun = self.begun, turned_away = self.turned_away, "many handshakes in a second");
        }
        (self.since, self.begun, self.turned_away) = (now, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + number).to_be_bytes())
    }

    /// Of a crowd, each from an address of its own, that comes evenly for so many seconds: how many begin in each.
    fn begun(a_second: u32, seconds: u64) -> Vec<u32> {
        let start = Instant::now();
        let mut intake = Intake::new(start);
        let mut begun = Vec::new();
        for second in 0..seconds {
            let at =
                |number| start + Duration::from_secs(second) + Duration::from_secs(1) * number / a_second;
            let mut begins =
                |number| intake.admit(address(number), Whence::Home, at(number)) == Admission::Begins;
            begun.push((0..a_second).map(|number| u32::from(begins(number))).sum());
        }
        begun
    }

    #[test]
    fn no_second_has_more_than_twice_the_steady_rate() {
        assert_eq!(begun(STEADY_A_SECOND, 5), [STEADY_A_SECOND; 5]);
        let crowd = begun(5_000, 5);
        assert!(crowd.iter().all(|begun| *begun <= 2 * STEADY_A_SECOND), "{crowd:?}");
        assert!(crowd.iter().skip(1).all(|begun| begun.abs_diff(STEADY_A_SECOND) <= 1), "{crowd:?}");
    }

    #[test]
    fn those_who_prove_nothing_and_those_from_elsewhere_leave_half_to_the_sensors() {
        type Admit = fn(&mut Intake, IpAddr, Instant) -> Admission;
        let unproven: Admit = |intake, source, now| intake.admit_unproven(source, now);
        let elsewhere: Admit = |intake, source, now| intake.admit(source, Whence::Elsewhere, now);
        let home: Admit = |intake, source, now| intake.admit(source, Whence::Home, now);
        let half = OTHERS_BURST as usize;
        const { assert!(PROVEN_BURST < OTHERS_BURST) };
        for (crowds, begin) in
            [([unproven, elsewhere, home], [half, 0, half]), ([elsewhere, unproven, home], [half, 0, half])]
        {
            let start = Instant::now();
            let mut intake = Intake::new(start);
            let begun = crowds.map(|admit| {
                let admissions = (0..10_000).map(|number| admit(&mut intake, address(number), start));
                admissions.filter(|admission| *admission == Admission::Begins).count()
            });
            assert_eq!(begun, begin);
        }
    }

    #[test]
    fn one_address_has_few_without_proof_more_with_it_and_no_more() {
        let start = Instant::now();
        let mut intake = Intake::new(start);
        let (here, there) = (address(1), address(2));
        let mut count = |proven: bool, wanted| {
            let admit = |_| match proven {
                true => intake.admit(here, Whence::Home, start),
                false => intake.admit_unproven(here, start),
            };
            (0..200).map(admit).filter(|admission| *admission == wanted).count()
        };
        assert_eq!(count(false, Admission::Begins), UNPROVEN_BURST as usize);
        assert_eq!(count(true, Admission::Begins), PROVEN_BURST as usize);
        assert_eq!(count(true, Admission::TooOften), 200);
        assert_eq!(intake.admit(there, Whence::Home, start), Admission::Begins);
    }
}
