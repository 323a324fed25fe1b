//! `trust-root` and `admit-desk`: which COSC is believed, and which desk may push.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use protocol::Identity;
use protocol::enrolment::fingerprint;
use protocol::identity::DeskName;

use super::open_store;
use crate::authority::{Authority, Request};
use crate::bundles::online::OnlineKey;
use crate::bundles::root::{CoscRoot, RootError};
use crate::clock;
use crate::config::Config;
use crate::store::sensors;

/// Trust a COSC: its TUF root decides which bundles are genuine.
#[derive(Debug, Args)]
pub struct TrustRoot {
    /// The COSC's metadata/1.root.json.
    file: PathBuf,
    /// Trust this root instead of another that is trusted already. Sensors that are enrolled keep the
    /// root they were enrolled with.
    #[arg(long)]
    replace: bool,
}

/// Print the public key with which this collector keeps bundles fresh.
#[derive(Debug, Args)]
pub struct PrintOnlineKey {}

/// Sign a desk's request, so that it may push bundles.
#[derive(Debug, Args)]
pub struct AdmitDesk {
    /// The desk's request (PKCS #10, PEM), as `vedetta-cosc request` wrote it.
    request: PathBuf,
    /// The desk's name, such as cosc-esempio.
    #[arg(long)]
    name: String,
}

impl TrustRoot {
    /// Keeps the root after checking it.
    ///
    /// # Errors
    /// When the file is no root, or another one is trusted already.
    pub async fn run(self, config: &Config) -> anyhow::Result<()> {
        let root = read_root(&self.file)?;
        match CoscRoot::open(&config.state) {
            Ok(trusted) if trusted == root => {}
            Ok(_) if !self.replace => {
                bail!("another root is trusted already; to trust this one instead, say --replace")
            }
            Ok(_) | Err(RootError::NotChosen) => root.keep(&config.state)?,
            Err(error) if !self.replace => return Err(error.into()),
            Err(_) => root.keep(&config.state)?,
        }
        println!("trusted root:  {}", fingerprint(&root.sha256()));
        eprintln!("compare it with what the COSC reads out to you");
        Ok(())
    }
}

impl PrintOnlineKey {
    /// Prints the key (JSON) on standard output, and what to do with it beside.
    ///
    /// # Errors
    /// When the key can neither be read nor made.
    pub fn run(self, config: &Config) -> anyhow::Result<()> {
        let key = OnlineKey::open(&config.state)?;
        writeln!(std::io::stdout(), "{}", key.public_json()?).context("standard output")?;
        eprintln!(
            "give this to the desk: `vedetta-cosc keygen --online-key FILE` at the beginning, or later \
             `vedetta-cosc root --add-online-key FILE`, then push; until then the desk's own signatures are served"
        );
        Ok(())
    }
}

/// Reads a root that a person names.
pub(super) fn read_root(file: &Path) -> anyhow::Result<CoscRoot> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    CoscRoot::parse(text).with_context(|| file.display().to_string())
}

impl AdmitDesk {
    /// Prints the certificate chain of the desk.
    ///
    /// # Errors
    /// When the request or the name is unfit, or the store fails.
    pub async fn run(self, config: &Config) -> anyhow::Result<()> {
        let name: DeskName = self.name.parse().context("--name: 1 to 64 of a-z 0-9 and hyphen")?;
        let pem = fs::read_to_string(&self.request).with_context(|| self.request.display().to_string())?;
        let request = Request::parse_pem(&pem).with_context(|| self.request.display().to_string())?;
        let store = open_store(config)?;
        let authority = Authority::open(&config.state)?;
        let desk = Identity::Desk { name };
        let issued = authority.issue(&request, &desk, clock::now())?;
        sensors::admit_desk(&store, desk, issued.clone()).await?;
        std::io::stdout().write_all(issued.chain_pem.as_bytes()).context("standard output")?;
        eprintln!("the certificate is valid until {}; give the desk what was printed", issued.not_after);
        Ok(())
    }
}
