//! Where sensors and desks live: the addresses from which somebody with a good certificate came. In a flood of
//! handshakes nobody there waits for those who never showed one.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use super::door::source_of;

/// More towns than a region has, and desks.
const HOMES_MAX: usize = 16_384;

/// The homes, as [`source_of`] counts addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Homes(Arc<Mutex<HashSet<IpAddr>>>);

impl Homes {
    /// Those that an earlier process knew.
    pub fn of(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let sources = addresses.into_iter().map(source_of).take(HOMES_MAX);
        Self(Arc::new(Mutex::new(sources.collect())))
    }

    /// Somebody with a good certificate came from there. A home too many is none until the next start.
    pub fn add(&self, address: SocketAddr) {
        let Ok(mut homes) = self.0.lock() else { return };
        if homes.len() < HOMES_MAX {
            homes.insert(source_of(address));
        }
    }

    /// Whether it is a home.
    pub fn has(&self, source: IpAddr) -> bool {
        self.0.lock().is_ok_and(|homes| homes.contains(&source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_known_however_its_address_is_written_and_there_are_not_too_many() {
        let at = |address: &str| address.parse::<SocketAddr>().unwrap();
        let homes = Homes::of([at("[::ffff:192.0.2.1]:4740")]);
        homes.add(at("[2001:db8::5:1]:9"));
        for (address, known) in [
            ("192.0.2.1:1", true),
            ("192.0.2.2:1", false),
            ("[2001:db8::7]:1", true),
            ("[2001:db8:0:1::7]:1", false),
        ] {
            assert_eq!(homes.has(source_of(at(address))), known, "{address}");
        }
        (0..=HOMES_MAX).for_each(|number| {
            homes.add((IpAddr::from(u32::try_from(number).unwrap().to_be_bytes()), 1).into());
        });
        assert_eq!(homes.0.lock().unwrap().len(), HOMES_MAX);
    }
}
