//! An authority that somebody else's root stands above: read, and tried out on certificates that nobody gets, before
//! anything relies on it.

use std::path::Path;
use std::sync::Arc;

use protocol::{COLLECTOR_SERVER_NAME, Timestamp};
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A peer sends it behind its own certificate, and QUIC holds 16 KiB of a handshake (quinn's crypto buffer).
const CHAIN_BYTES_MAX: usize = 11 << 10;

/// A chain with the key of its first certificate, fit to sign.
pub struct GivenAuthority {
    /// The authority, then those above it.
    pub chain_pem: String,
    /// The authority's key.
    pub key_pem: String,
}

/// Why a chain or its key is not taken.
#[derive(Debug, thiserror::Error)]
pub enum UnfitAuthority {
    /// A file cannot be read.
    #[error("{file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// No certificate.
    #[error(
        "the chain holds no certificate; it begins with the authority that is to sign (PEM), those above it follow"
    )]
    Empty,
    /// Too many or too large certificates.
    #[error(
        "the chain has {bytes} bytes and a handshake takes {CHAIN_BYTES_MAX}; leave the root out, or give an authority \
         with smaller keys nearer to the root"
    )]
    TooLong {
        /// Of all certificates.
        bytes: usize,
    },
    /// A key of another form.
    #[error(
        "the key cannot be used ({0}); it must be PEM without a password: openssl pkcs8 -topk8 -nocrypt -in KEY"
    )]
    Key(String),
    /// The key belongs to another certificate.
    #[error(
        "the key does not belong to the first certificate of the chain; put the authority that it belongs to first"
    )]
    OtherKey,
    /// One certificate of the chain.
    #[error("certificate {number} of the chain ({subject}) {what}")]
    Certificate {
        /// From 1.
        number: usize,
        /// Whose.
        subject: String,
        /// What is wrong and what to ask for.
        what: String,
    },
    /// What it signs is not believed.
    #[error(
        "certificates that it signs would not be believed ({0}); ask who runs the root for an authority that may issue server and client certificates for any name"
    )]
    NotBelieved(String),
}

impl GivenAuthority {
    /// Reads both files and tries them out.
    ///
    /// # Errors
    /// Says what is unfit, and what to do.
    pub fn read(chain: &Path, key: &Path, now: Timestamp) -> Result<Self, UnfitAuthority> {
        let text = |file: &Path| {
            std::fs::read_to_string(file).map_err(|error| UnfitAuthority::File {
                file: file.display().to_string(),
                reason: error.to_string(),
            })
        };
        let given = Self { chain_pem: text(chain)?, key_pem: text(key)? };
        given.check(now)?;
        Ok(given)
    }

    fn check(&self, now: Timestamp) -> Result<(), UnfitAuthority> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(self.chain_pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| UnfitAuthority::Empty)?;
        let first = chain.first().ok_or(UnfitAuthority::Empty)?;
        let bytes = chain.iter().map(|certificate| certificate.len()).sum();
        if bytes > CHAIN_BYTES_MAX {
            return Err(UnfitAuthority::TooLong { bytes });
        }
        for (below, certificate) in chain.iter().enumerate() {
            check_certificate(certificate, below, now)?;
        }
        let key = KeyPair::from_pem(&self.key_pem).map_err(|error| UnfitAuthority::Key(error.to_string()))?;
        let fits = X509Certificate::from_der(first)
            .is_ok_and(|(_, first)| first.public_key().raw == key.subject_public_key_info());
        if !fits {
            return Err(UnfitAuthority::OtherKey);
        }
        let issuer = Issuer::from_ca_cert_der(first, key)
            .map_err(|error| UnfitAuthority::NotBelieved(error.to_string()))?;
        // Sensors pin the authority itself; who trusts the root must be able to follow the chain as well.
        try_out(&issuer, first, &[], now)?;
        if let Some((root, between)) = chain.split_last() {
            try_out(&issuer, root, between, now)?;
        }
        Ok(())
    }
}

/// What webpki does not ask of the certificate that is believed: whether it is an authority, and good now.
fn check_certificate(der: &CertificateDer<'_>, below: usize, now: Timestamp) -> Result<(), UnfitAuthority> {
    let number = below + 1;
    let unfit = |subject: String, what: String| UnfitAuthority::Certificate { number, subject, what };
    let (_, certificate) = X509Certificate::from_der(der)
        .map_err(|_| unfit(String::from("unreadable"), "is no certificate (X.509, PEM)".into()))?;
    let wrong = |what: &str| Err(unfit(certificate.subject().to_string(), what.to_owned()));
    let constraints = certificate.basic_constraints().ok().flatten().map(|found| found.value);
    let Some(constraints) = constraints.filter(|constraints| constraints.ca) else {
        return wrong("is no authority (CA flag); ask who runs the root for an intermediate CA certificate");
    };
    let allowed =
        constraints.path_len_constraint.map_or(usize::MAX, |length| usize::try_from(length).unwrap_or(0));
    if allowed < below {
        return wrong(
            "allows fewer authorities below it than the chain has (path length); ask for a longer one",
        );
    }
    let usage = certificate.key_usage().ok().flatten().map(|found| found.value.key_cert_sign());
    if usage == Some(false) {
        return wrong("may not sign certificates (key usage); ask for one with keyCertSign");
    }
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_seconds(time.timestamp(), 0);
    let (begins, ends) = (at(certificate.validity().not_before), at(certificate.validity().not_after));
    if ends <= now {
        return wrong(&format!("ended at {ends}; ask for a new one, or check this machine's clock"));
    }
    if begins > now {
        return wrong(&format!("begins at {begins}; wait until then, or check this machine's clock"));
    }
    Ok(())
}

/// Signs a server's and a peer's certificate and asks whether who trusts `root` would believe them.
fn try_out(
    issuer: &Issuer<'_, KeyPair>,
    root: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    now: Timestamp,
) -> Result<(), UnfitAuthority> {
    let unfit = |error: &dyn std::fmt::Display| UnfitAuthority::NotBelieved(error.to_string());
    let at = UnixTime::since_unix_epoch(now.since_epoch());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| unfit(&error))?;
    let signed = |usage: ExtendedKeyUsagePurpose| {
        let mut params = CertificateParams::new(vec![COLLECTOR_SERVER_NAME.to_owned()])?;
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        super::valid(&mut params, now, 1);
        params.signed_by(&key, issuer)
    };
    let mut roots = RootCertStore::empty();
    roots.add(root.clone().into_owned()).map_err(|error| unfit(&error))?;
    let (roots, provider) = (Arc::new(roots), Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

    let peer = signed(ExtendedKeyUsagePurpose::ClientAuth).map_err(|error| unfit(&error))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
        .build()
        .map_err(|error| unfit(&error))?;
    verifier.verify_client_cert(peer.der(), between, at).map_err(|error| unfit(&error))?;

    let server = signed(ExtendedKeyUsagePurpose::ServerAuth).map_err(|error| unfit(&error))?;
    let name = ServerName::try_from(COLLECTOR_SERVER_NAME).map_err(|error| unfit(&error))?;
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| unfit(&error))?;
    verifier.verify_server_cert(server.der(), between, &name, &[], at).map_err(|error| unfit(&error))?;
    Ok(())
}
