//! Many sensors at once: they outlive the collector's ends without coming back together, and a delta reaches all of
//! them.

use std::time::Duration;

use crate::fleet::{End, Fleet, STEADY_A_SECOND, p99};
use crate::process::count;

#[tokio::test]
async fn a_fleet_comes_back_spread_after_a_stop_and_after_a_crash_and_takes_a_delta_each_time() {
    let number = usize::try_from(count("VEDETTA_FLEET", 60)).unwrap();
    let mut fleet = Fleet::enrolled(number).await;
    fleet.join(0..=number - 1).await;
    let spread = fleet.push_delta(true).await;
    for times in [&spread.announced, &spread.fetched, &spread.applied, &spread.shown] {
        assert_eq!(times.len(), number);
    }
    // A debug build on a machine that does other things as well; the bench has the limit.
    assert!(p99(&spread.announced) < Duration::from_secs(5), "{spread}");
    println!("p99 {spread}; one sensor's verification alone {:?}", fleet.verification_alone().await);

    // Each has its own time within thirteen seconds, and up to half of it more.
    let back = fleet.restart(End::Stopped, Duration::from_secs(60)).await;
    assert!(back.knocks_peak <= (number / 4).max(8) && back.turned_away == 0, "{back}");
    println!("{back}");
    fleet.push_delta(false).await;
    // Each hears of it with its next keep-alive, which come in fifteen seconds.
    let back = fleet.restart(End::Killed, Duration::from_secs(60)).await;
    assert!(back.knocks_peak <= 2 * STEADY_A_SECOND, "{back}");
    fleet.push_delta(true).await;
}
