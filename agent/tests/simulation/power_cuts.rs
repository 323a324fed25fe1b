//! Random work, then the power goes; whatever the disk shows afterwards, what was safe is there.

use crate::faulty_disk::FaultyDisk;
use crate::seed::Seed;
use crate::times::times;
use crate::world::{Known, World};

/// One life of a gateway: some cuts, with work between them.
fn live(number: u64) {
    let mut seed = Seed::new(number);
    let bytes_max = (64 << 10) << seed.below(3);
    let mut disk = FaultyDisk::default();
    let mut known = Known::default();
    for _ in 0..=seed.below(3) {
        let until = seed.below(400);
        disk.set(|faults| faults.power_until = Some(until));
        let mut world = World::open(disk.clone(), bytes_max, known.clone());
        loop {
            known = match world {
                // Cut while it was opened.
                Err(_) => break,
                Ok(opened) => match opened.step(&mut seed) {
                    Ok(stepped) => {
                        world = Ok(stepped);
                        continue;
                    }
                    Err((known, _)) => *known,
                },
            };
            break;
        }
        disk = disk.after_power_cut(&mut seed);
        let world = World::open(disk.clone(), bytes_max, known.clone());
        let world = world.expect("the disk works again");
        world.check();
        known = world.known;
        disk = world.disk.after_kill();
    }
}

#[test]
fn nothing_that_was_safe_is_lost_when_the_power_goes() {
    for number in 0..times("VEDETTA_POWER_CUTS", 50) {
        let lived = std::panic::catch_unwind(|| live(number));
        assert!(lived.is_ok(), "failed with the seed {number}");
    }
}
