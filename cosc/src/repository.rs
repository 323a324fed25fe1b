//! The signed repository in a folder, as the desk reads it: what it holds, and whether it is whole.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use protocol::Serial;
use protocol::message::OfferedFile;
use protocol::repository::{
    METADATA_FOLDER, RepositoryPath, TARGETS_FOLDER, serial_of_target, serials_of_delta,
};
use tough::schema::{Target, decoded::Hex};
use tough::{ExpirationEnforcement, FilesystemTransport, RepositoryLoader};
use url::Url;

/// Whether metadata that has expired is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// For pushing: nobody would take it.
    Refused,
    /// For signing anew, which is the cure.
    Accepted,
}

/// A bundle or delta that the repository's metadata names.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its name as a target.
    pub name: String,
    /// Its length and hash.
    pub target: Target,
    /// Its file.
    pub path: PathBuf,
}

/// A bundle that the repository's metadata names.
#[derive(Clone, Debug)]
pub struct NamedBundle {
    /// Its number.
    pub serial: Serial,
    /// Its length and hash.
    pub target: Target,
    /// Its file.
    pub path: PathBuf,
}

/// The newest root in a folder, by the number in its name.
///
/// # Errors
/// When the folder cannot be read or holds none.
pub fn newest_root(folder: &Path) -> Result<(u64, PathBuf)> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let roots = entries.flatten().filter_map(|entry| {
        let version = entry.file_name().to_str()?.strip_suffix(".root.json")?.parse().ok()?;
        Some((version, entry.path()))
    });
    roots.max().with_context(|| format!("{} holds no root (1.root.json)", folder.display()))
}

/// Loads and verifies a repository's metadata from its own first root.
///
/// # Errors
/// Says what is wrong with it and how to make it right.
pub fn load(folder: &Path, expired: Expired) -> Result<tough::Repository> {
    let metadata = folder.join(METADATA_FOLDER);
    let first = metadata.join("1.root.json");
    let root = fs::read(&first).with_context(|| {
        format!(
            "{} is no signed repository: it has no metadata/1.root.json; make one with sign",
            folder.display()
        )
    })?;
    let url = |folder: &Path| {
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        Url::from_directory_path(&folder)
            .map_err(|()| anyhow::anyhow!("{} is no usable folder name", folder.display()))
    };
    let loader = RepositoryLoader::new(&root, url(&metadata)?, url(&folder.join(TARGETS_FOLDER))?)
        .transport(FilesystemTransport)
        .expiration_enforcement(match expired {
            Expired::Refused => ExpirationEnforcement::Safe,
            Expired::Accepted => ExpirationEnforcement::Unsafe,
        });
    block_on(loader.load())?.map_err(|error| match error {
        tough::error::Error::ExpiredMetadata { role, .. } => {
            anyhow::anyhow!(
                "the {role} metadata has expired; renew it with sign --refresh, or sign a new bundle"
            )
        }
        error => anyhow::Error::new(error).context(format!("{} is not whole", folder.display())),
    })
}

/// The bundles and deltas that the metadata names, by name.
pub fn named(loaded: &tough::Repository, folder: &Path) -> Vec<Named> {
    let named = loaded.all_targets().filter_map(|(name, target)| {
        let name = name.raw();
        serial_of_target(name).map(|_| ()).or_else(|| serials_of_delta(name).map(|_| ()))?;
        let path = folder.join(TARGETS_FOLDER).join(file_name(name, target));
        Some(Named { name: name.to_owned(), target: target.clone(), path })
    });
    let mut named: Vec<Named> = named.collect();
    named.sort_by(|a, b| a.name.cmp(&b.name));
    named
}

/// The file of a target, which has its hash before its name.
pub fn file_name(name: &str, target: &Target) -> String {
    format!("{}.{name}", hex(&target.hashes.sha256))
}

/// The bundles that the metadata names, oldest first.
pub fn bundles(loaded: &tough::Repository, folder: &Path) -> Vec<NamedBundle> {
    let bundle = |Named { name, target, path }| {
        serial_of_target(&name).map(|serial| NamedBundle { serial, target, path })
    };
    let mut bundles: Vec<NamedBundle> = named(loaded, folder).into_iter().filter_map(bundle).collect();
    bundles.sort_by_key(|bundle| bundle.serial);
    bundles
}

/// The newest bundle; `None` when there is no repository yet.
///
/// # Errors
/// When there is one that cannot be read.
pub fn newest(folder: &Path) -> Result<Option<NamedBundle>> {
    if !folder.join(METADATA_FOLDER).join("timestamp.json").exists() {
        return Ok(None);
    }
    Ok(bundles(&load(folder, Expired::Accepted)?, folder).pop())
}

/// Every file to be pushed, bundles and deltas first, after a check that nobody would refuse the repository.
///
/// # Errors
/// When metadata is missing, wrongly signed or expired, or a file that it names is not there as signed.
pub fn files(folder: &Path) -> Result<Vec<OfferedFile>> {
    let loaded = load(folder, Expired::Refused)?;
    if bundles(&loaded, folder).is_empty() {
        bail!("{} holds no bundle yet; sign one first", folder.display());
    }
    let mut files = Vec::new();
    for Named { name, target, path } in named(&loaded, folder) {
        let length = fs::metadata(&path).map(|data| data.len()).with_context(|| {
            format!("the repository is incomplete: {name} is missing ({})", path.display())
        })?;
        if length != target.length {
            bail!(
                "the repository is damaged: {} has {length} bytes, {} were signed; sign the bundle again",
                path.display(),
                target.length
            );
        }
        files.push(offered(TARGETS_FOLDER, &path, length)?);
    }
    let metadata = folder.join(METADATA_FOLDER);
    let entries = fs::read_dir(&metadata).with_context(|| format!("cannot read {}", metadata.display()))?;
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.sort();
    for path in found.iter().filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
        files.push(offered(METADATA_FOLDER, path, fs::metadata(path)?.len())?);
    }
    Ok(files)
}

fn offered(folder: &str, path: &Path, bytes: u64) -> Result<OfferedFile> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let path: RepositoryPath = format!("{folder}/{name}")
        .parse()
        .with_context(|| format!("{} is no name for a file of a repository", path.display()))?;
    let limit = path.bytes_max();
    if bytes > limit {
        bail!("{path} has {bytes} bytes, more than the {limit} that sensors take");
    }
    Ok(OfferedFile { path, bytes })
}

fn hex(bytes: &tough::schema::decoded::Decoded<Hex>) -> String {
    protocol::text::Hex(bytes).to_string()
}

/// Runs one future of `tough` or of the push to its end.
///
/// # Errors
/// When the system gives no runtime.
pub fn block_on<F: Future>(future: F) -> Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("cannot start the network runtime")?.block_on(future))
}
