//! One interface shared by several workers: the kernel deals its packets to them so that both directions of a
//! conversation go to the same one (PACKET_FANOUT, packet(7)).
//!
//! The hash is symmetric since Linux 4.8 and looks into VLAN tags and IP tunnels. IPv4 fragments are put together
//! by the kernel before they are dealt; fragments of IPv6 are dealt by their addresses alone, so that all of one
//! packet still meet in one worker.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::{GetStruct, SetStruct};
use nix::sys::socket::{getsockopt, setsockopt};

/// The socket option: number of the group in the low half, how packets are dealt in the high half.
#[derive(Clone, Copy, Debug)]
struct PacketFanout;

nix::setsockopt_impl!(PacketFanout, libc::SOL_PACKET, libc::PACKET_FANOUT, u32, SetStruct<'_, u32>);
nix::getsockopt_impl!(PacketFanout, libc::SOL_PACKET, libc::PACKET_FANOUT, u32, GetStruct<u32>);

/// By flow, with fragments put together, in a group that nobody else has.
const NEW_GROUP: u32 =
    (libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_DEFRAG | libc::PACKET_FANOUT_FLAG_UNIQUEID) << 16;
/// What stands for no group; a group's option always has its flag.
const NONE: u32 = 0;

/// The group of an interface as its workers know it.
#[derive(Clone, Debug, Default)]
pub(super) struct Group(Arc<AtomicU32>);

/// How a worker has its interface.
#[derive(Clone, Debug)]
pub(super) enum Share {
    /// For itself.
    Alone,
    /// It makes the group whenever it opens the interface, and takes it back when it closes it.
    Founder(Group),
    /// It joins the group that the founder made; without one it does not capture.
    Member(Group),
}

/// What a worker has joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Joined(u32);

impl Share {
    /// The shares of so many workers of one interface.
    pub(super) fn among(workers: usize) -> Vec<Self> {
        if workers <= 1 {
            return vec![Self::Alone];
        }
        let group = Group::default();
        let members = std::iter::repeat_with(|| Self::Member(group.clone())).take(workers - 1);
        std::iter::once(Self::Founder(group.clone())).chain(members).collect()
    }

    /// Whether a worker may open the interface: a member without a group would see every packet again.
    pub(super) fn may_open(&self) -> bool {
        match self {
            Self::Alone | Self::Founder(_) => true,
            Self::Member(group) => group.0.load(Ordering::Acquire) != NONE,
        }
    }

    /// Whether this worker speaks for the interface: it tells what is wrong and counts what the card dropped.
    pub(super) fn speaks(&self) -> bool {
        !matches!(self, Self::Member(_))
    }

    /// Takes a share of the packets of an open handle.
    pub(super) fn join(&self, socket: &impl AsFd) -> Result<Joined, Errno> {
        match self {
            Self::Alone => Ok(Joined(NONE)),
            Self::Founder(group) => {
                setsockopt(socket, PacketFanout, &NEW_GROUP)?;
                // Number and flags as members have to give them.
                let made = getsockopt(socket, PacketFanout)?;
                group.0.store(made, Ordering::Release);
                Ok(Joined(made))
            }
            Self::Member(group) => {
                let made = group.0.load(Ordering::Acquire);
                if made == NONE {
                    return Err(Errno::EAGAIN);
                }
                setsockopt(socket, PacketFanout, &made)?;
                Ok(Joined(made))
            }
        }
    }

    /// Whether what was joined is still the interface's group.
    pub(super) fn holds(&self, joined: Joined) -> bool {
        match self {
            Self::Alone | Self::Founder(_) => true,
            Self::Member(group) => group.0.load(Ordering::Acquire) == joined.0,
        }
    }

    /// The handle is closed.
    pub(super) fn leave(&self) {
        if let Self::Founder(group) = self {
            group.0.store(NONE, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_shares_with_nobody_and_more_have_one_founder() {
        assert!(matches!(Share::among(0)[..], [Share::Alone]));
        assert!(matches!(Share::among(1)[..], [Share::Alone]));
        assert!(matches!(Share::among(3)[..], [Share::Founder(_), Share::Member(_), Share::Member(_)]));
    }

    #[test]
    fn a_member_waits_for_the_group_and_leaves_with_it() {
        let shares = Share::among(2);
        let [Share::Founder(group), member] = &shares[..] else { panic!("{shares:?}") };
        assert!(!member.may_open());
        group.0.store(7, Ordering::Release);
        assert!(member.may_open() && member.holds(Joined(7)) && !member.holds(Joined(6)));
        shares[0].leave();
        assert!(!member.may_open() && !member.holds(Joined(7)));
    }
}
