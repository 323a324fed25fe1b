//! What a stolen key can do to a sensor for good: nothing. The highest number that it signs ends with the key, as soon as
//! the desk's root names another.

use std::fs;

use protocol::Serial;

use super::attack_tests::{Place, Plan, new_key};
use super::not_taken::NotTaken;
use super::store::{BundleStore, MERGE_ABOVE, Started, StoreConfig};
use super::verify::{Refusal, Repository};

/// A sensor of this place, with everything that it keeps on disk.
fn sensor(place: &Place) -> Started {
    let (folder, cosc_root) = (place.path("state"), place.pinned.clone());
    let config = StoreConfig { folder, cosc_root, home_networks: Vec::new(), merge_above: MERGE_ABOVE };
    BundleStore::start(config).unwrap()
}

async fn taken(place: &Place, sensor: &Started) -> Result<Serial, NotTaken> {
    let repository = place.path("repository");
    let taken = sensor.store.take(|| Repository::folder(&repository), |_| {}).await;
    taken.map(|applied| applied.in_force.serial)
}

#[tokio::test]
async fn the_highest_number_of_a_stolen_key_ends_with_the_key() {
    let mut place = Place::new();
    let mut gateway = sensor(&place);
    place.publish(&Plan::honest(5));
    assert_eq!(taken(&place, &gateway).await.unwrap(), Serial(5));
    let high = u64::MAX - 1;
    let stolen = Plan { timestamp: high, snapshot: high, targets: high, ..Plan::honest(Serial::MAX.0) };
    place.publish(&stolen);
    assert_eq!(taken(&place, &gateway).await.unwrap(), Serial::MAX);
    // Neither the desk's metadata nor, under metadata as high, its numbers count any more.
    place.publish(&Plan::honest(6));
    assert!(matches!(taken(&place, &gateway).await, Err(NotTaken::Refused(Refusal::Rollback(_)))));
    let refused = [Plan { serial: 6, ..stolen.clone() }, Plan { root: 2, ..Plan::honest(7) }];
    for (plan, new_online_key) in refused.iter().zip([false, true]) {
        // Metadata begins anew with other online keys (TUF 5.3.11), bundles do not.
        place.keys.online.extend(new_online_key.then(new_key));
        place.publish(plan);
        let older = taken(&place, &gateway).await.unwrap_err();
        assert!(matches!(older, NotTaken::Older { in_force: Serial::MAX, .. }), "{older}");
    }
    let stolen_key = std::mem::replace(&mut place.keys.targets, new_key());
    place.publish(&Plan { root: 3, ..Plan::honest(8) });
    assert_eq!(taken(&place, &gateway).await.unwrap(), Serial(8));
    for restarted in [false, true] {
        if restarted {
            drop(std::mem::replace(&mut gateway, sensor(&place)));
        }
        place.publish(&Plan { serial: 7, ..Plan::honest(9) });
        let older = taken(&place, &gateway).await.unwrap_err();
        assert!(matches!(older, NotTaken::Older { in_force: Serial(8), .. }), "{older}");
    }
    place.keys.targets = stolen_key;
    place.publish(&Plan::honest(10));
    let refused = taken(&place, &gateway).await.unwrap_err();
    assert!(refused.to_string().contains("targets metadata is not the COSC's"), "{refused}");
    assert_eq!(gateway.store.serial(), Serial(8));
}

#[tokio::test]
async fn a_version_of_the_targets_that_a_thief_raised_ends_with_the_online_keys() {
    let mut place = Place::new();
    place.publish(&Plan { targets: u64::MAX - 1, ..Plan::honest(5) });
    place.believed(5).await;
    place.keys.targets = new_key();
    place.publish(&Plan { root: 2, ..Plan::honest(6) });
    // The snapshot that was believed still says how high it was, and its keys still count (TUF 5.5.5).
    place.refused("a new targets key alone", "older than the one").await;
    place.keys.online.push(new_key());
    place.publish(&Plan { root: 3, ..Plan::honest(6) });
    place.believed(6).await;
}

#[tokio::test]
async fn a_bundle_that_others_sign_anew_is_not_fetched_again_but_counts_as_theirs() {
    let mut place = Place::new();
    let gateway = sensor(&place);
    place.publish(&Plan::honest(5));
    taken(&place, &gateway).await.unwrap();
    place.keys.targets = new_key();
    place.publish(&Plan { root: 2, targets: 6, timestamp: 6, snapshot: 6, ..Plan::honest(5) });
    fs::remove_dir_all(place.path("repository/targets")).unwrap();
    assert_eq!(taken(&place, &gateway).await.unwrap(), Serial(5));
    fs::create_dir(place.path("repository/targets")).unwrap();
    place.publish(&Plan { serial: 4, ..Plan::honest(7) });
    assert!(matches!(taken(&place, &gateway).await, Err(NotTaken::Older { .. })));
}
