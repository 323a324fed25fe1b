//! What the pages say about bundles over time: when each was where, and which do not count any more.

use protocol::message::BundleOutcome;

use super::fixture::Fixture;
use crate::bundles::rollout::Reach;

#[tokio::test]
async fn the_times_of_the_last_bundles_are_told_in_rome_with_utc_beside() {
    let fixture = Fixture::new().await;
    fixture.bundle(1, Vec::new()).await;
    let borgo = fixture.enrol("Borgo Chiaro", 1).await;
    let browser = fixture.signed_in().await;
    assert!(!fixture.get(&browser, "/towns").await.text.contains("Ultime raccolte"));
    for serial in 1..=6 {
        fixture.offered(&borgo, serial).await;
        fixture.pass_seconds(10);
        fixture.outcome(&borgo, serial, BundleOutcome::Fetched).await;
        fixture.pass_seconds(10);
        let outcome = match serial {
            6 => BundleOutcome::Refused { reason: "too <little> room".into() },
            _ => BundleOutcome::Applied { indicators: 1 },
        };
        fixture.outcome(&borgo, serial, outcome).await;
        fixture.offered(&borgo, serial).await;
    }
    let text = fixture.get(&browser, "/towns").await.text;
    let table = text.split_once("Ultime raccolte su gw-999001").unwrap().1.split("</table>").next().unwrap();
    let rows: Vec<&str> = table.split("<tr role=\"row\">").skip(2).collect();
    let serials: Vec<String> = (2..=6).rev().map(|serial| format!("<strong>{serial}</strong>")).collect();
    assert_eq!(rows.len(), serials.len());
    assert!(rows.iter().zip(&serials).all(|(row, serial)| row.contains(serial)), "{table}");
    let [refused, applied, ..] = rows.as_slice() else { panic!("too few rows") };
    assert_eq!((refused.matches("<time").count(), applied.matches("<time").count()), (3, 3));
    assert!(refused.contains("too &#60;little&#62; room") && !applied.contains("room"), "{refused}");
    // Ten seconds pass between each two, and the hour is Rome's with UTC in the title.
    let stamps: Vec<&str> =
        applied.split("datetime=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let seconds = |stamp: &str| stamp.parse::<protocol::Timestamp>().unwrap().as_micros() / 1_000_000;
    let [offered, fetched, in_force] = stamps.as_slice() else { panic!("three times") };
    assert_eq!([seconds(fetched) - seconds(offered), seconds(in_force) - seconds(fetched)], [10, 10]);
    assert!(applied.contains(" UTC\">"), "{applied}");
}

#[tokio::test]
async fn bundles_of_other_signers_take_the_place_of_higher_numbers() {
    let fixture = Fixture::new().await;
    let borgo = fixture.enrol("Borgo Chiaro", 1).await;
    let rocca = fixture.enrol("Rocca Bianca", 2).await;
    let highest = protocol::Serial::MAX.0;
    for serial in [1, 2, highest] {
        fixture.bundle(serial, Vec::new()).await;
    }
    for spool in [&borgo, &rocca] {
        fixture.greet(spool, fixture.now(), Vec::new()).await;
        fixture.outcome(spool, highest, BundleOutcome::Applied { indicators: 1 }).await;
    }
    let browser = fixture.signed_in().await;
    assert!(!fixture.get(&browser, "/towns").await.text.contains("non aggiornata"));
    fixture.bundle_by("22", Reach::All, 2, Vec::new()).await;
    let text = fixture.get(&browser, "/towns").await.text;
    assert!(text.contains("2 con raccolta non aggiornata") && text.contains("su 2 offerta"), "{text}");
    fixture.outcome(&borgo, 2, BundleOutcome::Applied { indicators: 1 }).await;
    assert!(fixture.get(&browser, "/towns").await.text.contains("1 con raccolta non aggiornata"));
    let text = fixture.get(&browser, "/bundles").await.text;
    assert_eq!(text.matches("non vale più dal").count(), 1);
    let row = |town: &str| text.split("<tr>").find(|row| row.contains(&format!("#comune-{town}"))).unwrap();
    assert!(!row("999001").contains("di 1 <i") && row("999002").contains("di 1 <i"), "{text}");
    // The next one of them is a number like any other.
    fixture.bundle_by("22", Reach::All, 3, Vec::new()).await;
    let text = fixture.get(&browser, "/bundles").await.text;
    assert!(text.contains("di 2 <i"), "Rocca is behind by both");
}
