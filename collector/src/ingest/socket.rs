//! The one UDP socket, with room for what a fleet sends at once: a datagram that finds none is lost, and its sensor waits
//! a second, then two, then four, until it sends it again.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce, SndBuf, SndBufForce};
use nix::sys::socket::{getsockopt, setsockopt};

/// Two thousand sensors with a datagram each, which the kernel counts as 2,304 bytes.
const BUFFER_BYTES: usize = 4 << 20;

/// Opens the socket. The kernel may give it less room, which is said.
///
/// # Errors
/// When the address cannot be had.
pub(super) fn open(listen: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(listen)?;
    // Above the system's limit only for who administers the network.
    if setsockopt(&socket, RcvBufForce, &BUFFER_BYTES).is_err() {
        setsockopt(&socket, RcvBuf, &BUFFER_BYTES)?;
    }
    if setsockopt(&socket, SndBufForce, &BUFFER_BYTES).is_err() {
        setsockopt(&socket, SndBuf, &BUFFER_BYTES)?;
    }
    let given = getsockopt(&socket, RcvBuf)?;
    if given < BUFFER_BYTES {
        tracing::info!(
            given,
            wanted = BUFFER_BYTES,
            "the socket has less room than a thousand sensors may need at once; raise net.core.rmem_max to the wanted \
             bytes (sysctl)"
        );
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_has_as_much_room_as_the_system_gives() {
        let usual = getsockopt(&UdpSocket::bind("127.0.0.1:0").unwrap(), RcvBuf).unwrap();
        let most = std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap();
        let most = most.trim().parse::<usize>().unwrap().min(BUFFER_BYTES);
        let socket = open("127.0.0.1:0".parse().unwrap()).unwrap();
        // The kernel doubles what is asked for.
        assert!(getsockopt(&socket, RcvBuf).unwrap() >= (2 * most).max(usual));
    }
}
