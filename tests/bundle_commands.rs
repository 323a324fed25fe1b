//! `vedetta-agent bundle` as people and scripts use it: values checked, lines shown, a repository of a desk imported
//! from a folder with and without a running agent, and everything that can be wrong with such a folder.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests may")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use protocol::bundle::{BUNDLE_FORMAT, Revocation};
use protocol::{Action, BundleHeader, BundleWriter, Indicator, LookFor, Serial, Severity, Timestamp, Tlp};
use serde_json::Value;
use vedetta_tests::netlab::program::{Program, binary, run};
use vedetta_tests::netlab::wait_for;

const ALERT: &str = "COSC-ESEMPIO-2026-0012";
const RECALLED: &str = "COSC-ESEMPIO-2026-0007";
const MD5: &str = "0123456789abcdef0123456789abcdef";

/// A desk with its keys, and what it signs.
struct Desk(PathBuf);

impl Desk {
    fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let desk = Self(folder.to_owned());
        run(Command::new(binary("vedetta-cosc")?).arg("keygen").arg("--out").arg(desk.path("keys")))?;
        Ok(desk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    fn root(&self) -> PathBuf {
        self.path("keys/1.root.json")
    }

    /// Signs a bundle of these lines.
    fn sign(&self, serial: u64, indicators: Vec<Indicator>, revocations: Vec<Revocation>) -> Result<()> {
        let header = BundleHeader {
            vedetta_bundle: BUNDLE_FORMAT,
            serial: Serial(serial),
            created: time("2026-11-20T08:00:00Z"),
            issuer: "cosc-esempio".into(),
            indicators: 0,
            set: None,
        };
        let bundle = self.path(&format!("bundle-{serial}.jsonl.zst"));
        BundleWriter::write_lines(fs::File::create(&bundle)?, indicators, revocations, header)?;
        let mut sign = Command::new(binary("vedetta-cosc")?);
        sign.arg("sign").arg("--keys").arg(self.path("keys")).arg("--repository").arg(self.repository());
        run(sign.arg(&bundle))?;
        Ok(())
    }

    /// The lines of a signed bundle, as `zstdcat` prints them, without the header.
    fn lines(&self, serial: u64) -> Result<Vec<String>> {
        let file = fs::File::open(self.path(&format!("bundle-{serial}.jsonl.zst")))?;
        let text = String::from_utf8(zstd::decode_all(file)?)?;
        Ok(text.lines().skip(1).map(str::to_owned).collect())
    }

    /// The one file of the repository's targets.
    fn target(&self) -> Result<PathBuf> {
        let mut targets = fs::read_dir(self.repository().join("targets"))?;
        Ok(targets.next().context("no target")??.path())
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn indicator(value: &str) -> Indicator {
    Indicator::plain(LookFor::guess(value).expect("an indicator"))
}

/// One of each that matters: valid, expired, to come, allowed, recalled, held back.
fn indicators() -> Vec<Indicator> {
    let known = Indicator {
        id: "indicator--7b0c4f0e-52a1-5d6b-9c57-3a1e0d5e7701".into(),
        threat: "Falena".into(),
        severity: Severity::High,
        tlp: Tlp::Green,
        alert: ALERT.into(),
        source: "alert-0012.csv".into(),
        ..indicator("evil.example")
    };
    let expired = Indicator { valid_until: Some(time("2026-01-31T00:00:00Z")), ..indicator("old.example") };
    let to_come = Indicator { valid_from: Some(time("2126-01-01T00:00:00Z")), ..indicator("late.example") };
    let allowed = Indicator { id: "allow-1".into(), action: Action::Allow, ..indicator("mail.evil.example") };
    let recalled = Indicator { alert: RECALLED.into(), ..indicator("198.51.100.9") };
    let prefix = LookFor::parse("url_prefix", "shared.example/kit").expect("a prefix");
    let plain = ["203.0.113.7", "203.0.113.9:8443", "198.51.100.128/25", MD5, "10.0.0.0/8", "192.168.7.7"];
    let mut all = vec![known, expired, to_come, allowed, recalled, Indicator::plain(prefix)];
    all.extend(plain.map(indicator));
    all
}

fn revocations() -> Vec<Revocation> {
    vec![Revocation::Alert(RECALLED.into())]
}

/// A gateway with a state folder.
struct Gateway(PathBuf);

impl Gateway {
    fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder.join("state"))?;
        let gateway = Self(folder.to_owned());
        fs::write(gateway.path("auth.log"), "")?;
        let text = format!(
            "state_dir = \"{state}\"\ncontrol_socket = \"{socket}\"\nhome_networks = [\"192.0.2.0/24\"]\n\
             [logs]\nfiles = [\"{log}\"]\n[collector]\naddresses = [\"127.0.0.1:9\"]\n",
            state = gateway.path("state").display(),
            socket = gateway.path("control.sock").display(),
            log = gateway.path("auth.log").display(),
        );
        fs::write(gateway.path("agent.toml"), text)?;
        Ok(gateway)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What enrolment leaves, for a collector that nobody will reach.
    fn enrol(&self, desk: &Desk) -> Result<()> {
        let authority_key = rcgen::KeyPair::generate()?;
        let mut authority = rcgen::CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_pem = authority.self_signed(&authority_key)?.pem();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate()?;
        let mut leaf = rcgen::CertificateParams::default();
        let uri = format!("urn:vedetta:comune:999001:agent:{}", "07".repeat(16));
        leaf.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into()?)];
        let leaf = leaf.signed_by(&key, &issuer)?;
        let folder = self.path("state/identity");
        fs::create_dir_all(&folder)?;
        let enrolment = r#"{"agent":"07070707070707070707070707070707","comune":"Borgo Chiaro","addresses":["127.0.0.1:9"]}"#;
        fs::write(folder.join("enrolment.json"), enrolment)?;
        fs::write(folder.join("credentials.pem"), key.serialize_pem() + &leaf.pem() + &authority_pem)?;
        fs::write(folder.join("authority.pem"), authority_pem)?;
        fs::copy(desk.root(), folder.join("cosc-root.json"))?;
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary("vedetta-agent")?);
        command.args(arguments).arg("--config").arg(self.path("agent.toml")).stdin(Stdio::null());
        Ok(command)
    }

    fn bundle(&self, arguments: &[&str]) -> Result<Said> {
        let output = self.command(&[&["bundle"], arguments].concat())?.output()?;
        Ok(Said::of(output))
    }

    fn import(&self, folder: &Path, root: Option<&Path>) -> Result<Said> {
        let mut command = self.command(&["bundle", "import"])?;
        command.arg(folder);
        if let Some(root) = root {
            command.arg("--root").arg(root);
        }
        Ok(Said::of(command.output()?))
    }

    fn start(&self) -> Result<Program> {
        let agent = Program::start(&mut self.command(&["run"])?, &self.path("agent.log"))?;
        wait_for("the agent's answer", 20, || Ok(self.status().ok()))?;
        Ok(agent)
    }

    fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&run(&mut self.command(&["status", "--json"])?)?)?)
    }
}

/// What a command said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Ended well, with these words on standard output.
    fn good(self, words: &[&str]) -> Result<Self> {
        ensure!(self.code == Some(0), "{self:?}");
        ensure!(words.iter().all(|word| self.out.contains(word)), "{words:?} are not all in {self:?}");
        Ok(self)
    }

    /// Ended badly, with a sentence on standard error that has these words, and nothing on standard output.
    fn refused(self, words: &[&str]) -> Result<()> {
        ensure!(self.code == Some(1) && self.out.is_empty(), "{self:?}");
        ensure!(words.iter().all(|word| self.err.contains(word)), "{words:?} are not all in {self:?}");
        let said: Vec<&str> = self.err.lines().filter(|line| line.starts_with("vedetta-agent: ")).collect();
        ensure!(said.len() == 1, "more or less than one sentence: {self:?}");
        ensure!(!self.err.contains("panicked"), "{self:?}");
        Ok(())
    }
}

/// A gateway on which the bundle of [`indicators`] is in force.
fn provided(home: &Path) -> Result<(Gateway, Desk)> {
    let (gateway, desk) = (Gateway::new(&home.join("gateway"))?, Desk::new(&home.join("desk"))?);
    desk.sign(1, indicators(), revocations())?;
    gateway
        .import(&desk.repository(), Some(&desk.root()))?
        .good(&["bundle 1 of cosc-esempio is in force"])?;
    Ok((gateway, desk))
}

#[test]
fn a_check_answers_with_words_and_an_exit_code() -> Result<()> {
    let home = tempfile::tempdir()?;
    let (gateway, _) = provided(home.path())?;
    for (arguments, code, words) in [
        (&["evil.example"][..], 0, &["MATCHES", "Falena", ALERT, "high", "TLP:GREEN", "alert-0012.csv"][..]),
        (&["www.EVIL[.]example."], 0, &["MATCHES", "looked up as domain www.evil.example"]),
        (&["notevil.example"], 1, &["no match"]),
        (
            &["hxxps://www[.]evil[.]example/a"],
            0,
            &["looked up as url", ": no indicator", "domain evil.example"],
        ),
        (&["http://shared.example/kit/a?b"], 0, &["url_prefix shared.example/kit"]),
        (&["shared.example/kitten"], 1, &["no match"]),
        (&["203.0.113.9"], 1, &["no match"]),
        (&["203.0.113.9:8443"], 0, &["MATCHES", "at port 8443"]),
        (&["198.51.100.200"], 0, &["network 198.51.100.128/25"]),
        (&["::ffff:198.51.100.200"], 0, &["network 198.51.100.128/25"]),
        (&[&MD5.to_uppercase()], 0, &["looked up as ja3", "counts"]),
        (&["--kind", "ja3", MD5], 1, &["no match"]),
        (&["old.example"], 1, &["expired", "until 2026-01-31"]),
        (&["--at", "2026-01-30T23:59:59Z", "old.example"], 0, &["MATCHES"]),
        (&["late.example"], 1, &["not yet", "from 2126-01-01"]),
        (&["smtp.mail.evil.example"], 1, &["silenced", "allow-1"]),
        (&["198.51.100.9"], 1, &["revoked"]),
        (&["10.1.2.3"], 1, &["no match", "held back", "private address"]),
        (&["good.example", "evil.example"], 0, &["no match", "MATCHES"]),
        (&["???", "evil.example"], 0, &["MATCHES"]),
    ] {
        let said = gateway.bundle(&[&["check"], arguments].concat())?;
        ensure!(said.code == Some(code), "{arguments:?}: {said:?}");
        ensure!(words.iter().all(|word| said.out.contains(word)), "{arguments:?}: {words:?} in {said:?}");
        ensure!(!said.out.contains('\u{1b}'), "colours without a terminal: {said:?}");
    }
    Ok(())
}

#[test]
fn a_check_that_cannot_be_answered_is_neither_yes_nor_no() -> Result<()> {
    let home = tempfile::tempdir()?;
    let (gateway, _) = provided(home.path())?;
    for (arguments, words) in [
        (&["???"][..], &["???", "--kind"][..]),
        (&["198.51.100.0/24", "good.example"], &["198.51.100.0/24", "such as 198.51.100.0"]),
        (&["--at", "yesterday", "evil.example"], &["yesterday", "2026-11-22T10:00:00Z"]),
        (&["--kind", "colour", "evil.example"], &["colour", "user_agent"]),
        (&[], &["VALUE"]),
    ] {
        let said = gateway.bundle(&[&["check"], arguments].concat())?;
        ensure!(said.code == Some(2), "{arguments:?}: {said:?}");
        ensure!(words.iter().all(|word| said.err.contains(word)), "{arguments:?}: {words:?} in {said:?}");
    }
    let empty = Gateway::new(&home.path().join("empty"))?;
    let said = empty.bundle(&["check", "evil.example"])?;
    ensure!(said.code == Some(2) && said.err.contains("bundle import"), "{said:?}");
    for command in ["show", "stats"] {
        empty.bundle(&[command])?.refused(&["no bundle is in force", "bundle import"])?;
    }
    Ok(())
}

#[test]
fn a_script_gets_one_object_for_each_value_of_standard_input() -> Result<()> {
    let home = tempfile::tempdir()?;
    let (gateway, _) = provided(home.path())?;
    let mut command = gateway.command(&["bundle", "check", "--json", "-"])?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let long = "a".repeat(20_000);
    let text =
        format!("evil[.]example\r\n\n# a comment\n???\n{long}\nsmtp.mail.evil.example\n203.0.113.7:22");
    child.stdin.take().context("no standard input")?.write_all(text.as_bytes())?;
    let said = Said::of(child.wait_with_output()?);
    ensure!(said.code == Some(0), "{said:?}");
    ensure!(said.err.contains("???") && said.err.contains("longer than"), "{said:?}");
    let lines: Vec<Value> = said.out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let told: Vec<_> = lines.iter().map(|line| (line["value"].as_str(), line["matches"].as_bool())).collect();
    let expected = [("evil[.]example", true), ("smtp.mail.evil.example", false), ("203.0.113.7:22", true)];
    ensure!(told == expected.map(|(value, matches)| (Some(value), Some(matches))), "{said:?}");
    let found = &lines[0]["look_ups"][0]["indicators"][0];
    ensure!(
        found["standing"] == "counts" && found["threat"] == "Falena" && lines[0]["bundle"] == 1,
        "{found}"
    );
    let judged = &lines[1]["look_ups"][0]["indicators"];
    let silenced = judged.as_array().context("no list")?.iter().find(|it| it["standing"] == "silenced");
    ensure!(
        silenced.is_some_and(|it| it["silenced_by"] == "allow-1" && it["value"] == "evil.example"),
        "{judged}"
    );
    ensure!(lines[2]["look_ups"][0]["port"] == 22, "{}", lines[2]);
    Ok(())
}

#[test]
fn the_lines_that_are_shown_are_those_of_the_bundle() -> Result<()> {
    let home = tempfile::tempdir()?;
    let (gateway, desk) = provided(home.path())?;
    let is_held = |line: &&String| line.contains("10.0.0.0/8") || line.contains("192.168.7.7");
    let all = desk.lines(1)?;
    ensure!(all.iter().filter(is_held).count() == 2, "{all:?}");
    let expected: Vec<&String> = all.iter().filter(|line| !is_held(line)).collect();
    let said = gateway.bundle(&["show", "--lines"])?.good(&[])?;
    ensure!(said.out.lines().collect::<Vec<_>>() == expected, "{expected:#?}\n{}", said.out);

    let domains = gateway.bundle(&["show", "--lines", "--kind", "domain"])?.good(&[])?;
    let is_domain = |line: &str| line.contains("\"kind\":\"domain\"");
    ensure!(domains.out.lines().count() == 4 && domains.out.lines().all(is_domain), "{domains:?}");
    let two = gateway.bundle(&["show", "--lines", "--limit", "2"])?.good(&[])?;
    ensure!(two.out.lines().eq(said.out.lines().take(2)), "{two:?}");
    ensure!(gateway.bundle(&["show", "--kind", "domain"])?.code == Some(2), "--kind without --lines");
    Ok(())
}

#[test]
fn the_record_and_the_numbers_are_told_to_people_and_to_scripts() -> Result<()> {
    let home = tempfile::tempdir()?;
    let (gateway, _) = provided(home.path())?;
    gateway.bundle(&["show"])?.good(&["1 of cosc-esempio", "2026-11-20 08:00", "Held back", "domain 3"])?;
    let record: Value = serde_json::from_str(&gateway.bundle(&["show", "--json"])?.good(&[])?.out)?;
    ensure!(record["serial"] == 1 && record["issuer"] == "cosc-esempio", "{record}");
    ensure!(record["created"] == "2026-11-20T08:00:00.000000Z", "{record}");

    gateway.bundle(&["stats"])?.good(&[
        "KIND",
        "ip_port",
        "10.0.0.0/8",
        "private address",
        "Allow-list   1",
    ])?;
    let stats: Value = serde_json::from_str(&gateway.bundle(&["stats", "--json"])?.good(&[])?.out)?;
    let kinds = stats["kinds"].as_object().context("no kinds")?;
    let sum: u64 = kinds.values().filter_map(Value::as_u64).sum();
    ensure!(stats["indicators"] == sum && kinds["domain"] == 3 && kinds["md5"] == 1, "{stats}");
    ensure!(stats["allowed"] == 1 && stats["revocations"] == 1, "{stats}");
    let held = stats["held"].as_object().context("nothing held back")?;
    ensure!(held.len() == 1 && held.values().all(|held| held["count"] == 2), "{stats}");
    ensure!(stats["overlay"].is_null() && stats["base"]["serial"] == 1, "{stats}");
    for bytes in ["index_bytes", "resident_bytes"] {
        ensure!(stats[bytes].as_u64().is_some_and(|bytes| bytes > 0), "{bytes}: {stats}");
    }
    Ok(())
}

#[test]
fn an_import_beside_a_stopped_agent_is_in_force_at_its_start() -> Result<()> {
    let home = tempfile::tempdir()?;
    let (gateway, desk) = provided(home.path())?;
    let again = gateway.import(&desk.repository(), Some(&desk.root()))?;
    again.good(&["bundle 1 of cosc-esempio is in force already"])?;
    gateway.enrol(&desk)?;
    let mut agent = gateway.start()?;
    wait_for("the bundle", 20, || Ok((serial(&gateway.status()?) == Some(1)).then_some(())))?;
    ensure!(agent.stop()? == Some(0), "{}", agent.log());
    Ok(())
}

fn serial(status: &Value) -> Option<u64> {
    let bundle = &status["bundle"];
    bundle["serial"].as_u64().or_else(|| bundle["in_force"]["serial"].as_u64())
}

#[test]
fn a_running_agent_takes_a_bundle_from_a_stick() -> Result<()> {
    let home = tempfile::tempdir()?;
    let (gateway, desk) =
        (Gateway::new(&home.path().join("gateway"))?, Desk::new(&home.path().join("desk"))?);
    gateway.enrol(&desk)?;
    let mut agent = gateway.start()?;
    desk.sign(4, indicators(), revocations())?;
    // Left by a command that was killed.
    fs::create_dir(gateway.path("state/import"))?;
    fs::write(gateway.path("state/import/left"), "left")?;
    gateway.import(&desk.repository(), None)?.good(&["bundle 4 of cosc-esempio is in force", "held back"])?;
    ensure!(!gateway.path("state/import").exists(), "the copy takes space");
    ensure!(serial(&gateway.status()?) == Some(4), "{}", gateway.status()?);
    let said = gateway.bundle(&["check", "evil.example"])?;
    ensure!(said.code == Some(0), "{said:?}");

    let mut log = fs::File::options().append(true).open(gateway.path("auth.log"))?;
    writeln!(log, "Nov 22 10:00:00 gw sshd[7]: Failed password for root from 203.0.113.7 port 1 ssh2")?;
    wait_for("a hit", 20, || Ok((gateway.status()?["spool"]["records"] == 1).then_some(())))?;

    gateway.import(&desk.repository(), None)?.good(&["already"])?;
    wrong_folders(&gateway, &desk, home.path())?;
    ensure!(serial(&gateway.status()?) == Some(4), "a refused bundle changed what is in force");
    ensure!(agent.stop()? == Some(0), "{}", agent.log());
    Ok(())
}

#[test]
fn a_stopped_agent_refuses_the_same_and_says_the_same() -> Result<()> {
    let home = tempfile::tempdir()?;
    let (gateway, desk) =
        (Gateway::new(&home.path().join("gateway"))?, Desk::new(&home.path().join("desk"))?);
    gateway.enrol(&desk)?;
    desk.sign(4, indicators(), revocations())?;
    gateway.import(&desk.repository(), None)?.good(&["bundle 4"])?;
    wrong_folders(&gateway, &desk, home.path())?;
    let said = gateway.bundle(&["check", "evil.example"])?;
    ensure!(said.code == Some(0), "{said:?}");
    Ok(())
}

/// The agent has a user of its own, root alone can read the stick: the agent reads a copy, and everything is its own.
#[test]
fn root_imports_for_an_agent_that_can_read_neither_stick_nor_folders_of_root() -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "changing users needs root (tests/run.sh sees to it)");
    let home = tempfile::tempdir()?;
    let (gateway, desk) =
        (Gateway::new(&home.path().join("gateway"))?, Desk::new(&home.path().join("desk"))?);
    gateway.enrol(&desk)?;
    desk.sign(1, indicators(), revocations())?;
    set_mode(home.path(), 0o755)?;
    set_mode(&desk.0, 0o700)?;
    run(Command::new("chown").args(["--recursive", NOBODY]).arg(&gateway.0))?;
    gateway.import(&desk.repository(), None)?.good(&["bundle 1 of cosc-esempio"])?;
    check_owner(&gateway.path("state/bundles"))?;

    let program = home.path().join("vedetta-agent");
    fs::copy(binary("vedetta-agent")?, &program)?;
    set_mode(&program, 0o755)?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--bounding-set=-all"]);
    command.arg(&program).arg("run").arg("--config").arg(gateway.path("agent.toml"));
    let mut agent = Program::start(&mut command, &home.path().join("agent.log"))?;
    wait_for("the agent's answer", 20, || Ok(gateway.status().ok()))?;
    desk.sign(2, indicators(), Vec::new())?;
    gateway.import(&desk.repository(), None)?.good(&["bundle 2 of cosc-esempio"])?;
    ensure!(serial(&gateway.status()?) == Some(2), "{}", gateway.status()?);
    check_owner(&gateway.path("state"))?;
    ensure!(agent.stop()? == Some(0), "{}", agent.log());
    Ok(())
}

#[test]
fn a_full_disk_is_said_and_changes_nothing() -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "mounting a small disk needs root (tests/run.sh sees to it)");
    let home = tempfile::tempdir()?;
    let (gateway, desk) =
        (Gateway::new(&home.path().join("gateway"))?, Desk::new(&home.path().join("desk"))?);
    let _disk = SmallDisk::mount(&gateway.path("state"))?;
    gateway.enrol(&desk)?;
    desk.sign(1, indicators(), revocations())?;
    gateway.import(&desk.repository(), None)?.good(&["bundle 1 of cosc-esempio"])?;
    desk.sign(2, indicators(), Vec::new())?;
    let filler = gateway.path("state/filler");
    let mut file = fs::File::create(&filler)?;
    while file.write_all(&[0; 4096]).is_ok() {}
    gateway.import(&desk.repository(), None)?.refused(&["No space left", "free some space", "state"])?;
    let said = gateway.bundle(&["check", "evil.example"])?;
    ensure!(said.code == Some(0), "{said:?}");
    drop(file); // an open file keeps its space
    fs::remove_file(filler)?;
    gateway.import(&desk.repository(), None)?.good(&["bundle 2 of cosc-esempio"])?;
    Ok(())
}

/// A small file system in memory, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path) -> Result<Self> {
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(path))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

const NOBODY: &str = "65534";

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))?)
}

fn check_owner(folder: &Path) -> Result<()> {
    let found = run(Command::new("find").arg(folder).args(["!", "-user", NOBODY]))?;
    ensure!(found.is_empty(), "not the agent's own:\n{found}");
    Ok(())
}

/// Each wrong folder is refused with its own sentence; bundle 4 of the desk is in force.
fn wrong_folders(gateway: &Gateway, desk: &Desk, home: &Path) -> Result<()> {
    gateway.import(&home.join("nowhere"), None)?.refused(&["nowhere", "no such folder", "mounted"])?;
    gateway.import(&gateway.path("agent.toml"), None)?.refused(&["agent.toml", "is a file"])?;
    gateway.import(&desk.0, None)?.refused(&["no signed repository", "desk/repository"])?;

    let other = Desk::new(&home.join("other"))?;
    other.sign(9, indicators(), Vec::new())?;
    gateway.import(&other.repository(), None)?.refused(&["not the COSC's"])?;
    let root = other.root();
    gateway
        .import(&other.repository(), Some(&root))?
        .refused(&["not the root that enrolment pinned", "--replace"])?;

    // The desk's keys, another series of bundles: the metadata is as old as its numbers say.
    let older = Desk(home.join("older"));
    copy_folder(&desk.path("keys"), &older.path("keys"))?;
    for serial in 1..=3 {
        older.sign(serial, indicators(), Vec::new())?;
    }
    gateway.import(&older.repository(), None)?.refused(&["older"])?;

    let altered = Desk(home.join("altered"));
    copy_folder(&desk.path("keys"), &altered.path("keys"))?;
    for serial in 1..=5 {
        altered.sign(serial, indicators(), Vec::new())?;
    }
    for target in fs::read_dir(altered.repository().join("targets"))? {
        let path = target?.path();
        let mut bytes = fs::read(&path)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes)?;
    }
    gateway.import(&altered.repository(), None)?.refused(&["SHA-256", "altered or cut"])?;
    fs::remove_dir_all(altered.repository().join("targets"))?;
    fs::create_dir(altered.repository().join("targets"))?;
    gateway.import(&altered.repository(), None)?.refused(&["missing", "bundle-5"])?;
    for folder in ["other", "older", "altered"] {
        fs::remove_dir_all(home.join(folder))?;
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("mkdir").arg("--parents").arg(to))?;
    run(Command::new("cp").arg("--recursive").arg("--no-target-directory").args([from, to]))?;
    Ok(())
}

#[test]
fn a_sensor_without_enrolment_says_whose_root_it_needs() -> Result<()> {
    let home = tempfile::tempdir()?;
    let (gateway, desk) =
        (Gateway::new(&home.path().join("gateway"))?, Desk::new(&home.path().join("desk"))?);
    desk.sign(1, indicators(), Vec::new())?;
    let said = gateway.import(&desk.repository(), None)?;
    ensure!(said.code == Some(78) && said.err.contains("--root") && said.err.contains("enrol"), "{said:?}");
    let nowhere = home.path().join("none.json");
    gateway.import(&desk.repository(), Some(&nowhere))?.refused(&["none.json", "1.root.json"])?;
    let target = desk.target()?;
    gateway.import(&desk.repository(), Some(&target))?.refused(&["root"])?;
    Ok(())
}
