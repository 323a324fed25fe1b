//! `operator add|disable|list`: who may sign in to the console.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::{open_store, print_json};
use crate::accounts;
use crate::config::Config;
use crate::store::operators;

/// Add or disable an operator of the console.
#[derive(Debug, Args)]
pub struct OperatorCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add an operator, or let a disabled one in again with a new password.
    #[command(after_help = "Example:\n  vedetta-collector operator add bruno --password-file password.txt")]
    Add {
        /// The operator's name.
        name: String,
        /// File with the password on its first line; without it one is made and printed.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Keep an operator out; open sessions end at once.
    #[command(after_help = "Example:\n  vedetta-collector operator disable bruno")]
    Disable {
        /// The operator's name.
        name: String,
    },
    /// List the operators.
    #[command(after_help = "Example:\n  vedetta-collector operator list --json")]
    List {
        /// Print one operator a line as JSON.
        #[arg(long)]
        json: bool,
    },
}

impl OperatorCommand {
    /// Does it.
    ///
    /// # Errors
    /// When the name or the password is unfit, or the store fails.
    pub async fn run(self, config: &Config) -> anyhow::Result<()> {
        let store = open_store(config)?;
        match self.action {
            Action::Add { name, password_file } => {
                let name = name.parse()?;
                let password = match &password_file {
                    None => accounts::generate_password(),
                    Some(file) => {
                        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
                        text.lines().next().unwrap_or_default().to_owned()
                    }
                };
                accounts::add(&store, &name, &password).await?;
                println!("operator:  {name}");
                if password_file.is_none() {
                    println!("password:  {password}");
                }
            }
            Action::Disable { name } => {
                let name = name.parse()?;
                accounts::disable(&store, &name).await?;
                println!("{name} is disabled");
            }
            Action::List { json } => {
                for operator in operators::list(&store).await? {
                    if json {
                        print_json(&operator)?;
                    } else {
                        let state = if operator.enabled { "" } else { "  disabled" };
                        println!("{}{state}", operator.name);
                    }
                }
            }
        }
        Ok(())
    }
}
