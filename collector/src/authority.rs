//! The collector's own certificate authority: it signs the server's, the sensors' and the desks' certificates.
//!
//! From a request only the public key is taken, after its self-signature was checked; every other field of a
//! certificate is decided here. The authority has nothing to do with the COSC's signing keys: who holds it can
//! let sensors in, not make them believe a bundle.

use std::path::{Path, PathBuf};

use protocol::{COLLECTOR_SERVER_NAME, Identity, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKey,
    SanType, SerialNumber, date_time_ymd,
};
use sha2::{Digest as _, Sha256};

use crate::folders::{StateFolder, make_private_folder, write_private_file};

mod given;

pub use given::{GivenAuthority, UnfitAuthority};

const DAY_SECONDS: i64 = 24 * 60 * 60;
const AUTHORITY_DAYS: i64 = 3650;
const SERVER_DAYS: i64 = 365;
/// Sensors renew at half of it, over the session that is open.
const AGENT_DAYS: i64 = 30;
/// A person renews a desk's, with `admit-desk`; its keys may lie on a machine that is off for weeks.
const DESK_DAYS: i64 = 90;
/// A gateway's clock may be behind by as much.
const BACKDATED_SECONDS: i64 = DAY_SECONDS;
/// The server's certificate is renewed when less than a third of its life is left.
const SERVER_RENEWAL_SECONDS: i64 = SERVER_DAYS * DAY_SECONDS / 3;
/// Longest request that is read.
const REQUEST_BYTES_MAX: usize = 16 << 10;

/// The authority with its key.
pub struct Authority {
    certificate_pem: String,
    certificate_der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// The public key of a request whose signature was right.
pub struct Request(PublicKey);

/// A certificate that was signed.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Serial number, lower-case hexadecimal.
    pub serial: String,
    /// When it ends.
    pub not_after: Timestamp,
    /// The certificate, then the authority's and those above it (PEM).
    pub chain_pem: String,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read.
    #[error("{}: {error}; if the folder was never made, run `vedetta-collector init`", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file cannot be written.
    #[error("{} cannot be made: {error}; run as root or as the service's user", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: not a certificate or key that can be read; restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A request that cannot be read, or with a wrong signature, or of another key type.
    #[error("not a certificate request (PKCS #10, PEM) with a right signature and a P-256 or Ed25519 key")]
    Request,
    /// The library could not sign.
    #[error("signing failed: {0}")]
    Sign(#[from] rcgen::Error),
}

impl Request {
    /// Reads a request and checks that who made it holds the key.
    ///
    /// # Errors
    /// When it is not one, or its signature is wrong.
    pub fn parse_pem(pem: &str) -> Result<Self, AuthorityError> {
        if pem.len() > REQUEST_BYTES_MAX {
            return Err(AuthorityError::Request);
        }
        let request = CertificateSigningRequestParams::from_pem(pem).map_err(|_| AuthorityError::Request)?;
        let key = request.public_key;
        if *key.algorithm() != PKCS_ECDSA_P256_SHA256 && *key.algorithm() != rcgen::PKCS_ED25519 {
            return Err(AuthorityError::Request);
        }
        Ok(Self(key))
    }
}

impl Authority {
    /// Makes an authority and writes its files.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(state: &StateFolder, now: Timestamp) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named("Vedetta collector authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        valid(&mut params, now, AUTHORITY_DAYS);
        params.serial_number = Some(new_serial().0);
        let certificate = params.self_signed(&key)?;
        write(&state.authority_key(), key.serialize_pem().as_bytes())?;
        write(&state.authority_certificate(), certificate.pem().as_bytes())?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            certificate_der: certificate.der().to_vec(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Takes an authority over that somebody else's root stands above, and writes its files.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn adopt(state: &StateFolder, given: &GivenAuthority) -> Result<Self, AuthorityError> {
        write(&state.authority_key(), given.key_pem.as_bytes())?;
        write(&state.authority_certificate(), given.chain_pem.as_bytes())?;
        Self::open(state)
    }

    /// Reads the authority's files.
    ///
    /// # Errors
    /// When they are missing or damaged.
    pub fn open(state: &StateFolder) -> Result<Self, AuthorityError> {
        let (certificate, key) = (state.authority_certificate(), state.authority_key());
        let certificate_pem = read(&certificate)?;
        let certificate_der = der_of_first(&certificate_pem)
            .ok_or_else(|| AuthorityError::Damaged { path: certificate.clone() })?;
        let key_pair =
            KeyPair::from_pem(&read(&key)?).map_err(|_| AuthorityError::Damaged { path: key.clone() })?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key_pair)
            .map_err(|_| AuthorityError::Damaged { path: certificate })?;
        Ok(Self { certificate_pem, certificate_der, issuer })
    }

    /// SHA-256 of the authority's certificate (DER), as enrolment codes carry it.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate_der).into()
    }

    /// The authority's certificate (DER).
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate_der
    }

    /// Makes the server's certificate and key when there are none, when they run out soon, or when they are
    /// not for these hosts. Returns whether it did.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn renew_server(
        &self,
        state: &StateFolder,
        hosts: &[String],
        now: Timestamp,
    ) -> Result<bool, AuthorityError> {
        let mut names = vec![COLLECTOR_SERVER_NAME.to_owned()];
        names.extend(hosts.iter().filter(|host| *host != COLLECTOR_SERVER_NAME).cloned());
        if is_current(&state.server_chain(), &names, now) {
            return Ok(false);
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = named("Vedetta collector");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let issued = self.sign(params, &key, now, SERVER_DAYS)?;
        // The chain last: it is what the next start looks at.
        write(&state.server_key(), key.serialize_pem().as_bytes())?;
        write(&state.server_chain(), issued.chain_pem.as_bytes())?;
        Ok(true)
    }

    /// Signs a sensor's or a desk's certificate.
    ///
    /// # Errors
    /// When the library cannot sign.
    pub fn issue(
        &self,
        request: &Request,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Issued, AuthorityError> {
        let (common_name, days) = match identity {
            Identity::Agent { agent, .. } => (format!("Vedetta sensor {agent}"), AGENT_DAYS),
            Identity::Desk { name } => (format!("Vedetta desk {name}"), DESK_DAYS),
        };
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&common_name);
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, &request.0, now, days)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl rcgen::PublicKeyData,
        now: Timestamp,
        days: i64,
    ) -> Result<Issued, AuthorityError> {
        let (number, serial) = new_serial();
        params.serial_number = Some(number);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let not_after = valid(&mut params, now, days);
        let certificate = params.signed_by(key, &self.issuer)?;
        let chain_pem = format!("{}{}", certificate.pem(), self.certificate_pem);
        Ok(Issued { serial, not_after, chain_pem })
    }
}

/// 120 random bits after a byte that keeps the number positive and of one length (RFC 5280 §4.1.2.2).
fn new_serial() -> (SerialNumber, String) {
    let mut bytes: [u8; 16] = rand::random();
    if let Some(first) = bytes.first_mut() {
        *first = 0x40 | (*first & 0x3f);
    }
    (SerialNumber::from_slice(&bytes), protocol::text::Hex(&bytes).to_string())
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn valid(params: &mut CertificateParams, now: Timestamp, days: i64) -> Timestamp {
    let not_after = now.plus_seconds(days * DAY_SECONDS);
    let at = |time: Timestamp| date_time_ymd(1970, 1, 1) + time.since_epoch();
    params.not_before = at(now.plus_seconds(-BACKDATED_SECONDS));
    params.not_after = at(not_after);
    not_after
}

fn is_current(chain: &Path, names: &[String], now: Timestamp) -> bool {
    let Some(der) = std::fs::read_to_string(chain).ok().and_then(|pem| der_of_first(&pem)) else {
        return false;
    };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(&der) else { return false };
    let ends = Timestamp::from_seconds(certificate.validity().not_after.timestamp(), 0);
    let Ok(Some(held)) = certificate.subject_alternative_name() else { return false };
    let mut held: Vec<String> = held.value.general_names.iter().filter_map(host_of).collect();
    let mut wanted = names.to_vec();
    held.sort();
    wanted.sort();
    wanted.dedup();
    held == wanted && ends > now.plus_seconds(SERVER_RENEWAL_SECONDS)
}

fn host_of(name: &x509_parser::extensions::GeneralName<'_>) -> Option<String> {
    use x509_parser::extensions::GeneralName;
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let address = match bytes.len() {
                4 => std::net::IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?),
                _ => std::net::IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?),
            };
            Some(address.to_string())
        }
        _ => None,
    }
}

fn der_of_first(pem: &str) -> Option<Vec<u8>> {
    use rustls_pki_types::{CertificateDer, pem::PemObject as _};
    CertificateDer::from_pem_slice(pem.as_bytes()).ok().map(|der| der.to_vec())
}

fn read(path: &Path) -> Result<String, AuthorityError> {
    std::fs::read_to_string(path).map_err(|error| AuthorityError::Missing { path: path.into(), error })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), AuthorityError> {
    let folder = path.parent().unwrap_or(path);
    make_private_folder(folder)
        .and_then(|()| write_private_file(path, bytes))
        .map_err(|error| AuthorityError::File { path: path.into(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::extensions::GeneralName;

    const NOW: i64 = 1_795_000_000;

    fn request_with(key: &KeyPair) -> String {
        let mut params = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
        params.distinguished_name = named("I decide who I am");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.serialize_request(key).unwrap().pem().unwrap()
    }

    #[test]
    fn only_the_key_of_a_request_enters_the_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::from_seconds(NOW, 0);
        let state = StateFolder::new(folder.path());
        Authority::create(&state, now).unwrap();
        let authority = Authority::open(&state).unwrap();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let request = Request::parse_pem(&request_with(&key)).unwrap();
        let identity: Identity =
            "urn:vedetta:comune:999001:agent:07070707070707070707070707070707".parse().unwrap();
        let issued = authority.issue(&request, &identity, now).unwrap();

        let der = der_of_first(&issued.chain_pem).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
        assert_eq!(certificate.subject().iter_common_name().count(), 1);
        assert!(!certificate.subject().to_string().contains("I decide"));
        assert!(!certificate.is_ca());
        let names = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert_eq!(names, &vec![GeneralName::URI(&identity.to_string())]);
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !usage.any);
        assert_eq!(protocol::text::Hex(certificate.raw_serial()).to_string(), issued.serial);
        let days = (certificate.validity().not_after.timestamp() - NOW) / DAY_SECONDS;
        assert_eq!(days, AGENT_DAYS);
        assert_eq!(certificate.public_key().subject_public_key.data, key.public_key_raw());
    }

    #[test]
    fn a_request_with_a_wrong_signature_is_refused() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let pem = request_with(&key);
        let lines: Vec<&str> = pem.lines().collect();
        for text in [
            "",
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
            &"x".repeat(20_000),
        ] {
            assert!(Request::parse_pem(text).is_err());
        }
        let last = lines[lines.len() - 2];
        let swapped: String = last.chars().rev().collect();
        assert!(Request::parse_pem(&pem.replace(last, &swapped)).is_err());
    }

    #[test]
    fn the_servers_certificate_is_renewed_late_or_for_other_hosts_only() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::new(folder.path());
        let now = Timestamp::from_seconds(NOW, 0);
        let authority = Authority::create(&state, now).unwrap();
        let hosts = ["collector.example".to_owned(), "192.0.2.1".to_owned(), "2001:db8::1".to_owned()];
        let renew = |hosts: &[String], days: i64| {
            authority.renew_server(&state, hosts, now.plus_seconds(days * DAY_SECONDS)).unwrap()
        };
        assert!(renew(&hosts, 0));
        assert!(!renew(&hosts, 1));
        assert!(!renew(&hosts, 240));
        assert!(renew(&hosts, 250));
        assert!(renew(&hosts[..1], 250));
    }

    #[test]
    fn a_damaged_authority_is_said_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::new(folder.path());
        assert!(matches!(Authority::open(&state), Err(AuthorityError::Missing { .. })));
        Authority::create(&state, Timestamp::from_seconds(NOW, 0)).unwrap();
        std::fs::write(state.authority_key(), "rubbish").unwrap();
        assert!(matches!(Authority::open(&state), Err(AuthorityError::Damaged { .. })));
    }
}
