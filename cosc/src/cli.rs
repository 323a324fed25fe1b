//! The command line of `vedetta-cosc`, and what each command prints.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use protocol::bundle::Revocation;
use protocol::message::Rollout;
use protocol::{Severity, Timestamp, Tlp};

use crate::deltas::Delta;
use crate::import::{Purpose, read, report};
use crate::sign::Signing;
use crate::{bundle, keys, push, request, root, sign};

/// Makes, signs and pushes what towns look for.
#[derive(Debug, Parser)]
#[command(name = "vedetta-cosc", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the keys that sign bundles, and the first root that names them
    #[command(
        after_help = "Example:\n  vedetta-cosc keygen --out /media/ceremony/keys --online-key online-key.json"
    )]
    Keygen {
        /// Folder for the keys; made when it is not there, nothing in it is overwritten
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// A collector's online key (vedetta-collector online-key), which then keeps the signed bundles fresh by itself
        #[arg(long, value_name = "FILE")]
        online_key: Option<PathBuf>,
    },
    /// Read indicator files and show what would be looked for, without writing anything
    #[command(
        after_help = "Reads plain lists, prose, tables (CSV), JSON Lines, MISP events, STIX 2.1, OpenIOC and bundles; \
        defanged values too.\nValues that look alike are written login-*.evil.example, evil.example/kit/* and \
        @evil.example; a ! before\na line of a list puts its value on the allow-list.\nExit status 1 when a file could not be read.\n\nExample:\n  \
        vedetta-cosc import alert-0012.csv notes.txt\n  vedetta-cosc import --json alert-0012.csv > candidates.jsonl"
    )]
    Import {
        /// One JSON object a line, with what was set aside
        #[arg(long)]
        json: bool,
        /// Files; - is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Make a bundle of indicator files
    #[command(
        after_help = "What the options say wins over what the files say. TLP:RED is refused.\n\nExample:\n  \
        vedetta-cosc bundle --issuer cosc-esempio --repository repository --alert COSC-ESEMPIO-2026-0012 \\\n    \
        --severity high --tlp amber --valid-days 60 --out bundle.jsonl.zst alert-0012.csv\n  \
        vedetta-cosc bundle --issuer cosc-esempio --repository repository --allow ours.txt \\\n    \
        --revoke-alert COSC-ESEMPIO-2026-0007 --revoke indicator--1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed \\\n    \
        --out bundle.jsonl.zst before.jsonl.zst"
    )]
    Bundle(BundleArguments),
    /// Sign a bundle into a repository, or renew what expires soon
    #[command(
        after_help = "The repository is made when it is not there. Beside the bundle, deltas from the two before it are signed \
        where they\nare smaller than half of it: sensors that have one of those fetch only what changes. Without \
        targets.pem,\n--refresh still works.\n\n\
        Example:\n  vedetta-cosc sign --keys /media/keys --repository repository bundle.jsonl.zst\n  \
        vedetta-cosc sign --keys keys --repository repository --refresh"
    )]
    Sign {
        /// Folder with the keys that keygen made
        #[arg(long, value_name = "DIR")]
        keys: PathBuf,
        /// Folder of the signed repository
        #[arg(long, value_name = "DIR")]
        repository: PathBuf,
        /// Renew timestamp and snapshot instead of signing a bundle
        #[arg(long, conflicts_with = "bundle", required_unless_present = "bundle")]
        refresh: bool,
        /// The bundle
        #[arg(value_name = "BUNDLE")]
        bundle: Option<PathBuf>,
    },
    /// Replace keys, or renew the root that names them; two of the root keys must sign
    #[command(
        after_help = "Without a change the root is renewed for another year. A lost or stolen root key is replaced by the two that \
        stay:\nname those with --root-key. After --replace-targets-key and every change of online keys, push at once: \
        sensors follow by\nthemselves, from any older root. A new targets key begins the bundles' numbers anew.\n\n\
        After a theft at the desk, in this order:\n  \
        1. Let the thief push nothing more: on each collector, revoke the desk (vedetta-collector revoke).\n  \
        2. On a clean machine, with the repository and root keys from two places: vedetta-cosc root with --root-key twice,\n     \
        --replace-targets-key, and --replace-root-key when a root key was stolen, too. If the thief may have signed into\n     \
        this repository, name the last bundle that is yours with --keep-bundles-to.\n  \
        3. When a collector was stolen, too: --remove-online-keys, and --add-online-key for each that is clean.\n  \
        4. Make a new identity (request), have it admitted, make and sign the bundle that is right, whatever its number,\n     \
        and push it with --urgent --follow. Sensors take it in the place of the thief's, however high that was numbered.\n  \
        5. vedetta-collector bundles shows the towns that have it; a town without a line needs vedetta-collector export.\n\nExample:\n  \
        vedetta-cosc root --keys keys --repository repository --root-key /media/a/root-1.pem --root-key /media/b/root-3.pem \\\n    \
        --replace-root-key\n  \
        vedetta-cosc root --keys keys --repository repository --root-key /media/a/root-1.pem --root-key /media/b/root-2.pem \\\n    \
        --remove-online-keys --add-online-key online-key.json"
    )]
    Root(RootArguments),
    /// Make this desk's key and the request that a collector's operator admits
    #[command(after_help = "Example:\n  vedetta-cosc request --name \"COSC Esempio\" --out identity")]
    Request {
        /// The desk's name
        #[arg(long)]
        name: String,
        /// Folder for key and request; nothing in it is overwritten
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Push a signed repository to a collector, and watch the towns apply it
    #[command(
        after_help = "Example:\n  vedetta-cosc push --collector collector.example:4740 --identity identity \\\n    \
        --repository repository --follow --seconds 60\n  \
        vedetta-cosc push --collector collector.example:4740 --identity identity --repository repository \\\n    \
        --canary 10% --canary-minutes 10 --follow"
    )]
    Push(PushArguments),
}

#[derive(Debug, Args)]
struct RootArguments {
    /// Folder with the keys that keygen made; new keys and roots are added to it
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// Folder of the signed repository, which is signed anew
    #[arg(long, value_name = "DIR")]
    repository: PathBuf,
    /// A root key that signs; without one those in the folder of keys
    #[arg(long, value_name = "FILE")]
    root_key: Vec<PathBuf>,
    /// Replace the root key that does not sign
    #[arg(long, requires = "root_key")]
    replace_root_key: bool,
    /// Replace the key that signs bundles, and the desk's own snapshot and timestamp keys with it
    #[arg(long)]
    replace_targets_key: bool,
    /// Sign no bundle above this number with the new key: a thief made them
    #[arg(long, value_name = "N", requires = "replace_targets_key")]
    keep_bundles_to: Option<u64>,
    /// Replace the desk's own snapshot and timestamp keys
    #[arg(long)]
    replace_desk_keys: bool,
    /// Let no collector's online key sign any more, but those that are added
    #[arg(long)]
    remove_online_keys: bool,
    /// Let a collector's online key (vedetta-collector online-key) sign snapshot and timestamp
    #[arg(long, value_name = "FILE")]
    add_online_key: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct BundleArguments {
    /// The desk's name, such as cosc-esempio
    #[arg(long)]
    issuer: String,
    /// The bundle to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The bundle's number
    #[arg(long, value_name = "N")]
    serial: Option<u64>,
    /// Number the bundle one after the newest in this repository
    #[arg(long, value_name = "DIR")]
    repository: Option<PathBuf>,
    /// The alert the indicators came with
    #[arg(long, value_name = "REF")]
    alert: Option<String>,
    /// Malware, actor or campaign
    #[arg(long)]
    threat: Option<String>,
    /// How bad a sighting is
    #[arg(long)]
    severity: Option<SeverityWord>,
    /// Who may see the indicators (TLP 2.0)
    #[arg(long)]
    tlp: Option<TlpWord>,
    /// Look for them this many days from this moment
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3650))]
    valid_days: Option<u32>,
    /// Take doubtful values, too: those that import --json marks so
    #[arg(long)]
    with_doubtful: bool,
    /// Values that silence: indicators on the same value, or on less of it, give no hits and are counted. Files as
    /// for import, such as one with "updates.example" on a line
    #[arg(long, value_name = "FILE")]
    allow: Vec<PathBuf>,
    /// Do not look any more for what came with this alert, such as COSC-ESEMPIO-2026-0007
    #[arg(long, value_name = "ALERT")]
    revoke_alert: Vec<String>,
    /// Do not look any more for this indicator, such as indicator--1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed
    #[arg(long, value_name = "ID")]
    revoke: Vec<String>,
    /// Files as for import; - is standard input. Allow-list and revocations of an earlier bundle among them stay
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct PushArguments {
    /// The collector's address
    #[arg(long, value_name = "HOST:PORT")]
    collector: String,
    /// Folder with desk.key and chain.pem
    #[arg(long, value_name = "DIR")]
    identity: PathBuf,
    /// Folder of the signed repository
    #[arg(long, value_name = "DIR")]
    repository: PathBuf,
    /// To so many percent of the towns first, such as 10%, and to all others when nothing speaks against it there
    #[arg(long, value_name = "SHARE", value_parser = percent)]
    canary: Option<u8>,
    /// How long the first towns are watched
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    canary_minutes: u32,
    /// To all towns at once, also where another bundle is still with its first towns: an emergency, such as a revocation
    #[arg(long, conflicts_with = "canary")]
    urgent: bool,
    /// Stay and show what becomes of it in each town, until Ctrl-C
    #[arg(long)]
    follow: bool,
    /// Stop following after this many seconds
    #[arg(long, value_name = "N", requires = "follow")]
    seconds: Option<u64>,
    /// Print the collector's answers as JSON, one a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SeverityWord {
    Low,
    Medium,
    High,
    Critical,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TlpWord {
    Clear,
    Green,
    Amber,
    #[value(name = "amber+strict")]
    AmberStrict,
    Red,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All was done.
    Done,
    /// Some input could not be read, or a collector refused; it was told.
    Partly,
}

/// Runs the command.
///
/// # Errors
/// What kept it from being done, with what to do next.
pub fn run(cli: Cli) -> Result<Outcome> {
    match cli.command {
        Command::Keygen { out, online_key } => println!("{}", keys::generate(&out, online_key.as_deref())?),
        Command::Import { json, files } => return run_import(json, &files),
        Command::Bundle(arguments) => return run_bundle(arguments),
        Command::Sign { keys, repository, bundle, .. } => {
            let signing = match bundle {
                Some(bundle) => sign::sign_bundle(&keys, &repository, &bundle)?,
                None => sign::refresh(&keys, &repository, sign::Renew::Online)?,
            };
            tell_signing(&signing, &repository);
        }
        Command::Root(arguments) => {
            let changes = root::Changes {
                root_keys: arguments.root_key,
                replace_root_key: arguments.replace_root_key,
                replace_targets_key: arguments.replace_targets_key,
                keep_bundles_to: arguments.keep_bundles_to,
                replace_desk_keys: arguments.replace_desk_keys,
                remove_online_keys: arguments.remove_online_keys,
                add_online_keys: arguments.add_online_key,
            };
            println!("{}", root::change(&arguments.keys, &arguments.repository, &changes)?);
        }
        Command::Request { name, out } => println!("{}", request::make(&name, &out)?),
        Command::Push(arguments) => {
            let PushArguments { collector, identity, repository, follow, seconds, json, .. } = &arguments;
            let follow = match (follow, seconds) {
                (false, _) => push::Follow::No,
                (true, None) => push::Follow::UntilStopped,
                (true, Some(seconds)) => push::Follow::For(Duration::from_secs(*seconds)),
            };
            let rollout = arguments
                .canary
                .map(|share_percent| Rollout { share_percent, minutes: arguments.canary_minutes });
            let what = push::What { repository, rollout };
            return push::run(collector, identity, what, follow, push::Print::choose(*json));
        }
    }
    Ok(Outcome::Done)
}

fn tell_signing(signing: &Signing, repository: &Path) {
    println!(
        "bundle {} is the newest in {}; signatures are good until {:.0} (renew before with sign --refresh)",
        signing.serial,
        repository.display(),
        signing.expires
    );
    for (why, count) in &signing.absurd {
        println!("sensors will hold back {count}: {why}");
    }
    for delta in &signing.deltas {
        match delta {
            Delta::Written { from, changes, bytes } => {
                println!("delta from bundle {from}: {changes} changes, {bytes} bytes");
            }
            Delta::None { from, why } => println!("no delta from bundle {from}: {why}"),
        }
    }
}

fn run_import(json: bool, files: &[PathBuf]) -> Result<Outcome> {
    let imported = read::files(files, Purpose::LookFor);
    let out = io::BufWriter::new(io::stdout().lock());
    let printed = if json { report::json(&imported, out) } else { report::list(&imported, out) };
    ignore_closed_pipe(printed)?;
    report::trouble(&imported, io::stderr().lock())?;
    Ok(if imported.unread.is_empty() { Outcome::Done } else { Outcome::Partly })
}

fn run_bundle(arguments: BundleArguments) -> Result<Outcome> {
    let mut imported = read::files(&arguments.files, Purpose::LookFor);
    report::trouble(&imported, io::stderr().lock())?;
    let allowed = read::files(&arguments.allow, Purpose::Allow);
    if !arguments.allow.is_empty() {
        report::trouble(&allowed, io::stderr().lock())?;
    }
    if !imported.unread.is_empty() || !allowed.unread.is_empty() {
        anyhow::bail!("no bundle is written while a file cannot be read; leave it out, or make it readable");
    }
    if !arguments.allow.is_empty() && allowed.allowed.is_empty() {
        anyhow::bail!("no value could be read from --allow; write one a line, such as updates.example");
    }
    imported.allow(allowed)?;
    let revoked = arguments.revoke_alert.into_iter().map(Revocation::Alert);
    let options = bundle::Options {
        revoked: revoked.chain(arguments.revoke.into_iter().map(Revocation::Indicator)).collect(),
        issuer: arguments.issuer,
        serial: arguments.serial,
        repository: arguments.repository,
        alert: arguments.alert,
        threat: arguments.threat,
        severity: arguments.severity.map(|word| match word {
            SeverityWord::Low => Severity::Low,
            SeverityWord::Medium => Severity::Medium,
            SeverityWord::High => Severity::High,
            SeverityWord::Critical => Severity::Critical,
        }),
        tlp: arguments.tlp.map(|word| match word {
            TlpWord::Clear => Tlp::Clear,
            TlpWord::Green => Tlp::Green,
            TlpWord::Amber => Tlp::Amber,
            TlpWord::AmberStrict => Tlp::AmberStrict,
            TlpWord::Red => Tlp::Red,
        }),
        valid_days: arguments.valid_days,
        with_doubtful: arguments.with_doubtful,
    };
    let now = Timestamp::from_micros(jiff::Timestamp::now().as_microsecond());
    let written = bundle::write(&imported, &options, now, &arguments.out)?;
    let kinds: Vec<String> = written.kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    println!(
        "bundle {} with {} indicators ({}) is in {}",
        written.header.serial,
        written.kinds.values().sum::<u64>(),
        kinds.join(", "),
        arguments.out.display(),
    );
    for (count, what) in [
        (written.endless, "never expire (see --valid-days)"),
        (written.doubtful, "left out as doubtful (see import, and --with-doubtful)"),
        (written.allowed, "values of the allow-list"),
        (written.revocations, "revocations"),
        (written.silenced, "in the bundle, but silenced by allow-list or revocation"),
    ] {
        if count > 0 {
            println!("{what}: {count}");
        }
    }
    if !written.absurd.is_empty() {
        println!("held back as absurd: {}", written.absurd);
    }
    if let Some((before, lines)) = written.before.filter(|(_, lines)| written.header.indicators < lines / 2) {
        println!(
            "bundle {before} has {lines} lines, this one {}: sensors look for what is in the newest bundle and for \
             nothing else; to add to bundle {before}, name it as a file, too",
            written.header.indicators
        );
    }
    Ok(Outcome::Done)
}

/// A share such as `10%`.
fn percent(text: &str) -> Result<u8, String> {
    let share = text.strip_suffix('%').unwrap_or(text).parse().ok();
    share.filter(|share| (1..=100).contains(share)).ok_or_else(|| "a share from 1% to 100%".to_owned())
}

/// `| head` closes the pipe early, which is no error.
fn ignore_closed_pipe(printed: io::Result<()>) -> io::Result<()> {
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// Whether a person watches standard error.
pub fn is_watched() -> bool {
    io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent_and_every_command_has_an_example() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        command.build();
        for subcommand in command.get_subcommands().filter(|it| it.get_name() != "help") {
            let help = subcommand.clone().render_help().to_string();
            assert!(help.contains("Example"), "{}", subcommand.get_name());
        }
    }

    #[test]
    fn signing_wants_a_bundle_or_refresh_but_not_both() {
        let parse = |last: &[&str]| {
            let words = ["vedetta-cosc", "sign", "--keys", "k", "--repository", "r"];
            Cli::try_parse_from(words.iter().chain(last)).is_ok()
        };
        assert!(parse(&["b"]) && parse(&["--refresh"]));
        assert!(!parse(&[]) && !parse(&["--refresh", "b"]));
    }
}
