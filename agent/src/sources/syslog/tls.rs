//! TLS of the syslog receiver (RFC 5425, RFC 9662): 1.3 and 1.2, because firewalls are old; a sender's certificate is
//! asked for where an authority is configured. The files are read again when they change.

use std::io::{self, Read as _};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs};

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::TlsFiles;

/// Where systemd puts what `LoadCredential=` names.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Why no connection can be taken with TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that is not there or may not be read.
    #[error("{key} {} cannot be read: {error}; give the file to group vedetta-agent, readable", path.display())]
    Unreadable {
        /// Which key of the configuration.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file without what it should hold.
    #[error("{key} {} cannot be used: {reason}", path.display())]
    Unusable {
        /// Which key of the configuration.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// What a file was when it was read: length, inode and time of the last change.
type Stamp = (u64, u64, i64, i64);

/// Certificate and key in force.
pub struct TlsDoor {
    files: TlsFiles,
    config: Option<Arc<ServerConfig>>,
    stamps: Vec<Option<Stamp>>,
}

impl TlsDoor {
    /// Nothing is read yet.
    pub fn new(files: &TlsFiles) -> Self {
        let files = TlsFiles {
            certificate: found(&files.certificate),
            key: found(&files.key),
            client_ca: files.client_ca.as_deref().map(found),
        };
        Self { files, config: None, stamps: Vec::new() }
    }

    /// Reads the files when they changed; gives whether they did. What was in force stays when they cannot be used.
    ///
    /// # Errors
    /// With the file and what is wrong with it.
    pub fn refresh(&mut self) -> Result<bool, TlsError> {
        let TlsFiles { certificate, key, client_ca } = &self.files;
        let paths = [Some(certificate), Some(key), client_ca.as_ref()];
        let stamps = paths.into_iter().flatten().map(|path| stamp(path)).collect();
        if self.stamps == stamps {
            return Ok(false);
        }
        // What fails is tried again: it may have been read while it was written.
        self.stamps.clear();
        self.config = Some(Arc::new(server_config(&self.files)?));
        self.stamps = stamps;
        Ok(true)
    }

    /// Begins a session, when there is a certificate.
    pub fn begin(&self) -> Option<Session> {
        let connection = ServerConnection::new(self.config.clone()?).ok()?;
        Some(Session(Box::new(connection)))
    }
}

/// A path without folder names a credential.
fn found(path: &Path) -> PathBuf {
    match env::var_os(CREDENTIALS) {
        Some(folder) if path.is_relative() => Path::new(&folder).join(path),
        _ => path.to_owned(),
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}

fn server_config(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let unusable = |key, path: &Path, reason: &dyn std::fmt::Display| TlsError::Unusable {
        key,
        path: path.to_owned(),
        reason: reason.to_string(),
    };
    let chain = certificates("syslog.tls_certificate", &files.certificate)?;
    let key_pem = bytes("syslog.tls_key", &files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&key_pem)
        .map_err(|error| unusable("syslog.tls_key", &files.key, &error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| unusable("syslog.tls_certificate", &files.certificate, &error))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let wrong = |error: &dyn std::fmt::Display| unusable("syslog.tls_client_ca", path, error);
            let mut roots = RootCertStore::empty();
            for authority in certificates("syslog.tls_client_ca", path)? {
                roots.add(authority).map_err(|error| wrong(&error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(|error| wrong(&error))?)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| unusable("syslog.tls_key", &files.key, &error))?;
    // A session that goes on where another ended would pass the check of the certificate by.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn bytes(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::Unreadable { key, path: path.to_owned(), error })
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = bytes(key, path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let unusable = |reason: String| TlsError::Unusable { key, path: path.to_owned(), reason };
    let chain = read.map_err(|error| unusable(error.to_string()))?;
    if chain.is_empty() { Err(unusable("there is no certificate in it".to_owned())) } else { Ok(chain) }
}

/// TLS of one connection.
pub struct Session(Box<ServerConnection>);

/// What a turn of a session gave.
pub enum Turn {
    /// Something was read.
    Read,
    /// The sender is done, as it said itself or not.
    Ended {
        /// Whether it said so.
        is_orderly: bool,
    },
}

impl Session {
    /// Whether the two sides are still making each other out.
    pub fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Whether something is to be sent.
    pub fn wants_write(&self) -> bool {
        self.0.wants_write()
    }

    /// Takes what came and gives what it means, in pieces.
    ///
    /// # Errors
    /// `WouldBlock` when nothing came; otherwise the session is over.
    pub fn turn(
        &mut self,
        stream: &mut TcpStream,
        piece: &mut [u8],
        give: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Turn> {
        self.send(stream)?;
        if self.0.read_tls(stream)? == 0 {
            return Ok(Turn::Ended { is_orderly: false });
        }
        let processed = self.0.process_new_packets();
        // An alert tells the sender why.
        let sent = self.send(stream);
        let state = processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        sent?;
        let mut left = state.plaintext_bytes_to_read();
        while left > 0 {
            let read = self.0.reader().read(piece)?;
            give(piece.get(..read).unwrap_or_default());
            left = left.saturating_sub(read.max(1));
        }
        Ok(if state.peer_has_closed() { Turn::Ended { is_orderly: true } } else { Turn::Read })
    }

    fn send(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        while self.0.wants_write() {
            match self.0.write_tls(stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                sent => sent?,
            };
        }
        Ok(())
    }
}
