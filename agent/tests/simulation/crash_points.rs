//! A crash before every single operation of the disk, and another one before every operation of the recovery from it.

use crate::faulty_disk::FaultyDisk;
use crate::seed::Seed;
use crate::world::{Known, World};

const BYTES_MAX: u64 = 64 << 10;

/// Fills the spool, delivers, gives up hits, begins epochs, stops and starts: the same each time.
fn script(disk: &FaultyDisk) -> (Known, bool) {
    let mut seed = Seed::new(1);
    let mut known = Known::default();
    let Ok(mut world) = World::open(disk.clone(), BYTES_MAX, known.clone()) else { return (known, false) };
    for _ in 0..45 {
        match world.step(&mut seed) {
            Ok(stepped) => world = stepped,
            Err((stopped, _)) => return (*stopped, false),
        }
    }
    // A full spool gives up hits.
    for _ in 0..20 {
        if world.append(12).is_err() {
            return (world.known, false);
        }
    }
    known.clone_from(&world.known);
    world.log.close();
    (known, true)
}

/// Opens and checks after a crash, with further crashes before each operation of the opening.
fn recover(disk: &FaultyDisk, known: &Known, crash: u64, nested: bool) {
    let opened = disk.after_kill();
    let world = World::open(opened.clone(), BYTES_MAX, known.clone()).expect("the disk works again");
    world.check();
    if !nested {
        return;
    }
    for again in 0..opened.operations() {
        let second = disk.after_kill();
        second.set(|faults| faults.power_until = Some(again));
        // It must fail or end; what it did until then is on the disk, or not.
        let _ = World::open(second.clone(), BYTES_MAX, known.clone());
        recover(&second.after_power_cut(&mut Seed::new(crash * 1000 + again)), known, crash, false);
    }
}

#[test]
fn a_crash_at_any_operation_and_another_while_recovering_loses_nothing() {
    let whole = FaultyDisk::default();
    assert!(script(&whole).1, "the script does not end");
    let operations = whole.operations();
    assert!(operations > 200, "only {operations} operations");
    let mut seed = Seed::new(2);
    for crash in 0..operations {
        let disk = FaultyDisk::default();
        disk.set(|faults| faults.power_until = Some(crash));
        let (known, _) = script(&disk);
        recover(&disk.after_power_cut(&mut seed), &known, crash, true);
        // A program that was killed leaves everything it wrote.
        recover(&disk.after_kill(), &known, crash, false);
    }
}
