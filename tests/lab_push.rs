//! Bundles on their way by real programs: a theft and what ends it, a sensor that was off for months, a download that is
//! interrupted again and again, some towns first, and a stick.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use protocol::Serial;
use serde_json::Value;
use vedetta_tests::netlab::deployment::{Centre, Sensor};
use vedetta_tests::netlab::network::Network;
use vedetta_tests::netlab::program::Program;
use vedetta_tests::netlab::{count_from_environment, wait_for};

fn values(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A sensor that runs.
struct Town<'a> {
    number: u32,
    sensor: Sensor<'a>,
    agent: Program,
}

/// A centre with bundle 1 pushed.
fn centre<'a>(network: &'a Network, folder: &Path) -> anyhow::Result<(Centre<'a>, Program)> {
    let centre = Centre::set_up(&network.centre, &folder.join("centre"))?;
    let collector = centre.start()?;
    centre.sign(&values(&["primo.cattivo.example"]), "keys", "repository")?;
    centre.push("repository")?;
    Ok((centre, collector))
}

/// A sensor of a town, with bundle 1 in force.
fn town<'a>(
    network: &'a Network,
    folder: &Path,
    centre: &Centre<'_>,
    number: u32,
) -> anyhow::Result<Town<'a>> {
    let sensor = Sensor::configure(&network.gateway, &folder.join(format!("sensor-{number}")))?;
    sensor.enrol_in(centre, &format!("99900{number}"), &format!("Borgo {number}"))?;
    let agent = sensor.start()?;
    let town = Town { number, sensor, agent };
    town.wait_for_bundle(1, 30)?;
    Ok(town)
}

impl Town<'_> {
    fn name(&self) -> String {
        format!("Borgo {}", self.number)
    }

    fn serial(&self) -> anyhow::Result<u64> {
        Ok(self.sensor.status()?["bundle"]["serial"].as_u64().unwrap_or(0))
    }

    fn wait_for_bundle(&self, serial: u64, seconds: u64) -> anyhow::Result<()> {
        let in_force = || {
            let found = self.serial()?;
            ensure!(found == serial, "bundle {found} is in force");
            Ok(Some(()))
        };
        wait_for(&format!("bundle {serial} in force"), seconds, in_force).with_context(|| self.agent.log())
    }

    /// Imports a repository as from a stick.
    fn import(&self, repository: &str) -> anyhow::Result<String> {
        self.sensor.agent(&["bundle", "import", repository])
    }
}

fn refused(pushed: anyhow::Result<String>, words: &[&str]) -> anyhow::Result<()> {
    let told = match pushed {
        Ok(told) => anyhow::bail!("it was taken: {told}"),
        Err(error) => format!("{error:#}"),
    };
    ensure!(words.iter().any(|word| told.contains(word)), "{words:?}: {told}");
    Ok(())
}

fn copy_folder(from: &str, to: &str) -> anyhow::Result<()> {
    let copied = std::process::Command::new("cp").args(["--recursive", from, to]).status()?;
    ensure!(copied.success(), "cp {from} {to}");
    Ok(())
}

/// A root that two of the root keys sign.
fn new_root(centre: &Centre<'_>, root_keys: [&str; 2], more: &[&str]) -> anyhow::Result<String> {
    let [one, two] = root_keys.map(|key| centre.path(&format!("keys/{key}.pem")));
    let (keys, repository) = (centre.path("keys"), centre.path("repository"));
    let root = [
        "root",
        "--keys",
        &keys,
        "--repository",
        &repository,
        "--root-key",
        &one,
        "--root-key",
        &two,
        "--replace-targets-key",
    ];
    centre.desk(&[&root, more].concat())
}

#[test]
fn after_a_theft_a_new_root_gives_the_desk_its_numbers_back() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let network = Network::new("vdtheft")?;
    let (centre, mut collector) = centre(&network, folder.path())?;
    let mut town = town(&network, folder.path(), &centre, 1)?;

    // The thief has everything that the desk had on its machine, and leaves it no number.
    copy_folder(&centre.path("keys"), &centre.path("stolen-keys"))?;
    copy_folder(&centre.path("repository"), &centre.path("stolen"))?;
    for number in [Serial::MAX.0 - 2, Serial::MAX.0 - 1, Serial::MAX.0] {
        let number = number.to_string();
        centre.sign_with(&values(&["innocuo.example"]), "stolen-keys", "stolen", &["--serial", &number])?;
    }
    centre.push("stolen")?;
    town.wait_for_bundle(Serial::MAX.0, 30)?;

    // Without another root, nobody can follow it.
    let right = values(&["primo.cattivo.example", "secondo.cattivo.example"]);
    centre.sign_with(&right, "keys", "repository", &["--serial", "4"])?;
    refused(centre.push("repository"), &["older"])?;
    refused(town.import(&centre.path("repository")), &["older"])?;
    ensure!(town.serial()? == Serial::MAX.0);

    // In the order that `vedetta-cosc root --help` advises.
    centre.collector(&["revoke", "cosc-esempio", "--reason", "furto"])?;
    new_root(&centre, ["root-1", "root-2"], &[])?;
    centre.admit("desk-2")?;
    centre.sign_with(&right, "keys", "repository", &["--serial", "5"])?;
    refused(centre.push("stolen"), &["revoked", "refused", "closed"])?;
    let told = centre.push_as("desk-2", "repository", &["--urgent"])?;
    ensure!(told.contains("accepted: bundle 5"), "{told}");
    town.wait_for_bundle(5, 30)?;

    let rows = centre.bundles()?;
    let sensor = &rows[0];
    ensure!(sensor["offered"] == 5 && sensor["in_force"] == 5 && sensor["behind"] == 0, "{sensor}");
    let courses = sensor["courses"].as_array().context("no courses")?;
    let serials: Vec<_> = courses.iter().filter_map(|course| course["serial"].as_u64()).collect();
    ensure!(serials == [5, Serial::MAX.0, 1], "{courses:#?}");
    for time in ["offered_at", "fetched_at", "applied_at"] {
        ensure!(courses[0][time].is_string(), "{time}: {courses:#?}");
    }
    // From here on numbers count as before, and the thief's keys nowhere.
    centre.sign(&right, "keys", "repository")?;
    centre.push_as("desk-2", "repository", &[])?;
    town.wait_for_bundle(6, 30)?;
    refused(centre.push_as("desk-2", "stolen", &[]), &["not the COSC's", "older", "differ"])?;
    refused(town.import(&centre.path("stolen")), &["not the COSC's", "older"])?;
    ensure!(town.agent.stop()? == Some(0) && collector.stop()? == Some(0));
    Ok(())
}

#[test]
fn a_sensor_that_was_off_for_months_follows_every_root_to_the_newest_bundle() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let network = Network::new("vdmonth")?;
    let (centre, mut collector) = centre(&network, folder.path())?;
    let mut town = town(&network, folder.path(), &centre, 1)?;
    ensure!(town.agent.stop()? == Some(0));

    // Every key is another one in the end.
    let stay = [["root-1", "root-2"], ["root-2", "root-4"], ["root-4", "root-5"], ["root-5", "root-6"]];
    for (number, root_keys) in (2..).zip(stay) {
        new_root(&centre, root_keys, &["--replace-root-key"])?;
        let name = format!("n{number}.cattivo.example");
        centre.sign(&values(&["primo.cattivo.example", &name]), "keys", "repository")?;
        if number != 3 {
            centre.push("repository")?;
        }
    }
    town.agent = town.sensor.start()?;
    town.wait_for_bundle(5, 30)?;
    let root = std::fs::read(town.sensor.folder.join("state/bundles/tuf/root.json"))?;
    ensure!(serde_json::from_slice::<Value>(&root)?["signed"]["version"] == 5);
    let rows = centre.bundles()?;
    ensure!(rows[0]["in_force"] == 5 && rows[0]["behind"] == 0, "{rows:#?}");

    // What a certificate that ended meanwhile means, the program says; what is looked for stays.
    ensure!(town.agent.stop()? == Some(0));
    expire(&centre, &town.sensor.folder.join("state/identity/credentials.pem"))?;
    town.agent = town.sensor.start()?;
    town.agent.wait_for_line(&["WARN", "certificate", "code"], 30)?;
    ensure!(town.serial()? == 5, "the bundle in force stays");
    ensure!(town.agent.stop()? == Some(0) && collector.stop()? == Some(0));
    Ok(())
}

/// Puts a certificate of the collector's authority in the place of a sensor's, the same but that it ended yesterday.
fn expire(centre: &Centre<'_>, credentials: &Path) -> anyhow::Result<()> {
    let text = |name: &str| std::fs::read_to_string(centre.path(&format!("collector/authority/{name}")));
    let authority = text("ca.pem")?;
    let issuer = rcgen::Issuer::from_ca_cert_pem(&authority, rcgen::KeyPair::from_pem(&text("ca.key")?)?)?;
    let agents = centre.agents()?;
    let agent = agents[0]["agent"].as_str().context("no sensor")?;
    let mut params = rcgen::CertificateParams::default();
    let uri = format!("urn:vedetta:comune:999001:agent:{agent}");
    params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into()?)];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let yesterday = u64::try_from(jiff::Timestamp::now().as_second())? - 86_400;
    let at = |seconds| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    (params.not_before, params.not_after) = (at(yesterday - 30 * 86_400), at(yesterday));
    let key = rcgen::KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(std::fs::write(credentials, key.serialize_pem() + &certificate.pem() + &authority)?)
}

/// At most so many bytes a second come from the collector; what is beyond is lost, as behind a slow line.
const SLOW: &str = "\
add table ip slow
add chain ip slow in { type filter hook input priority 0 ; }
add rule ip slow in udp sport 4740 limit rate over 400 kbytes/second burst 60 kbytes drop
add rule ip slow in udp sport 4740 counter
";

#[test]
fn a_download_goes_on_where_each_kill_interrupted_it() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let network = Network::new("vdcut")?;
    let (centre, mut collector) = centre(&network, folder.path())?;
    let mut town = town(&network, folder.path(), &centre, 1)?;
    let names: Vec<String> = (0..count_from_environment("VEDETTA_PUSH_INDICATORS", 100_000))
        .map(|number| format!("{:016x}.example", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    centre.sign(&names, "keys", "repository")?;
    let size = std::fs::metadata(target(&centre.path("repository/targets"), "bundle-2")?)?.len();
    network.gateway.run("sh", &["-c", &format!("printf '%s' '{SLOW}' | nft -f -")])?;
    centre.push("repository")?;

    let partial = town.sensor.folder.join("state/bundles/partial");
    let held = || -> u64 {
        let files = std::fs::read_dir(&partial).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
    };
    let kills = 4;
    for kill in 1..=kills {
        let enough = size * kill / (kills + 2);
        wait_for("a part of the bundle", 120, || Ok((held() >= enough).then_some(())))
            .with_context(|| format!("{} of {size} bytes\n{}", held(), town.agent.log()))?;
        town.agent.kill()?;
        let at_the_kill = held();
        ensure!(at_the_kill < size, "it was over before the kill");
        town.agent = town.sensor.start()?;
        let line = town.agent.wait_for_line(&["goes on where it was interrupted", "bundle-2"], 30)?;
        ensure!(line.contains(&format!("bytes={at_the_kill}")), "{at_the_kill} were held: {line}");
    }
    town.wait_for_bundle(2, 90)?;
    // Each life costs a handshake, metadata, and what was under way.
    let fetched = received(&network)?;
    ensure!(fetched < size + size / 4 + kills * 150_000, "{fetched} bytes for a bundle of {size}");
    ensure!(held() == 0, "the part is removed");
    ensure!(town.agent.stop()? == Some(0) && collector.stop()? == Some(0));
    Ok(())
}

/// Bytes that the slow line let through from the collector.
fn received(network: &Network) -> anyhow::Result<u64> {
    let chain = network.gateway.run("nft", &["list", "chain", "ip", "slow", "in"])?;
    let counted = chain.lines().find_map(|line| line.split_once("counter packets")?.1.split_once("bytes "));
    let (_, bytes) = counted.context("no counter")?;
    Ok(bytes.trim().parse()?)
}

fn target(targets: &str, name: &str) -> anyhow::Result<PathBuf> {
    let files = std::fs::read_dir(targets)?.flatten().map(|file| file.path());
    files.into_iter().find(|file| file.to_string_lossy().contains(name)).context("no such target")
}

/// The rollout as the collector tells it.
fn rollout(centre: &Centre<'_>) -> anyhow::Result<Value> {
    Ok(centre.bundles()?.last().context("nothing")?["rollout"].clone())
}

const CANARY: [&str; 4] = ["--canary", "10%", "--canary-minutes", "1"];

#[test]
fn the_first_towns_keep_a_bundle_from_all_others_or_let_it_pass() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let network = Network::new("vdfirst")?;
    let (centre, mut collector) = centre(&network, folder.path())?;
    let towns = (1..=3).map(|number| town(&network, folder.path(), &centre, number));
    let mut towns = towns.collect::<anyhow::Result<Vec<_>>>()?;
    a_first_town_that_refuses_stops_it(&centre, &towns)?;
    first_towns_that_are_dead_let_nothing_pass(&centre, &towns)?;
    an_emergency_goes_past_them(&centre, &towns)?;
    for town in &mut towns {
        ensure!(town.agent.stop()? == Some(0));
    }
    ensure!(collector.stop()? == Some(0));
    Ok(())
}

/// Nothing but a town's own address: whoever is first refuses it, and nobody else is asked.
fn a_first_town_that_refuses_stops_it(centre: &Centre<'_>, towns: &[Town<'_>]) -> anyhow::Result<()> {
    centre.sign(&values(&["192.0.2.77"]), "keys", "repository")?;
    let told = centre.push_as("desk", "repository", &CANARY)?;
    ensure!(told.contains("bundle 2: first in Borgo"), "{told}");
    let stopped = wait_for("the bundle is stopped", 30, || {
        let rollout = rollout(centre)?;
        Ok((rollout["state"] == "stopped").then_some(rollout))
    })?;
    let reason = stopped["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("nothing to look for"), "{stopped}");
    for town in towns {
        ensure!(town.serial()? == 1);
    }
    let rows = centre.bundles()?;
    ensure!(rows.iter().filter(|row| row["offered"] == 2).count() == 1, "{rows:#?}");
    let asked =
        |row: &&Value| row["courses"].as_array().is_some_and(|it| it.iter().any(|of| of["serial"] == 2));
    ensure!(rows.iter().filter(asked).count() == 1, "{rows:#?}");
    Ok(())
}

/// A first town that is dead says nothing good: the others wait beyond the time. When it comes back, all have it.
fn first_towns_that_are_dead_let_nothing_pass(centre: &Centre<'_>, towns: &[Town<'_>]) -> anyhow::Result<()> {
    for town in towns {
        town.agent.pause()?;
    }
    centre.sign(&values(&["primo.cattivo.example", "terzo.cattivo.example"]), "keys", "repository")?;
    centre.push_as("desk", "repository", &CANARY)?;
    let rows = centre.bundles()?;
    let is_first = |town: &Town<'_>| {
        let row = rows.iter().find(|row| row["comune_name"] == town.name());
        row.is_some_and(|row| row["first"] == true)
    };
    // The town that was first before stays first, because it cannot go back.
    let first = towns.iter().filter(|town| is_first(town)).count();
    ensure!((1..=2).contains(&first), "{first}");
    for town in towns.iter().filter(|town| !is_first(town)) {
        town.agent.go_on()?;
    }
    // The minute passes, and nobody knows anything good.
    std::thread::sleep(Duration::from_secs(66));
    ensure!(rollout(centre)?["state"] == "canary", "{}", rollout(centre)?);
    for town in towns.iter().filter(|town| !is_first(town)) {
        ensure!(town.serial()? == 1, "{} is not first and has it", town.name());
    }
    for town in towns.iter().filter(|town| is_first(town)) {
        town.agent.go_on()?;
    }
    for town in towns {
        town.wait_for_bundle(3, 60)?;
    }
    ensure!(rollout(centre)?["state"] == "released");
    Ok(())
}

fn an_emergency_goes_past_them(centre: &Centre<'_>, towns: &[Town<'_>]) -> anyhow::Result<()> {
    centre.sign(&values(&["primo.cattivo.example", "quarto.cattivo.example"]), "keys", "repository")?;
    centre.push_as("desk", "repository", &CANARY)?;
    let first = rollout(centre)?["towns"].clone();
    ensure!(first.as_array().is_some_and(|first| first.len() == 1), "{first}");
    let first = towns.iter().find(|town| first[0] == town.name()).context("no such town")?;
    first.wait_for_bundle(4, 30)?;
    centre.sign(&values(&["primo.cattivo.example", "quinto.cattivo.example"]), "keys", "repository")?;
    centre.push_as("desk", "repository", &["--urgent"])?;
    for town in towns {
        town.wait_for_bundle(5, 20)?;
    }
    ensure!(rollout(centre)?["state"] == "replaced");
    Ok(())
}

#[test]
fn a_stick_takes_what_the_collector_signed_to_a_town_without_a_line() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let network = Network::new("vdstick")?;
    let (centre, mut collector) = centre(&network, folder.path())?;
    let mut town = town(&network, folder.path(), &centre, 1)?;
    network.gateway.run("ip", &["link", "set", "up0", "down"])?;
    centre.sign(&values(&["primo.cattivo.example", "chiavetta.cattivo.example"]), "keys", "repository")?;
    centre.push("repository")?;
    let stick = centre.path("stick");
    let told = centre.collector(&["export", &stick])?;
    ensure!(told.contains("bundle 2") && told.contains("signed by this collector"), "{told}");
    for name in ["timestamp.json", "snapshot.json"] {
        signed_online(&centre, &stick, name)?;
    }
    let told = town.import(&stick)?;
    ensure!(told.contains("bundle 2 of cosc-esempio is in force"), "{told}");
    ensure!(town.serial()? == 2);
    let checked = town.sensor.agent(&["bundle", "check", "chiavetta.cattivo.example"])?;
    ensure!(checked.contains("chiavetta.cattivo.example"), "{checked}");

    // The same beside an agent that does not run, and no way back.
    centre.sign(&values(&["primo.cattivo.example", "altra.cattivo.example"]), "keys", "repository")?;
    centre.push("repository")?;
    let next = centre.path("next-stick");
    centre.collector(&["export", &next])?;
    ensure!(town.agent.stop()? == Some(0));
    let told = town.import(&next)?;
    ensure!(told.contains("bundle 3 of cosc-esempio is in force"), "{told}");
    refused(town.import(&stick), &["older"])?;
    ensure!(collector.stop()? == Some(0));
    Ok(())
}

/// The newest file of this role on a stick has one signature, by the collector's online key.
fn signed_online(centre: &Centre<'_>, stick: &str, role: &str) -> anyhow::Result<()> {
    let read = |path: &Path| -> anyhow::Result<Value> { Ok(serde_json::from_slice(&std::fs::read(path)?)?) };
    let files = std::fs::read_dir(Path::new(stick).join("metadata"))?.flatten().map(|file| file.path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.to_string_lossy().ends_with(role)).collect();
    files.sort();
    let newest = read(files.last().context("no such file")?)?;
    let key = newest["signatures"][0]["keyid"].as_str().context("no signature")?;
    let root = read(Path::new(&centre.path("keys/1.root.json")))?;
    let public: Value = serde_json::from_str(&std::fs::read_to_string(centre.path("online-key.json"))?)?;
    ensure!(root["signed"]["keys"][key]["keyval"] == public["keyval"], "{role} is signed by {key}");
    Ok(())
}
