//! Who a certificate belongs to: only its SAN URI says so, nothing in a message does.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::{Hex, bytes_from_hex, text_form};

/// Identifier of a sensor, 128 random bits chosen by the collector at enrolment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(pub [u8; 16]);

/// Identifier of a spool, 128 random bits made with it: sequences count within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub [u8; 16]);

/// Identifier of a loss, 128 random bits made with it: told again after a crash, it is the same loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LossId(pub [u8; 16]);

/// A town's identifier: the six digits of its ISTAT code. Codes that begin with 999 are invented.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComuneId(Box<str>);

/// A desk's name: 1 to 64 of `a-z 0-9 -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeskName(Box<str>);

/// The party behind a certificate, as its one SAN URI says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Identity {
    /// A sensor: `urn:vedetta:comune:ISTAT:agent:HEX`.
    Agent {
        /// Its town.
        comune: ComuneId,
        /// Itself.
        agent: AgentId,
    },
    /// A desk that may push bundles: `urn:vedetta:desk:NAME`.
    Desk {
        /// Its name.
        name: DeskName,
    },
}

/// A text that is no identity of Vedetta.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an identity of Vedetta")]
pub struct NotAnIdentity;

/// Digits of an ISTAT code.
const ISTAT_DIGITS: usize = 6;

impl ComuneId {
    /// The identifier.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ComuneId {
    type Err = NotAnIdentity;

    fn from_str(text: &str) -> Result<Self, NotAnIdentity> {
        if text.len() != ISTAT_DIGITS || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotAnIdentity);
        }
        Ok(Self(text.into()))
    }
}

impl DeskName {
    /// Makes a name from what a person typed: letters without accents in lower case, everything else a hyphen.
    pub fn from_name(name: &str) -> Result<Self, NotAnIdentity> {
        let mut id = String::new();
        for c in name.chars().flat_map(char::to_lowercase) {
            let plain = match c {
                'à' | 'á' | 'â' | 'ä' => 'a',
                'è' | 'é' | 'ê' | 'ë' => 'e',
                'ì' | 'í' | 'î' | 'ï' => 'i',
                'ò' | 'ó' | 'ô' | 'ö' => 'o',
                'ù' | 'ú' | 'û' | 'ü' => 'u',
                'ç' => 'c',
                other => other,
            };
            if plain.is_ascii_alphanumeric() {
                id.push(plain);
            } else if !id.is_empty() && !id.ends_with('-') {
                id.push('-');
            }
        }
        id.truncate(64);
        id.trim_end_matches('-').parse()
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeskName {
    type Err = NotAnIdentity;

    fn from_str(text: &str) -> Result<Self, NotAnIdentity> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > 64 || !text.bytes().all(letter) {
            return Err(NotAnIdentity);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ComuneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for DeskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! hex_id {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Hex(&self.0).fmt(f)
            }
        }

        impl FromStr for $type {
            type Err = NotAnIdentity;

            fn from_str(text: &str) -> Result<Self, NotAnIdentity> {
                bytes_from_hex(text).map(Self).ok_or(NotAnIdentity)
            }
        }

        text_form!($type);
    };
}
hex_id!(AgentId);
hex_id!(Epoch);
hex_id!(LossId);
text_form!(ComuneId);
text_form!(DeskName);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent { comune, agent } => write!(f, "urn:vedetta:comune:{comune}:agent:{agent}"),
            Self::Desk { name } => write!(f, "urn:vedetta:desk:{name}"),
        }
    }
}

impl FromStr for Identity {
    type Err = NotAnIdentity;

    fn from_str(text: &str) -> Result<Self, NotAnIdentity> {
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            ["urn", "vedetta", "comune", comune, "agent", agent] => {
                Ok(Self::Agent { comune: comune.parse()?, agent: agent.parse()? })
            }
            ["urn", "vedetta", "desk", name] => Ok(Self::Desk { name: name.parse()? }),
            _ => Err(NotAnIdentity),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_a_plain_identifier() {
        for (name, id) in [
            ("Borgo Chiaro", "borgo-chiaro"),
            ("Sant'Àgata  di Sopra!", "sant-agata-di-sopra"),
            ("  Città d'Esempio ", "citta-d-esempio"),
        ] {
            assert_eq!(DeskName::from_name(name).unwrap().as_str(), id);
        }
        assert!(DeskName::from_name("!!!").is_err());
    }

    #[test]
    fn the_san_uri_is_read_back_and_nothing_else_is() {
        let agent = Identity::Agent { comune: "999001".parse().unwrap(), agent: AgentId([7; 16]) };
        let desk = Identity::Desk { name: "cosc-esempio".parse().unwrap() };
        for identity in [agent, desk] {
            assert_eq!(identity.to_string().parse::<Identity>().unwrap(), identity);
        }
        for bad in [
            "",
            "urn:vedetta:comune:a:agent:1",
            "urn:vedetta:desk:",
            "urn:vedetta:desk:a:b",
            "urn:other:desk:a",
            "urn:vedetta:comune:../x:agent:07070707070707070707070707070707",
            "urn:vedetta:comune:99900:agent:07070707070707070707070707070707",
            "urn:vedetta:comune:9990011:agent:07070707070707070707070707070707",
            "urn:vedetta:comune:99900a:agent:07070707070707070707070707070707",
            "urn:vedetta:comune:99900٠:agent:07070707070707070707070707070707",
            "urn:vedetta:comune:borgo-chiaro:agent:07070707070707070707070707070707",
        ] {
            assert!(bad.parse::<Identity>().is_err(), "{bad}");
        }
    }
}
