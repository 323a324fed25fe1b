//! What a certificate of this sensor says: whose it is, how long it is good, when the next one is asked for.

use anyhow::{Context as _, ensure};
use protocol::{Identity, Timestamp};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Half of a certificate's life, a tenth earlier or later, so that a region's sensors do not come at once.
const RENEWAL_THOUSANDTHS: i64 = 400;
const JITTER_THOUSANDTHS: i64 = 200;
const END_OF_CERTIFICATE: &str = "-----END CERTIFICATE-----";

/// A sensor's certificate and its issuers.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Whose it is: its one SAN URI.
    pub identity: Identity,
    /// When it begins.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
    /// The key that it is for (SubjectPublicKeyInfo, DER).
    pub public_key: Vec<u8>,
    /// Itself, then its issuers.
    pub chain: Vec<CertificateDer<'static>>,
}

impl Certificate {
    /// Reads a chain (PEM), the sensor's certificate first; a private key beside it is passed over.
    ///
    /// # Errors
    /// When there is none, or the first is not a sensor's.
    pub fn of_chain(chain_pem: &str) -> anyhow::Result<Self> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect::<Result<_, _>>()?;
        let (_, leaf) = X509Certificate::from_der(chain.first().context("no certificate")?)?;
        let identity = identity_in(&leaf).context("not a certificate of a sensor")?;
        let (begins, ends) = (leaf.validity().not_before, leaf.validity().not_after);
        let public_key = leaf.public_key().raw.to_vec();
        Ok(Self {
            identity,
            not_before: Timestamp::from_seconds(begins.timestamp(), 0),
            not_after: Timestamp::from_seconds(ends.timestamp(), 0),
            public_key,
            chain,
        })
    }

    /// When the next certificate is asked for. The same after every restart: the jitter comes from the certificate.
    pub fn renewal_due(&self) -> Timestamp {
        let life = self.not_after.micros_since(self.not_before);
        let hash: [u8; 32] = Sha256::digest(self.chain.first().map_or(&[][..], |leaf| leaf)).into();
        let [first, second, ..] = hash;
        let jitter =
            i64::from(u16::from_be_bytes([first, second])) * JITTER_THOUSANDTHS / i64::from(u16::MAX);
        self.not_before.plus_micros(life / 1000 * (RENEWAL_THOUSANDTHS + jitter))
    }

    /// Whether it is for the same sensor and key, and later than the one before.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check_succeeds(&self, before: &Self, public_key: &[u8]) -> anyhow::Result<()> {
        ensure!(self.identity == before.identity, "it is for another sensor, {}", self.identity);
        ensure!(self.public_key == public_key, "it is for another key");
        ensure!(
            self.not_after > before.not_after,
            "it ends at {}, not later than the one before",
            self.not_after
        );
        Ok(())
    }
}

/// The issuer in a chain that has this fingerprint, as the chain has it (PEM).
pub fn issuer_with(chain_pem: &str, sha256: &[u8; 32]) -> Option<String> {
    let mut issuers = chain_pem.split_inclusive(END_OF_CERTIFICATE).skip(1).map(str::trim_start);
    let found = issuers.find(|text| {
        let der = CertificateDer::from_pem_slice(text.as_bytes());
        der.is_ok_and(|der| Sha256::digest(&der).as_slice() == sha256)
    })?;
    Some(format!("{found}\n"))
}

fn identity_in(certificate: &X509Certificate<'_>) -> Option<Identity> {
    let names = certificate.subject_alternative_name().ok()??;
    let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else { return None };
    let identity: Identity = uri.parse().ok()?;
    matches!(identity, Identity::Agent { .. }).then_some(identity)
}
