//! How many datagrams the kernel dropped because a socket's buffer was full. `/proc` tells it of a socket that is
//! silent as well; `SO_RXQ_OVFL` would tell it only with the next datagram.

use std::fs;
use std::os::fd::AsFd;

use nix::sys::stat::fstat;

/// The tables of this thread's network.
const TABLES: [&str; 2] = ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"];

/// Datagrams dropped since the socket was opened, in 32 bits.
pub fn dropped(socket: impl AsFd) -> Option<u32> {
    let inode = fstat(socket).ok()?.st_ino;
    TABLES.iter().find_map(|table| dropped_in(&fs::read_to_string(table).ok()?, inode))
}

/// proc_net_udp(5): the inode is the tenth column, the drops are the last.
fn dropped_in(table: &str, inode: u64) -> Option<u32> {
    let line = table.lines().skip(1).find(|line| {
        line.split_ascii_whitespace().nth(9).and_then(|text| text.parse().ok()) == Some(inode)
    })?;
    line.split_ascii_whitespace().nth(12)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_line_of_the_table_is_read() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n \
                     1: 00000000:0202 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 81 2 0000000000000000 0\n \
                     2: 00000000:0203 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 82 2 0000000000000000 4711\n";
        assert_eq!((dropped_in(table, 82), dropped_in(table, 83)), (Some(4711), None));
    }

    #[test]
    fn the_kernel_tells_what_it_dropped() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(address) else { continue };
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBuf, &4096).unwrap();
            assert_eq!(dropped(&socket), Some(0));
            let to = socket.local_addr().unwrap();
            (0..64).for_each(|_| drop(socket.send_to(&[7; 1000], to)));
            let dropped = dropped(&socket).unwrap();
            socket.set_nonblocking(true).unwrap();
            let mut read = 0;
            while socket.recv(&mut [0; 2000]).is_ok() {
                read += 1;
            }
            assert!(read > 0 && dropped + read == 64, "{address}: {dropped} dropped, {read} read");
        }
    }
}
