//! `invite`, `agents`, `revoke`: which sensors may report.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use protocol::enrolment::EnrolmentCode;
use protocol::identity::ComuneId;
use protocol::text::Hex;
use sha2::{Digest as _, Sha256};

use super::{open_store, print_json, shown};
use crate::authority::Authority;
use crate::bundles::root::CoscRoot;
use crate::clock;
use crate::config::Config;
use crate::store::invitations::{self, NewInvitation};
use crate::store::sensors;

/// Longest name of a town, in characters.
const NAME_CHARS_MAX: usize = 100;

/// Print a one-time code that enrols one sensor of a town.
#[derive(Debug, Args)]
pub struct Invite {
    /// The town's ISTAT code, six digits; needed with its first invitation.
    #[arg(long, value_name = "CODE", required_unless_present_any = ["comune", "replaces"])]
    istat: Option<String>,
    /// The town, as operators will read it; needed with its first invitation.
    #[arg(long, value_name = "NAME")]
    comune: Option<String>,
    /// Give a known town the name that --comune says.
    #[arg(long, requires_all = ["istat", "comune"])]
    rename: bool,
    /// The sensor whose place the new one takes: its certificates are taken back when the new one enrols.
    #[arg(long, value_name = "SENSOR", conflicts_with = "rename")]
    replaces: Option<String>,
    /// How long the code is good.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=24))]
    hours: u32,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// List the sensors.
#[derive(Debug, Args)]
pub struct Agents {
    /// Print one sensor a line as JSON.
    #[arg(long)]
    json: bool,
}

/// Take a sensor's or a desk's certificates back.
#[derive(Debug, Args)]
pub struct Revoke {
    /// The sensor's identifier or its beginning (at least 8 digits), or a desk's name.
    agent: String,
    /// Why, for the record and the refused side's log.
    #[arg(long)]
    reason: String,
}

#[derive(serde::Serialize)]
struct Invited {
    comune: ComuneId,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<String>,
    code: String,
    expires_at: protocol::Timestamp,
}

impl Invite {
    /// Prints the code on the last line of standard output.
    ///
    /// # Errors
    /// When no COSC is trusted, the name is unfit, or the store fails.
    pub async fn run(self, config: &Config) -> anyhow::Result<()> {
        let name = self.comune.as_deref().map(town_name).transpose()?;
        let istat = self.istat.as_deref().map(|code| code.trim().parse::<ComuneId>()).transpose();
        let istat = istat.map_err(|_| {
            anyhow::anyhow!("--istat: the six digits of the town's ISTAT code, such as 999001 (codes from 999 are invented)")
        })?;
        let root = CoscRoot::open(&config.state)?;
        let store = open_store(config)?;
        let authority = Authority::open(&config.state)?;
        let secret: [u8; 16] = rand::random();
        let expires_at = clock::now().plus_seconds(i64::from(self.hours) * 3600);
        let invitation = NewInvitation {
            istat,
            name,
            rename: self.rename,
            replaces: self.replaces.map(|asked| asked.trim().to_ascii_lowercase()),
            secret_sha256: Hex(&Sha256::digest(secret)).to_string(),
            expires_at,
        };
        let town = invitations::invite(&store, invitation).await??;
        let code = EnrolmentCode {
            addresses: public_addresses(config)?,
            authority_sha256: authority.sha256(),
            root_sha256: root.sha256(),
            secret,
        };
        let invitations::Invited { comune, name, replaces } = town;
        let invited = Invited { comune, name, replaces, code: code.to_string(), expires_at };
        if self.json {
            return print_json(&invited);
        }
        eprintln!(
            "on the gateway of {} ({}), before {}:",
            shown(&invited.name),
            invited.comune,
            invited.expires_at
        );
        eprintln!("    vedetta-agent enrol -        (then paste the code; it enrols one sensor, once)");
        println!("{}", invited.code);
        Ok(())
    }
}

/// A town's name as it is kept.
fn town_name(typed: &str) -> anyhow::Result<String> {
    let name = typed.trim().to_owned();
    ensure!(
        name.chars().count() <= NAME_CHARS_MAX && !name.chars().any(char::is_control),
        "--comune: at most {NAME_CHARS_MAX} characters, on one line"
    );
    ensure!(name.chars().any(char::is_alphabetic), "--comune: a name with at least one letter");
    Ok(name)
}

/// Where sensors reach the collector: as configured, or the hosts of `init` with the port that is listened to.
///
/// # Errors
/// When `init` left no hosts.
pub fn public_addresses(config: &Config) -> anyhow::Result<Vec<String>> {
    if !config.ingest.public_addresses.is_empty() {
        return Ok(config.ingest.public_addresses.clone());
    }
    let port = config.ingest.listen.port();
    let with_port = |host: String| match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        _ => format!("{host}:{port}"),
    };
    Ok(hosts(config)?.into_iter().map(with_port).collect())
}

/// The hosts that `init` was given.
///
/// # Errors
/// When the file is missing.
pub fn hosts(config: &Config) -> anyhow::Result<Vec<String>> {
    let file = config.state.hosts();
    let text = fs::read_to_string(&file)
        .with_context(|| format!("{} cannot be read; was `vedetta-collector init` run?", file.display()))?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

impl Agents {
    /// Prints the list.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn run(self, config: &Config) -> anyhow::Result<()> {
        let rows = sensors::list(&open_store(config)?).await?;
        for row in &rows {
            if self.json {
                print_json(row)?;
                continue;
            }
            let state = match (row.revoked, row.connected) {
                (true, _) => "revoked".to_owned(),
                (false, true) => "connected".to_owned(),
                (false, false) => match row.last_seen_at {
                    Some(at) => format!("last seen {at}"),
                    None => "never seen".to_owned(),
                },
            };
            println!(
                "{}  {} {}  {}  {state}  bundle {}  hits {}",
                row.agent,
                row.comune,
                shown(&row.comune_name),
                shown(&row.host_name),
                row.bundle,
                row.hits
            );
            if let Some(replaced) = &row.replaces {
                println!("    takes the place of {replaced}");
            }
            if let Some(successor) = &row.replaced_by {
                println!("    its place was taken by {successor}");
            }
            for twin in row.twins.iter().filter(|_| !row.revoked) {
                println!(
                    "    !! two machines use its identity, or it was restored from a copy ({}, {} times, last {}): \
                     revoke it and enrol both anew",
                    twin.sign, twin.count, twin.last_at
                );
            }
        }
        if rows.is_empty() && !self.json {
            eprintln!(
                "no sensor is enrolled yet; `vedetta-collector invite --istat CODE --comune NAME` prints a code"
            );
        }
        Ok(())
    }
}

impl Revoke {
    /// Takes the certificates back; the service ends their connections within a second.
    ///
    /// # Errors
    /// When the name fits none or several, or the store fails.
    pub async fn run(self, config: &Config) -> anyhow::Result<()> {
        let store = open_store(config)?;
        let asked = self.agent.trim().to_ascii_lowercase();
        let found = sensors::identities(&store, asked).await?;
        let identity = match found.as_slice() {
            [identity] => identity.clone(),
            [] => {
                bail!("no sensor or desk is known as {}; `vedetta-collector agents` lists them", self.agent)
            }
            _ => bail!("{} sensors begin like that; write more digits", found.len()),
        };
        let changed = sensors::revoke(&store, identity.clone(), self.reason).await?;
        match changed {
            0 => println!("{identity} was revoked before"),
            _ => println!("{identity} is revoked"),
        }
        Ok(())
    }
}
