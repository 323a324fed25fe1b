//! Certificates as nobody should have them, signed by the collector's own authority or by another.

use protocol::text::Hex;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    SerialNumber,
};

use crate::process::Collector;
use crate::sensor::Credentials;

const DAY: i64 = 86_400;

/// Makes one certificate; what is not said is as the collector would do it.
pub struct Forge<'a> {
    collector: &'a Collector,
    issuer: Issuer<'static, KeyPair>,
    authority_pem: String,
    params: CertificateParams,
    serial: [u8; 16],
    /// Identity and sensor under which the store knows it.
    known: Option<(String, String)>,
    extra: String,
}

impl<'a> Forge<'a> {
    /// With the key of the collector's authority.
    pub fn of(collector: &'a Collector) -> Self {
        let text = |name: &str| std::fs::read_to_string(collector.state(name)).unwrap();
        let authority_pem = text("authority/ca.pem");
        let key = KeyPair::from_pem(&text("authority/ca.key")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&authority_pem, key).unwrap();
        Self::with(collector, issuer, authority_pem)
    }

    /// With an authority that nobody asked for, of the same name.
    pub fn stranger(collector: &'a Collector) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "Vedetta collector authority");
        let key = KeyPair::generate().unwrap();
        let authority_pem = params.self_signed(&key).unwrap().pem();
        Self::with(collector, Issuer::new(params, key), authority_pem)
    }

    /// With another authority's key.
    pub fn by(collector: &'a Collector, authority: &rcgen::CertifiedIssuer<'_, KeyPair>) -> Self {
        let key = KeyPair::from_pem(&authority.key().serialize_pem()).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&authority.pem(), key).unwrap();
        Self::with(collector, issuer, authority.pem())
    }

    fn with(collector: &'a Collector, issuer: Issuer<'static, KeyPair>, authority_pem: String) -> Self {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let mut serial: [u8; 16] = rand::random();
        serial[0] = 0x41;
        let forge =
            Self { collector, issuer, authority_pem, params, serial, known: None, extra: String::new() };
        forge.lasts(-DAY, 30 * DAY)
    }

    /// Good from the one second to the other, counted from now.
    pub fn lasts(mut self, from: i64, to: i64) -> Self {
        let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
        let at = |seconds: i64| {
            let since = now.checked_add_signed(seconds).unwrap();
            rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(since)
        };
        (self.params.not_before, self.params.not_after) = (at(from), at(to));
        self
    }

    pub fn ends_in_seconds(self, seconds: i64) -> Self {
        self.lasts(-DAY, seconds)
    }

    pub fn uri(mut self, uri: &str) -> Self {
        self.params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        self
    }

    pub fn dns(mut self, name: &str) -> Self {
        self.params.subject_alt_names.push(SanType::DnsName(name.try_into().unwrap()));
        self
    }

    /// For an enrolled sensor, and known to the store as its certificate.
    pub fn sensor(self, agent: &str) -> Self {
        let sql = "SELECT identity FROM certificate WHERE agent = ?1";
        let identity: String = self.collector.store().query_row(sql, [agent], |row| row.get(0)).unwrap();
        let mut forge = self.uri(&identity);
        forge.known = Some((identity, agent.to_owned()));
        forge
    }

    pub fn usage(mut self, usage: ExtendedKeyUsagePurpose) -> Self {
        self.params.extended_key_usages = vec![usage];
        self
    }

    /// Further certificates behind the chain, so many bytes of them.
    pub fn with_bytes_behind(mut self, bytes: usize) -> Self {
        while self.extra.len() * 3 / 4 < bytes {
            let names: Vec<String> =
                (0..20).map(|number| format!("{number}.{}.example", "x".repeat(60))).collect();
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
            self.extra.push_str(&certificate.pem());
        }
        self
    }

    /// Signs it without telling the store.
    pub fn sign(mut self) -> Credentials {
        self.params.serial_number = Some(SerialNumber::from_slice(&self.serial));
        let key = KeyPair::generate().unwrap();
        let certificate = self.params.signed_by(&key, &self.issuer).unwrap();
        let chain_pem = format!("{}{}{}", certificate.pem(), self.authority_pem, self.extra);
        Credentials { chain_pem, key_pem: key.serialize_pem() }
    }

    /// Signs it and lets the store know it, as if the collector had issued it.
    pub fn keep(self) -> Credentials {
        let (identity, agent) = self.known.clone().unwrap();
        let issued_at = jiff::Timestamp::now().as_microsecond();
        self.collector
            .store()
            .execute(
                "INSERT INTO certificate (serial, identity, agent, issued_at, not_after) VALUES (?1, ?2, ?3, ?4, ?5)",
                rusqlite::params![Hex(&self.serial).to_string(), identity, agent, issued_at, i64::MAX],
            )
            .unwrap();
        self.sign()
    }
}
