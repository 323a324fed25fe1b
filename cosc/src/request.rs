//! The desk's own identity towards a collector: a key that never leaves this machine, and the request that
//! `vedetta-collector admit-desk` turns into a certificate.

use std::path::Path;

use anyhow::{Context as _, Result};
use protocol::identity::DeskName;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::files::{self, Access};

/// The private key's file in an identity folder.
pub const KEY: &str = "desk.key";
/// The request's file.
pub const REQUEST: &str = "desk.req.pem";
/// Where the certificate chain belongs that the collector's operator sends back.
pub const CHAIN: &str = "chain.pem";

/// Makes key and request in a folder; returns what to do next.
///
/// # Errors
/// When the folder holds an identity already, the name has no letters, or the disk refuses.
pub fn make(name: &str, out: &Path) -> Result<String> {
    let id = DeskName::from_name(name).context("--name needs at least one letter or digit")?;
    files::private_folder(out)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("cannot make a key")?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, id.as_str());
    let request = params.serialize_request(&key).and_then(|request| request.pem());
    let request = request.context("cannot make the certificate request")?;
    files::create_new(&out.join(KEY), key.serialize_pem().as_bytes(), Access::Private)?;
    files::create_new(&out.join(REQUEST), request.as_bytes(), Access::Public)?;
    Ok(format!(
        "Key and request are in {folder}. Send {REQUEST} to the collector's operator, who runs\n  \
         vedetta-collector admit-desk {REQUEST} --name {id} > {CHAIN}\n\
         and put the {CHAIN} that comes back into {folder}. {KEY} stays here.",
        folder = out.display(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_key_stays_private_and_an_identity_is_not_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("identity");
        assert!(make("COSC d'Esempio", &out).unwrap().contains("--name cosc-d-esempio"));
        let mode = std::fs::metadata(out.join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let request = std::fs::read_to_string(out.join(REQUEST)).unwrap();
        assert!(request.starts_with("-----BEGIN CERTIFICATE REQUEST-----"), "{request}");
        let key = std::fs::read(out.join(KEY)).unwrap();
        assert!(make("COSC d'Esempio", &out).is_err());
        assert_eq!(std::fs::read(out.join(KEY)).unwrap(), key);
        assert!(make("!!!", &out).is_err());
    }
}
