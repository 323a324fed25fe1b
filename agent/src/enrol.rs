//! `enrol CODE`: makes a key that never leaves this machine and turns the code into an identity. The service does the
//! same at its first start when it was handed a code.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use protocol::Identity;
use protocol::enrolment::{EnrolRefusal, EnrolReply, EnrolRequest, EnrolmentCode, NotACode, fingerprint};
use protocol::identity::AgentId;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use sha2::{Digest as _, Sha256};

use crate::config::{Config, ConfigError};
use crate::identity::{self, Draft, Enrolment};
use crate::uplink::certificate::{Certificate, issuer_with};
use crate::uplink::enrolment::ask;

/// The longest code that is read from standard input.
const CODE_BYTES_MAX: u64 = 16 << 10;

/// The credential that systemd hands the service (systemd.exec(5), LoadCredential).
const CREDENTIAL: &str = "enrolment-code";

/// Enrols this sensor and prints what to do next.
///
/// # Errors
/// Says what to do about it; an identity that was there stays.
pub fn run(config: &Config, code: &str, replace: bool) -> anyhow::Result<()> {
    let code: EnrolmentCode = code.parse()?;
    let present = identity::folder(&config.state_dir);
    ensure!(
        replace || !present.exists(),
        "this sensor is enrolled already ({}); to enrol it anew add --replace",
        present.display()
    );
    // Before the code is used: a code is good once, and what it gives must be kept.
    let draft = Draft::begin(&config.state_dir).with_context(|| {
        format!("{} cannot be written; run this command as root", config.state_dir.display())
    })?;
    let key = KeyPair::generate()?;
    draft.write_key(&key.serialize_pem())?;
    let request = EnrolRequest {
        secret: code.secret,
        request_pem: CertificateParams::default().serialize_request(&key)?.pem()?,
        host_name: host_name(),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let reply = ask(&code, &request)?;
    let EnrolReply::Enrolled { agent, comune, chain_pem, addresses, cosc_root } = reply else {
        match reply {
            EnrolReply::Refused { reason } => return Err(reason.into()),
            _ => bail!("the collector answered what this program does not know; update vedetta-agent"),
        }
    };
    let authority_pem = check(&code, &key, agent, (&chain_pem, &cosc_root))?;
    let enrolment = Enrolment { agent, comune, addresses };
    draft.finish(&enrolment, &chain_pem, &authority_pem, cosc_root.as_bytes())?;
    tell(&enrolment, &code);
    Ok(())
}

/// A code from the command line; `-` stands for standard input.
///
/// # Errors
/// When standard input cannot be read.
pub fn code_as_typed(code: &str) -> anyhow::Result<String> {
    if code == "-" { code_in(Path::new("-")) } else { Ok(code.to_owned()) }
}

/// The code in a file; `-` stands for standard input.
///
/// # Errors
/// When it cannot be read.
pub fn code_in(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        io::stdin().take(CODE_BYTES_MAX).read_to_string(&mut text)
    } else {
        fs::File::open(file).and_then(|file| file.take(CODE_BYTES_MAX).read_to_string(&mut text))
    };
    read.with_context(|| format!("the enrolment code in {} cannot be read", file.display()))?;
    Ok(text)
}

/// Enrols a sensor that is not enrolled yet with the code that systemd hands its service, if it does. A code that is
/// refused is a matter of configuration: trying again makes it no better.
///
/// # Errors
/// Says what to do about it.
pub fn at_first_start(config: &Config, credentials: Option<&Path>) -> anyhow::Result<()> {
    let Some(file) = credentials.map(|folder| folder.join(CREDENTIAL)).filter(|file| file.exists()) else {
        return Ok(());
    };
    if identity::folder(&config.state_dir).exists() {
        return Ok(());
    }
    tracing::info!("not enrolled yet: enrolling with the code of the service's credential");
    run(config, &code_in(&file)?, false).map_err(|error| {
        let is_final = error.chain().any(|cause| cause.is::<EnrolRefusal>() || cause.is::<NotACode>());
        if is_final { ConfigError::CodeRefused { reason: error.to_string() }.into() } else { error }
    })
}

/// The collector is the one that the code names; what it gives must still be what the code promises.
fn check(
    code: &EnrolmentCode,
    key: &KeyPair,
    agent: AgentId,
    (chain_pem, cosc_root): (&str, &str),
) -> anyhow::Result<String> {
    ensure!(
        Sha256::digest(cosc_root.as_bytes()).as_slice() == code.root_sha256,
        "the collector gave another COSC root than the code names; ask the COSC, somebody may be in between"
    );
    let Some(authority_pem) = issuer_with(chain_pem, &code.authority_sha256) else {
        bail!(
            "the collector gave a certificate without the authority that the code names; ask its operator, somebody may be in between"
        )
    };
    let certificate =
        Certificate::of_chain(chain_pem).context("the collector gave no certificate of a sensor")?;
    ensure!(
        certificate.public_key == key.subject_public_key_info(),
        "the collector gave a certificate for another key"
    );
    let is_ours = matches!(&certificate.identity, Identity::Agent { agent: named, .. } if *named == agent);
    ensure!(is_ours, "the collector gave a certificate of another sensor");
    Ok(authority_pem)
}

fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().chars().filter(|letter| !letter.is_control()).take(253).collect()
}

fn tell(enrolment: &Enrolment, code: &EnrolmentCode) {
    println!("Enrolled as sensor {} of {}.", enrolment.agent, enrolment.comune);
    println!("Collector: {}", enrolment.addresses.join(", "));
    println!("Collector's authority (SHA-256): {}", fingerprint(&code.authority_sha256));
    println!("COSC's root (SHA-256):           {}", fingerprint(&code.root_sha256));
    println!("Next: systemctl enable --now vedetta-agent (restart it if it runs), then vedetta-agent status");
}
