//! `init`: makes everything a new collector needs and overwrites nothing.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use protocol::enrolment::fingerprint;
use protocol::text::Hex;

use super::print_json;
use crate::accounts::{self, OperatorName};
use crate::authority::{Authority, GivenAuthority};
use crate::bundles::{offered, online::OnlineKey, root::CoscRoot};
use crate::cli::Failure;
use crate::clock;
use crate::config::{Config, STATE_DIR_DEFAULT};
use crate::folders::{StateFolder, give_to_owner_of_folder, make_private_folder, write_private_file};
use crate::store::Store;

/// Make the certificate authority, the server's certificate, the store and the first operator.
#[derive(Debug, Args)]
pub struct Init {
    /// Name or address under which sensors and operators reach this collector; may be repeated.
    #[arg(long = "host", value_name = "HOST", required = true)]
    hosts: Vec<String>,
    /// First operator of the console.
    #[arg(long, value_name = "NAME")]
    operator: String,
    /// File with the operator's password on its first line; without it one is made and printed.
    #[arg(long, value_name = "FILE")]
    operator_password_file: Option<PathBuf>,
    /// The COSC's 1.root.json, to trust at once; `trust-root` does it later.
    #[arg(long, value_name = "FILE")]
    cosc_root: Option<PathBuf>,
    /// An authority of your own under an existing root, with those above it behind it (PEM); without it one is made.
    #[arg(long, value_name = "FILE", requires = "authority_key")]
    authority_chain: Option<PathBuf>,
    /// Its key (PEM, without a password).
    #[arg(long, value_name = "FILE", requires = "authority_chain")]
    authority_key: Option<PathBuf>,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What `init` made.
#[derive(serde::Serialize)]
struct Made {
    state_dir: PathBuf,
    authority_sha256: String,
    operator: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    config_written: bool,
}

/// Everything that was asked, checked before anything is made.
struct Plan {
    state: StateFolder,
    hosts: Vec<String>,
    operator: OperatorName,
    password: String,
    generated: bool,
    root: Option<CoscRoot>,
    authority: Option<GivenAuthority>,
}

impl Init {
    /// Makes a new collector.
    ///
    /// # Errors
    /// When there is one already, an argument is wrong, or the folder cannot be written.
    pub async fn run(self, config: &Path) -> Result<(), Failure> {
        let state =
            if config.exists() { Config::read(config)?.state } else { StateFolder::new(STATE_DIR_DEFAULT) };
        let plan = self.plan(state)?;
        let made_before = [plan.state.authority_key(), plan.state.server_key(), plan.state.store()];
        if let Some(path) = made_before.iter().find(|path| path.exists()) {
            let error = anyhow::anyhow!(
                "{} exists already: this collector was made before, and `init` overwrites nothing",
                path.display()
            );
            return Err(error.into());
        }
        let authority = match make(&plan).await {
            Ok(authority) => authority,
            Err(error) => {
                remove_half_made(&plan.state);
                return Err(error.into());
            }
        };
        let config_written = write_config(config);
        self.report(&plan, &authority, config, config_written)?;
        Ok(())
    }

    fn plan(&self, state: StateFolder) -> anyhow::Result<Plan> {
        let hosts = self.hosts.iter().map(|host| plain_host(host)).collect::<anyhow::Result<_>>()?;
        let operator = self.operator.parse().context("--operator")?;
        let (password, generated) = match &self.operator_password_file {
            None => (accounts::generate_password(), true),
            Some(file) => {
                let text = fs::read_to_string(file)
                    .with_context(|| format!("--operator-password-file {}", file.display()))?;
                (text.lines().next().unwrap_or_default().to_owned(), false)
            }
        };
        // Too short is said here, before anything is made.
        accounts::check_password(&password)?;
        let root = self.cosc_root.as_deref().map(super::desks::read_root).transpose()?;
        let authority = match (&self.authority_chain, &self.authority_key) {
            (Some(chain), Some(key)) => Some(GivenAuthority::read(chain, key, clock::now())?),
            _ => None,
        };
        Ok(Plan { state, hosts, operator, password, generated, root, authority })
    }

    fn report(
        &self,
        plan: &Plan,
        authority: &Authority,
        config: &Path,
        config_written: bool,
    ) -> anyhow::Result<()> {
        let made = Made {
            state_dir: plan.state.path().into(),
            authority_sha256: Hex(&authority.sha256()).to_string(),
            operator: plan.operator.to_string(),
            password: plan.generated.then(|| plan.password.clone()),
            config_written,
        };
        if self.json {
            return print_json(&made);
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "state folder:           {}", made.state_dir.display())?;
        writeln!(out, "certificate authority:  {}", fingerprint(&authority.sha256()))?;
        writeln!(out, "operator:               {}", made.operator)?;
        if let Some(password) = &made.password {
            writeln!(out, "password:               {password}")?;
        }
        if config_written {
            writeln!(out, "configuration:          {}", config.display())?;
        }
        eprintln!(
            "for the desk, so that this collector keeps bundles fresh by itself: `vedetta-collector online-key > online-key.json`"
        );
        if plan.root.is_none() {
            eprintln!(
                "next: `vedetta-collector trust-root 1.root.json` with the COSC's root, then `vedetta-collector invite`"
            );
        }
        Ok(())
    }
}

async fn make(plan: &Plan) -> anyhow::Result<Authority> {
    let folder = plan.state.path();
    make_private_folder(folder).with_context(|| {
        format!("{} cannot be made; run as root or as the service's user", folder.display())
    })?;
    let now = clock::now();
    let authority = match &plan.authority {
        Some(given) => Authority::adopt(&plan.state, given)?,
        None => Authority::create(&plan.state, now)?,
    };
    authority.renew_server(&plan.state, &plan.hosts, now)?;
    let hosts: String = plan.hosts.iter().map(|host| format!("{host}\n")).collect();
    write_private_file(&plan.state.hosts(), hosts.as_bytes())?;
    offered::make_folders(&plan.state)?;
    OnlineKey::open(&plan.state)?;
    if let Some(root) = &plan.root {
        root.keep(&plan.state)?;
    }
    let store = Store::create(&plan.state.store())?;
    accounts::add(&store, &plan.operator, &plan.password).await?;
    Ok(authority)
}

/// Nothing of it existed before: a second try begins afresh.
fn remove_half_made(state: &StateFolder) {
    let folders = [state.authority_key(), state.server_key(), state.online_key()];
    for folder in folders.iter().filter_map(|file| file.parent()).filter(|folder| folder.exists()) {
        if let Err(error) = fs::remove_dir_all(folder) {
            eprintln!("{}: {error}; remove it before the next try", folder.display());
        }
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut file = state.store().into_os_string();
        file.push(suffix);
        if Path::new(&file).exists()
            && let Err(error) = fs::remove_file(&file)
        {
            eprintln!("{}: {error}; remove it before the next try", Path::new(&file).display());
        }
    }
}

/// Writes a configuration where none is, when its folder can be written; the defaults work without one.
fn write_config(config: &Path) -> bool {
    const TEXT: &str = "# Configuration of vedetta-collector. Everything here is the default.\n\
        state_dir = \"/var/lib/vedetta-collector\"\n\n\
        [ingest]\nlisten = \"[::]:4740\"\n\
        # public_addresses = [\"collector.example:4740\"]\n\n\
        [console]\nlisten = \"[::]:8443\"\n";
    let written = fs::OpenOptions::new().write(true).create_new(true).open(config).and_then(|mut file| {
        file.write_all(TEXT.as_bytes())?;
        give_to_owner_of_folder(config)
    });
    written.is_ok()
}

/// A DNS name or an address, without port or brackets.
fn plain_host(host: &str) -> anyhow::Result<String> {
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    ensure!(!host.contains(':'), "--host {host}: write it without a port");
    match protocol::Domain::parse(host) {
        Ok(domain) => Ok(domain.as_str().to_owned()),
        Err(error) => bail!("--host {host}: neither a name nor an address: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, expected: Option<&str>) {
        assert_eq!(plain_host(host).ok().as_deref(), expected, "{host}");
    }

    #[test]
    fn a_host_is_a_name_or_an_address_without_port() {
        check("Collector.Example.", Some("collector.example"));
        check("192.0.2.1", Some("192.0.2.1"));
        check("[2001:db8::1]", Some("2001:db8::1"));
        check("collector.example:4740", None);
        check("not a host", None);
    }
}
