//! The Debian packages on a fresh Debian 12 with a real systemd: installed, set up as their postinst says,
//! both services active, hits of every source arrive; after the machine's restart both run, and what the journal took in
//! before it is not lost; removed, nothing is left running.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may")]

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;
use vedetta_tests::container::Container;
use vedetta_tests::netlab::wait_for;

const NAME: &str = "pacchetto.cattivo.example";
const ADDRESS: &str = "203.0.113.99";
/// In a message to the journal.
const IN_THE_JOURNAL: &str = "203.0.113.98";
/// In a datagram of syslog.
const SENT: &str = "203.0.113.97";
/// In a message to the journal while the sensor is down, before the machine is started anew.
const BEFORE_THE_START: &str = "203.0.113.96";

/// Where the unit's LoadCredential looks.
const CREDENTIAL: &str = "/etc/credstore/vedetta-agent.enrolment-code";
/// What an enrolled sensor has.
const ENROLLED: &str = "/var/lib/vedetta-agent/identity/credentials.pem";

/// `VEDETTA_DEB_DIR`, or where `cargo deb` leaves the packages.
fn packages() -> anyhow::Result<Vec<PathBuf>> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debian");
    let folder = std::env::var_os("VEDETTA_DEB_DIR").map_or(workspace, PathBuf::from);
    let mut paths = Vec::new();
    for name in ["vedetta-agent_", "vedetta-collector_", "vedetta-cosc_"] {
        let built = std::fs::read_dir(&folder)
            .with_context(|| format!("{}: build the packages first (tests/run.sh does)", folder.display()))?;
        let found = built.filter_map(Result::ok).map(|entry| entry.path());
        let mut found: Vec<PathBuf> = found
            .filter(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name)))
            .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .collect();
        found.sort();
        paths.push(found.pop().with_context(|| format!("no {name}*.deb in {}", folder.display()))?);
    }
    Ok(paths)
}

#[test]
fn the_packages_install_on_debian_12_and_hits_arrive() -> anyhow::Result<()> {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/lab");
    let folder = tempfile::tempdir()?;
    let mut debian = Container::boot("vedetta-pacchetti", folder.path(), &cache)?;
    let shell = |line: &str| debian.shell(line).with_context(|| format!("in the container: {line}"));

    std::fs::create_dir_all(debian.root().join("srv/packages"))?;
    for package in packages()? {
        std::fs::copy(&package, debian.root().join("srv/packages").join(package.file_name().unwrap()))?;
    }
    let said = shell("dpkg --install /srv/packages/*.deb 2>&1")?;
    assert!(said.contains("enrol"), "the agent's package says what is left to do:\n{said}");
    assert_eq!(
        shell("systemctl is-active vedetta-agent || true")?.trim(),
        "inactive",
        "not enrolled, not started"
    );

    set_up_centre(&shell)?;
    enrol_sensor(&shell)?;

    for service in ["vedetta-collector", "vedetta-agent"] {
        assert_eq!(shell(&format!("systemctl is-active {service}"))?.trim(), "active", "{service}");
    }
    wait_for("the bundle in force", 60, || {
        let status: Value = serde_json::from_str(&shell("vedetta-agent status --json")?)?;
        anyhow::ensure!(status["bundle"]["serial"] == 1, "status: {status}");
        Ok(Some(()))
    })
    .with_context(|| {
        shell("journalctl --no-pager -u vedetta-agent -u vedetta-collector").unwrap_or_default()
    })?;

    // A real packet on the captured interface, a line in the followed log, a message to the journal, one by syslog.
    shell(&format!(
        "printf '{}' >/dev/udp/127.0.0.1/53",
        escaped(&vedetta_tests::netlab::traffic::question(NAME))
    ))?;
    shell(&format!(
        "echo 'sshd[7]: Failed password for root from {ADDRESS} port 9 ssh2' >>/var/log/auth.log"
    ))?;
    shell(&format!(
        "logger --tag sshd --id=7 'Failed password for root from {IN_THE_JOURNAL} port 9 ssh2' \
         && logger --server 127.0.0.1 --udp --port 514 'connection from {SENT} refused'"
    ))?;
    wait_for_hits(&shell, &[SENT, IN_THE_JOURNAL, ADDRESS, NAME])?;

    let owner = shell(&format!("stat -c %U:%a {ENROLLED}"))?;
    assert_eq!(owner.trim(), "vedetta-agent:600", "the key is the sensor's alone");
    let capabilities = shell("grep CapEff /proc/$(systemctl show -P MainPID vedetta-agent)/status")?;
    assert!(
        capabilities.trim().ends_with("0000000000003400"),
        "CAP_NET_RAW, CAP_NET_ADMIN, CAP_NET_BIND_SERVICE and no more: {capabilities}"
    );

    shell("systemctl restart vedetta-agent vedetta-collector")?;
    shell(&format!("systemctl stop vedetta-agent && logger --tag sshd 'denied {BEFORE_THE_START}'"))?;
    debian.reboot()?;
    let shell = |line: &str| debian.shell(line).with_context(|| format!("in the container: {line}"));
    wait_for_hits(&shell, &[BEFORE_THE_START, SENT, IN_THE_JOURNAL, ADDRESS, NAME])?;
    shell("dpkg --remove vedetta-agent vedetta-collector vedetta-cosc")?;
    let left = shell("pgrep --list-name vedetta || true")?;
    assert_eq!(left.trim(), "", "removed packages leave nothing running");
    Ok(())
}

type Shell<'a> = dyn Fn(&str) -> anyhow::Result<String> + 'a;

/// Waits until the centre has one hit of each of these, and no other.
fn wait_for_hits(shell: &Shell<'_>, expected: &[&str]) -> anyhow::Result<()> {
    let hits = wait_for(&format!("{} hits", expected.len()), 60, || {
        let printed = shell("runuser -u vedetta-collector -- vedetta-collector hits --json")?;
        let hits: Vec<Value> = printed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok((hits.len() >= expected.len()).then_some(hits))
    })
    .with_context(|| {
        shell("journalctl --no-pager -u vedetta-agent -u vedetta-collector").unwrap_or_default()
    })?;
    let mut values: Vec<&str> = hits.iter().filter_map(|hit| hit["value"].as_str()).collect();
    values.sort_unstable();
    assert_eq!(values, expected);
    Ok(())
}

/// What the postinst of vedetta-collector says, with the desk in a folder of its own.
fn set_up_centre(shell: &Shell<'_>) -> anyhow::Result<()> {
    let collector = "runuser -u vedetta-collector -- vedetta-collector";
    shell("echo 'una frase abbastanza lunga' >/tmp/password && chmod 644 /tmp/password")?;
    shell(
        "cd /srv && vedetta-cosc keygen --out keys && cp keys/1.root.json /tmp/ && chmod 644 /tmp/1.root.json",
    )?;
    shell(&format!(
        "{collector} init --host 127.0.0.1 --operator turno --operator-password-file /tmp/password --cosc-root /tmp/1.root.json"
    ))?;
    shell("systemctl start vedetta-collector")?;
    shell(
        "cd /srv && vedetta-cosc request --name cosc-esempio --out desk && cp desk/desk.req.pem /tmp/ && chmod 644 /tmp/desk.req.pem",
    )?;
    shell(&format!("{collector} admit-desk /tmp/desk.req.pem --name cosc-esempio >/srv/desk/chain.pem"))?;
    shell(&format!(
        "printf '%s\\n' {NAME} {ADDRESS} {IN_THE_JOURNAL} {SENT} {BEFORE_THE_START} >/srv/values.txt"
    ))?;
    shell(
        "cd /srv && vedetta-cosc bundle --issuer cosc-esempio --serial 1 --out b.zst values.txt \
         && vedetta-cosc sign --keys keys --repository repository b.zst \
         && vedetta-cosc push --collector 127.0.0.1:4740 --identity desk --repository repository",
    )?;
    Ok(())
}

/// What the postinst of vedetta-agent says.
fn enrol_sensor(shell: &Shell<'_>) -> anyhow::Result<()> {
    shell(
        "touch /var/log/auth.log /var/log/syslog && chgrp adm /var/log/auth.log /var/log/syslog && chmod 640 /var/log/auth.log /var/log/syslog",
    )?;
    shell(
        "sed -i 's/^interfaces = .*/interfaces = [\"lo\"]/; s/^home_networks = .*/home_networks = [\"127.0.0.0\\/8\"]/; \
         s/^# enabled = .*/enabled = true/; s/^# listen_udp = /listen_udp = /' \
         /etc/vedetta/agent.toml && vedetta-agent check-config",
    )?;
    // The code by a credential of the service, as tools that set up many machines hand it over.
    let code = invited(shell, "--comune 'Borgo Chiaro'")?;
    shell(&format!(
        "install -D -m 600 /dev/stdin {CREDENTIAL} <<<'{code}' && systemctl start vedetta-agent"
    ))?;
    shell(&format!("test -s {ENROLLED} && rm {CREDENTIAL}"))?;

    // The gateway is replaced: nothing of the old one is left, and the code is typed.
    shell("systemctl stop vedetta-agent && find /var/lib/vedetta-agent -mindepth 1 -delete")?;
    shell("systemctl start vedetta-agent")?;
    assert_eq!(shell("systemctl is-active vedetta-agent || true")?.trim(), "inactive", "it is nobody");
    let agents = shell("runuser -u vedetta-collector -- vedetta-collector agents --json")?;
    let old: Value = serde_json::from_str(agents.trim()).context("one sensor")?;
    let old = old["agent"].as_str().context("no identity of the sensor")?;
    let code = invited(shell, &format!("--replaces {old}"))?;
    shell(&format!(
        "runuser -u vedetta-agent -- vedetta-agent enrol {code} && systemctl start vedetta-agent"
    ))?;
    Ok(())
}

/// A code for the town's sensor.
fn invited(shell: &Shell<'_>, how: &str) -> anyhow::Result<String> {
    let collector = "runuser -u vedetta-collector -- vedetta-collector";
    let printed = shell(&format!("{collector} invite --istat 999001 {how} 2>/dev/null | tail -n 1"))?;
    Ok(printed.trim().to_owned())
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}
