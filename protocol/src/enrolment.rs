//! Enrolment: a one-time code that an operator hands to a town, and the two messages that turn it into a
//! certificate. The private key is made on the gateway and never travels.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::identity::AgentId;
use crate::text::Hex;

const PREFIX: &str = "VEDETTA1-";
const CHECK_BYTES: usize = 4;

/// What the code carries: where to go, whom to trust there, and the secret that proves the invitation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentCode {
    /// Where the collector listens, `HOST:PORT`, tried in order.
    #[serde(rename = "a")]
    pub addresses: Vec<String>,
    /// SHA-256 of the collector's certificate authority (DER).
    #[serde(rename = "c", with = "serde_bytes")]
    pub authority_sha256: [u8; 32],
    /// SHA-256 of the COSC's first TUF root (the file's bytes).
    #[serde(rename = "r", with = "serde_bytes")]
    pub root_sha256: [u8; 32],
    /// 128 random bits; the collector keeps only their SHA-256.
    #[serde(rename = "s", with = "serde_bytes")]
    pub secret: [u8; 16],
}

/// A code that was mistyped or cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a whole enrolment code: copy it again from VEDETTA1- to its end, on one line")]
pub struct NotACode;

impl fmt::Display for EnrolmentCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::new();
        ciborium::into_writer(self, &mut bytes).map_err(|_| fmt::Error)?;
        let check = Sha256::digest(&bytes);
        bytes.extend(check.iter().take(CHECK_BYTES));
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for EnrolmentCode {
    type Err = NotACode;

    fn from_str(text: &str) -> Result<Self, NotACode> {
        let text: String = text.split_whitespace().collect();
        let text = text.strip_prefix(PREFIX).filter(|text| text.len() <= 2048).ok_or(NotACode)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotACode)?;
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(NotACode)?;
        if !Sha256::digest(body).starts_with(check) {
            return Err(NotACode);
        }
        ciborium::from_reader(body).map_err(|_| NotACode)
    }
}

/// From agent to collector, the one frame on the one stream of an enrolment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// The code's secret.
    #[serde(with = "serde_bytes")]
    pub secret: [u8; 16],
    /// Certificate request (PKCS #10, PEM) signed by the new key.
    pub request_pem: String,
    /// The gateway's host name, for the operator's list.
    pub host_name: String,
    /// The agent's program version.
    pub version: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EnrolReply {
    /// Enrolled.
    Enrolled {
        /// The sensor's identifier.
        agent: AgentId,
        /// The town's name.
        comune: String,
        /// The sensor's certificate, then the authority's (PEM).
        chain_pem: String,
        /// Where the collector listens, `HOST:PORT`.
        addresses: Vec<String>,
        /// The COSC's TUF root, as JSON; its SHA-256 is in the code.
        cosc_root: String,
    },
    /// Not enrolled.
    Refused {
        /// Why.
        reason: EnrolRefusal,
    },
    /// An answer that a newer collector gives.
    #[serde(other)]
    Unknown,
}

/// Why a code is not accepted. One answer for wrong and unknown codes: guessing teaches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum EnrolRefusal {
    /// Unknown, or tried too often.
    #[error("the collector does not know this code; ask for a new one (vedetta-collector invite)")]
    Unknown,
    /// Used before.
    #[error(
        "this code was used already; each code enrols one sensor, ask for a new one (vedetta-collector invite)"
    )]
    Used,
    /// Expired.
    #[error("this code has expired; ask for a new one (vedetta-collector invite)")]
    Expired,
    /// The certificate request cannot be read or its signature is wrong.
    #[error("the collector could not read the certificate request; update vedetta-agent and try again")]
    BadRequest,
    /// A reason that a newer collector knows.
    #[error("the collector refused the code; ask the operator why")]
    #[serde(other)]
    Other,
}

/// A fingerprint as people compare it: SHA-256 in groups of four digits.
pub fn fingerprint(sha256: &[u8; 32]) -> String {
    let hex = Hex(sha256).to_string();
    let groups: Vec<&str> =
        hex.as_bytes().chunks(4).filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code() -> EnrolmentCode {
        EnrolmentCode {
            addresses: vec!["collector.example:4740".into()],
            authority_sha256: [1; 32],
            root_sha256: [2; 32],
            secret: [3; 16],
        }
    }

    #[test]
    fn a_code_survives_mail_programs() {
        let text = code().to_string();
        let (head, tail) = text.split_at(40);
        assert_eq!(format!("  {head}\r\n {tail}\n").parse::<EnrolmentCode>().unwrap(), code());
    }

    #[test]
    fn a_cut_or_mistyped_code_is_noticed() {
        let text = code().to_string();
        for cut in 0..text.len() {
            let (head, _) = text.split_at(cut);
            assert_eq!(head.parse::<EnrolmentCode>(), Err(NotACode), "cut at {cut}");
        }
        assert_eq!(text.replacen('A', "B", 2).parse::<EnrolmentCode>(), Err(NotACode));
    }

    #[test]
    fn the_answer_survives_the_wire() {
        let reply = EnrolReply::Refused { reason: EnrolRefusal::Expired };
        let frame = crate::frame::encode(&reply).unwrap();
        assert_eq!(crate::frame::decode::<EnrolReply>(&frame[4..]).unwrap(), reply);
    }
}
