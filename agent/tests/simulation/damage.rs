//! Damage to any file of the spool: a bit turns, the end is cut off, a page reads as zeros.

use crate::faulty_disk::FaultyDisk;
use crate::seed::Seed;
use crate::times::times;
use crate::world::{Known, World};

const BYTES_MAX: u64 = 96 << 10;

/// A spool in use: segments, hits given up, some delivered; stopped as asked, or not.
struct Used {
    disk: FaultyDisk,
    known: Known,
    closed: bool,
}

fn used(closed: bool) -> Used {
    let mut seed = Seed::new(5);
    let disk = FaultyDisk::default();
    let mut world = World::open(disk.clone(), BYTES_MAX, Known::default()).unwrap();
    for _ in 0..20 {
        world.append(10).unwrap();
    }
    world.deliver(&mut seed).unwrap();
    for _ in 0..10 {
        world.append(3).unwrap();
    }
    let told_before = world.check();
    let known = Known { told_before, ..world.known.clone() };
    if closed {
        world.log.close();
    }
    Used { disk, known, closed }
}

fn damage(bytes: &mut Vec<u8>, seed: &mut Seed) -> bool {
    if bytes.is_empty() {
        return false;
    }
    let at = seed.index(bytes.len());
    let before = bytes.clone();
    match seed.below(3) {
        0 => bytes[at] ^= 1 << seed.below(8),
        1 => bytes.truncate(at),
        _ => {
            let from = at / 4096 * 4096;
            let to = bytes.len().min(from + 4096);
            bytes[from..to].fill(0);
        }
    }
    *bytes != before
}

#[test]
fn damage_to_any_file_loses_what_it_touched_and_says_so() {
    let spools = [used(true), used(false)];
    let mut changed = 0;
    for number in 0..times("VEDETTA_DAMAGES", 500) {
        let mut seed = Seed::new(number);
        let Used { disk, known, closed } = &spools[seed.index(2)];
        let disk = disk.after_kill();
        let names = disk.names();
        let name = names[seed.index(names.len())].clone();
        let newest = names.iter().rfind(|name| name.ends_with(".seg")).cloned();
        disk.damage(&name, |bytes| changed += u64::from(damage(bytes, &mut seed)));
        let checked = std::panic::catch_unwind(|| {
            // The end of the newest segment is known only to who stopped as asked.
            let untold = if !closed && Some(&name) == newest.as_ref() { 1000 } else { 0 };
            let known = Known { damaged: Some(untold), ..known.clone() };
            let mut world = World::open(disk.clone(), BYTES_MAX, known).expect("it opens");
            let told = world.check();
            // Losses that were damaged count as told.
            world.known.told += std::mem::take(&mut world.known.told_before).saturating_sub(told);
            // It goes on: what was damaged is counted once.
            world.append(5).unwrap();
            let (again, known) = (world.disk.after_kill(), world.known.clone());
            let again = World::open(again, BYTES_MAX, known.clone()).expect("it opens again");
            assert_eq!(again.known.damaged, known.damaged, "the damage was counted twice");
            again.check();
        });
        assert!(checked.is_ok(), "damage {number} to {name}");
    }
    assert!(changed > 100, "only {changed} files were damaged");
}
