//! Our signed repositories and python-tuf, the reference of TUF: each believes what the other signed, with replaced keys
//! and with the collector's signatures in the place of the desk's.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests may")]

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent::bundles::verify::{Repository, Wanted, verify};
use anyhow::{Context as _, Result, ensure};
use protocol::bundle::BUNDLE_FORMAT;
use protocol::{BundleHeader, BundleWriter, Indicator, LookFor, Serial, Timestamp};
use vedetta_tests::netlab::program::{Program, binary, run};

/// The interpreter with python-tuf.
fn python() -> Result<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().context("no target folder")?;
    let python = target.join("python-tuf/bin/python3");
    ensure!(python.is_file(), "{} is missing: run `packaging/setup.sh tests`", python.display());
    Ok(python)
}

fn oracle(arguments: &[&Path]) -> Result<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuf_oracle.py");
    Ok(run(Command::new(python()?).arg(script).args(arguments))?.trim().to_owned())
}

/// What the reference client takes out of a repository from this root on; `cache` is what it remembers.
fn followed(repository: &Path, root: &Path, cache: &Path, serial: u64) -> Result<String> {
    let target = format!("bundle-{serial}.jsonl.zst");
    oracle(&["follow".as_ref(), repository, root, cache, target.as_ref()])
}

fn write_bundle(path: &Path, serial: u64) -> Result<()> {
    let header = BundleHeader {
        vedetta_bundle: BUNDLE_FORMAT,
        serial: Serial(serial),
        created: "2026-11-20T08:00:00Z".parse::<Timestamp>()?,
        issuer: "cosc-esempio".into(),
        indicators: 0,
        set: None,
    };
    let indicator = Indicator::plain(LookFor::guess(&format!("n{serial}.example"))?);
    BundleWriter::write_all(fs::File::create(path)?, vec![indicator], header)?;
    Ok(())
}

fn sha256(path: &Path) -> Result<String> {
    let line = run(Command::new("sha256sum").arg(path))?;
    Ok(line.split_whitespace().next().unwrap_or_default().to_owned())
}

/// A desk and a collector of one place, by their programs.
struct Place(tempfile::TempDir);

impl Place {
    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn text(&self, below: &str) -> String {
        self.path(below).to_string_lossy().into_owned()
    }

    fn desk(&self, arguments: &[&str]) -> Result<String> {
        run(Command::new(binary("vedetta-cosc")?).current_dir(self.0.path()).args(arguments))
    }

    fn collector(&self) -> Result<Command> {
        let mut command = Command::new(binary("vedetta-collector")?);
        command.arg("--config").arg(self.path("collector.toml"));
        Ok(command)
    }

    /// Signs a bundle and gives its file.
    fn sign(&self, serial: u64) -> Result<PathBuf> {
        let bundle = self.path(&format!("{serial}.zst"));
        write_bundle(&bundle, serial)?;
        self.desk(&["sign", "--keys", "keys", "--repository", "repository", &format!("{serial}.zst")])?;
        Ok(bundle)
    }

    fn root(&self, root_keys: [u8; 2], arguments: &[&str]) -> Result<String> {
        let keys = root_keys.map(|number| format!("keys/root-{number}.pem"));
        let [first, second] = &keys;
        let mut all = vec!["root", "--keys", "keys", "--repository", "repository"];
        all.extend(["--root-key", first, "--root-key", second]);
        all.extend(arguments);
        self.desk(&all)
    }
}

#[tokio::test]
async fn what_python_tuf_signs_is_believed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |below: &str| folder.path().join(below);
    let bundles = [1, 2].map(|serial| path(&format!("bundle-{serial}.jsonl.zst")));
    for (serial, bundle) in (1..).zip(&bundles) {
        write_bundle(bundle, serial)?;
    }
    let made = path("made");
    oracle(&["make".as_ref(), &made, &bundles[0], &bundles[1]])?;
    let pinned = fs::read(made.join("metadata/1.root.json"))?;
    for _again in 0..2 {
        let repository = Repository::folder(&made);
        let verified = verify(repository, &pinned, &path("tuf"), &path("into"), Wanted::FULL).await?;
        let root: serde_json::Value = serde_json::from_slice(&verified.root)?;
        assert_eq!(root["signed"]["version"], 2);
        let (header, file) = verified.into_full()?;
        assert_eq!(header.serial, Serial(2));
        assert_eq!(fs::read(file)?, fs::read(&bundles[1])?);
    }
    Ok(())
}

#[test]
fn what_the_desk_signs_is_believed_by_python_tuf_over_three_roots() -> Result<()> {
    let place = Place(tempfile::tempdir()?);
    place.desk(&["keygen", "--out", "keys"])?;
    let (repository, first) = (place.path("repository"), place.path("keys/1.root.json"));
    let bundle = place.sign(1)?;
    let always_on = place.path("always-on");
    assert_eq!(followed(&repository, &first, &always_on, 1)?, sha256(&bundle)?);
    for (serial, keys) in (2..).zip([[1, 2], [2, 4], [4, 5]]) {
        place.root(keys, &["--replace-root-key", "--replace-targets-key", "--replace-desk-keys"])?;
        let bundle = place.sign(serial)?;
        assert_eq!(followed(&repository, &first, &always_on, serial)?, sha256(&bundle)?);
    }
    let was_off = place.path("was-off");
    assert_eq!(followed(&repository, &first, &was_off, 4)?, sha256(&place.path("4.zst"))?);
    Ok(())
}

#[test]
fn what_the_collector_signs_is_believed_by_python_tuf() -> Result<()> {
    let place = Place(tempfile::tempdir()?);
    place.desk(&["keygen", "--out", "keys"])?;
    let (first, served) = (place.path("keys/1.root.json"), place.path("state/repository"));
    let free = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    let config = format!(
        "state_dir = {:?}\n[ingest]\nlisten = \"{free}\"\n[console]\nlisten = \"127.0.0.1:0\"\n",
        place.path("state")
    );
    fs::write(place.path("collector.toml"), config)?;
    let root = place.text("keys/1.root.json");
    run(place.collector()?.args([
        "init",
        "--host",
        "localhost",
        "--operator",
        "anna",
        "--cosc-root",
        &root,
    ]))?;
    place.desk(&["request", "--name", "cosc-esempio", "--out", "identity"])?;
    let request = place.text("identity/desk.req.pem");
    let chain = run(place.collector()?.args(["admit-desk", &request, "--name", "cosc-esempio"]))?;
    fs::write(place.path("identity/chain.pem"), chain)?;
    let mut collector = Program::start(place.collector()?.arg("run"), &place.path("collector.log"))?;
    collector.wait_for_line(&["ready"], 20)?;
    let push = || {
        let address = free.to_string();
        place.desk(&["push", "--collector", &address, "--identity", "identity", "--repository", "repository"])
    };
    let timestamp = || Ok::<_, anyhow::Error>(fs::read(served.join("metadata/timestamp.json"))?);

    // Before the root names the collector's key, the desk's signatures are served.
    let bundle = place.sign(1)?;
    push()?;
    let sensor = place.path("sensor");
    assert_eq!(followed(&served, &first, &sensor, 1)?, sha256(&bundle)?);
    assert_eq!(timestamp()?, fs::read(place.path("repository/metadata/timestamp.json"))?);

    let key = run(place.collector()?.arg("online-key"))?;
    fs::write(place.path("online-key.json"), key)?;
    place.root([1, 3], &["--add-online-key", "online-key.json"])?;
    push()?;
    let signed = timestamp()?;
    assert_ne!(signed, fs::read(place.path("repository/metadata/timestamp.json"))?);
    assert_eq!(followed(&served, &first, &sensor, 1)?, sha256(&bundle)?);
    // A restart signs anew.
    assert_eq!(collector.stop()?, Some(0));
    let mut collector = Program::start(place.collector()?.arg("run"), &place.path("collector.log"))?;
    collector.wait_for_line(&["ready"], 20)?;
    vedetta_tests::netlab::wait_for("new signatures", 20, || Ok((timestamp()? != signed).then_some(())))?;
    assert_eq!(followed(&served, &first, &sensor, 1)?, sha256(&bundle)?);

    // The desk goes on from its own repository, and the key can be taken away again.
    let bundle = place.sign(2)?;
    push()?;
    assert_eq!(followed(&served, &first, &sensor, 2)?, sha256(&bundle)?);
    place.root([1, 3], &["--remove-online-keys"])?;
    push()?;
    assert_eq!(timestamp()?, fs::read(place.path("repository/metadata/timestamp.json"))?);
    assert_eq!(followed(&served, &first, &sensor, 2)?, sha256(&bundle)?);
    assert_eq!(collector.stop()?, Some(0));
    Ok(())
}
