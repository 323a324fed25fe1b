//! pcapng files made by hand: what is read of each, and how it ends.

use super::*;

/// A block of a kind, padded and with its length on both sides.
fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let number = |n: u32| if order == Order::Little { n.to_le_bytes() } else { n.to_be_bytes() };
    let padded = body.len().next_multiple_of(4);
    let length = number(u32::try_from(padded + 12).unwrap());
    let mut block = [&number(kind)[..], &length, body].concat();
    block.resize(8 + padded, 0);
    block.extend(length);
    block
}

fn section(order: Order) -> Vec<u8> {
    let (magic, version) = match order {
        Order::Little => ([0x4d, 0x3c, 0x2b, 0x1a], [1, 0, 0, 0]),
        Order::Big => ([0x1a, 0x2b, 0x3c, 0x4d], [0, 1, 0, 0]),
    };
    block(order, SECTION, &[&magic[..], &version, &[0xff; 8]].concat())
}

fn interface(order: Order, link_type: u16, options: &[u8]) -> Vec<u8> {
    let link = if order == Order::Little { link_type.to_le_bytes() } else { link_type.to_be_bytes() };
    block(order, INTERFACE, &[&link[..], &[0, 0], &[0; 4], options].concat())
}

fn packet(order: Order, interface: u32, ticks: u64, bytes: &[u8]) -> Vec<u8> {
    let number = |n: u32| if order == Order::Little { n.to_le_bytes() } else { n.to_be_bytes() };
    let length = number(u32::try_from(bytes.len()).unwrap());
    let (high, low) = (u32::try_from(ticks >> 32).unwrap(), u32::try_from(ticks & 0xffff_ffff).unwrap());
    let head = [number(interface), number(high), number(low), length, length].concat();
    block(order, ENHANCED_PACKET, &[&head[..], bytes].concat())
}

/// Each packet as `micros link_type length`, then how the file ended.
fn check(file: &[u8], packets: &[&str], end: &str) {
    let mut blocks = Blocks::new(file);
    let mut seen = Vec::new();
    let ended = loop {
        match blocks.next() {
            Ok(Some(packet)) => {
                let at = packet.at.map_or("-".to_owned(), |at| at.as_micros().to_string());
                seen.push(format!("{at} {} {}", packet.link_type, packet.bytes.len()));
            }
            Ok(None) => break "end".to_owned(),
            Err(damage) => break damage.to_string(),
        }
    };
    assert_eq!((seen, ended), (packets.iter().map(|text| (*text).to_owned()).collect(), end.to_owned()));
}

const L: Order = Order::Little;

#[test]
fn each_packet_has_the_link_type_of_its_interface() {
    let file = [
        section(L),
        interface(L, 1, &[]),
        interface(L, 101, &[]),
        packet(L, 1, 7, &[0x45; 5]),
        packet(L, 0, 1 << 33, &[0; 60]),
    ];
    check(&file.concat(), &["7 101 5", "8589934592 1 60"], "end");
}

#[test]
fn a_section_may_turn_the_byte_order_and_begins_its_interfaces_anew() {
    let big = Order::Big;
    let file = [
        section(L),
        interface(L, 1, &[]),
        packet(L, 0, 1, &[0; 4]),
        section(big),
        interface(big, 113, &[]),
        packet(big, 0, 2, &[0; 3]),
        packet(big, 1, 3, &[0; 3]),
    ];
    check(&file.concat(), &["1 1 4", "2 113 3"], "a packet is of an interface that is not described");
}

#[test]
fn time_is_counted_as_the_interface_says() {
    let nanos = [9, 0, 1, 0, 9, 0, 0, 0];
    let binary = [9, 0, 1, 0, 0x8a, 0, 0, 0, 0, 0, 0, 0]; // 1,024 parts of a second
    let later = [14, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    let file = [
        section(L),
        interface(L, 1, &nanos),
        interface(L, 1, &binary),
        interface(L, 1, &later),
        packet(L, 0, 1_500_000, &[]),
        packet(L, 1, 512, &[]),
        packet(L, 2, 5, &[]),
    ];
    check(&file.concat(), &["1500 1 0", "500000 1 0", "1000005 1 0"], "end");
}

#[test]
fn old_and_simple_packets_are_read_and_other_blocks_passed_over() {
    let old = [&[0, 0, 9, 9][..], &[0; 4], &[5, 0, 0, 0], &[2, 0, 0, 0], &[2, 0, 0, 0], &[1, 2]].concat();
    let simple = [&[3, 0, 0, 0][..], &[1, 2, 3]].concat();
    let file = [
        section(L),
        interface(L, 1, &[]),
        block(L, 4, &[7; 40]),
        block(L, PACKET, &old),
        block(L, SIMPLE_PACKET, &simple),
    ];
    check(&file.concat(), &["5 1 2", "- 1 3"], "end");
}

#[test]
fn a_cut_file_gives_everything_before_the_cut() {
    let whole = [section(L), interface(L, 1, &[]), packet(L, 0, 1, &[0; 60])].concat();
    let file = [&whole[..], &packet(L, 0, 2, &[0; 60])].concat();
    for end in whole.len() + 1..file.len() {
        check(&file[..end], &["1 1 60"], "it ends in the middle of a block");
    }
}

#[test]
fn lengths_that_cannot_be_end_the_reading() {
    let start = [section(L), interface(L, 1, &[])].concat();
    let check_block = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bad = packet(L, 0, 1, &[0; 8]);
        change(&mut bad);
        check(&[&start[..], &bad].concat(), &[], "a block has an impossible length");
    };
    check_block(&|bad| bad[4..8].copy_from_slice(&[8, 0, 0, 0]));
    check_block(&|bad| bad[4..8].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]));
    check_block(&|bad| bad[20..24].copy_from_slice(&[200, 0, 0, 0]));
    check_block(&|bad| *bad.last_mut().unwrap() = 1);
    check(b"\x0a\x0d\x0d\x0a\x1c\0\0\0\0\0\0\0\0\0\0\0", &[], "a section does not begin as it must");
}

proptest::proptest! {
    #[test]
    fn whatever_a_file_holds_it_is_read_to_an_end(
        changes in proptest::collection::vec((0_usize..400, proptest::prelude::any::<u8>()), 0..12),
        rest in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
    ) {
        let mut file = [
            section(L),
            interface(L, 1, &[9, 0, 1, 0, 0xff, 0, 0, 0, 14, 0, 8, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
            packet(L, 0, u64::from(u32::MAX) << 31, &[0; 60]),
            packet(L, 0, 2, &[0; 9]),
            rest,
        ]
        .concat();
        for (place, byte) in changes {
            if let Some(old) = file.get_mut(place) {
                *old = byte;
            }
        }
        let mut blocks = Blocks::new(&file[..]);
        let mut packets = 0;
        while let Ok(Some(packet)) = blocks.next() {
            proptest::prop_assert!(packet.bytes.len() <= file.len());
            packets += 1;
        }
        proptest::prop_assert!(packets <= file.len() / 12);
    }
}
