//! The COSC's TUF root that an operator chose to trust: everything else is verified from it.

use std::fs;
use std::path::PathBuf;

use protocol::repository::METADATA_BYTES_MAX;
use sha2::{Digest as _, Sha256};
use tough::schema::{Root, Signed};

use crate::folders::{StateFolder, write_private_file};

/// A root that is signed by its own keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoscRoot(String);

/// Why there is no root to trust.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// None was chosen yet.
    #[error(
        "no COSC is trusted yet; get the COSC's 1.root.json and run `vedetta-collector trust-root 1.root.json`"
    )]
    NotChosen,
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Not TUF root metadata.
    #[error("not the root metadata of a signed repository (metadata/1.root.json): {0}")]
    NotARoot(String),
    /// Not signed by as many of its own keys as it asks for.
    #[error("the root is not signed by its own keys; it was altered or cut, get it from the COSC again")]
    Signature,
}

impl CoscRoot {
    /// Reads root metadata and checks that its own keys signed it.
    ///
    /// # Errors
    /// When it is not root metadata, or not signed.
    pub fn parse(text: String) -> Result<Self, RootError> {
        if text.len() as u64 > METADATA_BYTES_MAX {
            return Err(RootError::NotARoot(format!("longer than {METADATA_BYTES_MAX} bytes")));
        }
        let root: Signed<Root> =
            serde_json::from_str(&text).map_err(|error| RootError::NotARoot(error.to_string()))?;
        root.signed.verify_role(&root).map_err(|_| RootError::Signature)?;
        Ok(Self(text))
    }

    /// The root that was chosen.
    ///
    /// # Errors
    /// When none was chosen, or the file is damaged.
    pub fn open(state: &StateFolder) -> Result<Self, RootError> {
        let path = state.cosc_root();
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(RootError::NotChosen),
            Err(error) => Err(RootError::File { path, error }),
        }
    }

    /// Makes it the one that is trusted.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(&self, state: &StateFolder) -> Result<(), RootError> {
        let path = state.cosc_root();
        write_private_file(&path, self.0.as_bytes()).map_err(|error| RootError::File { path, error })
    }

    /// The file's text, byte for byte as it was signed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the file, as enrolment codes carry it.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }
}
