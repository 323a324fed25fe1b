//! Operators' accounts: passwords are kept as argon2id hashes only, names are plain and short.

use std::fmt;
use std::str::FromStr;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash};

use crate::store::{Store, StoreError, operators};

/// Shortest password that is taken (NIST SP 800-63B §5.1.1.2 asks for 8 at least).
const PASSWORD_CHARS_MIN: usize = 12;
/// Longest, so that hashing has a bound.
const PASSWORD_BYTES_MAX: usize = 1024;
/// Letters that nobody confuses when reading aloud; 32 of them, five bits each.
const PASSWORD_LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Groups of four letters in a generated password: 100 bits.
const PASSWORD_GROUPS: usize = 5;

/// An operator's name: 1 to 64 of `a-z A-Z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorName(Box<str>);

/// Why an account was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// A name with other letters.
    #[error("an operator's name has 1 to 64 letters of a-z A-Z 0-9 . _ -")]
    Name,
    /// Too short.
    #[error("a password needs at least {PASSWORD_CHARS_MIN} characters")]
    TooShort,
    /// Too long.
    #[error("a password has at most {PASSWORD_BYTES_MAX} bytes")]
    TooLong,
    /// The name is taken.
    #[error("operator {0} exists already")]
    Exists(OperatorName),
    /// Nobody has that name.
    #[error("there is no operator {0}; `vedetta-collector operator list` names them")]
    Unknown(OperatorName),
    /// The hash could not be made.
    #[error("the password could not be hashed: {0}")]
    Hash(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OperatorName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OperatorName {
    type Err = AccountError;

    fn from_str(text: &str) -> Result<Self, AccountError> {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > 64 || !text.bytes().all(letter) {
            return Err(AccountError::Name);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for OperatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Adds an operator, or gives a disabled one a new password and lets it in again.
///
/// # Errors
/// When the name is in use, the password unfit, or the store fails.
pub async fn add(store: &Store, name: &OperatorName, password: &str) -> Result<(), AccountError> {
    let password = password.to_owned();
    let hash = tokio::task::spawn_blocking(move || hash_password(&password))
        .await
        .map_err(|error| AccountError::Hash(error.to_string()))??;
    let added = operators::add(store, name.as_str(), hash).await?;
    if added { Ok(()) } else { Err(AccountError::Exists(name.clone())) }
}

/// Disables an operator and ends the operator's sessions.
///
/// # Errors
/// When there is none of that name, or the store fails.
pub async fn disable(store: &Store, name: &OperatorName) -> Result<(), AccountError> {
    if operators::disable(store, name.as_str()).await? {
        Ok(())
    } else {
        Err(AccountError::Unknown(name.clone()))
    }
}

/// An argon2id hash as a PHC string, with a salt of its own. Takes tens of milliseconds: not on an async thread.
///
/// # Errors
/// When the password is too short or too long.
pub fn hash_password(password: &str) -> Result<String, AccountError> {
    check_password(password)?;
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| AccountError::Hash(error.to_string()))
}

/// Whether a password is one that is taken.
///
/// # Errors
/// When it is too short or too long.
pub fn check_password(password: &str) -> Result<(), AccountError> {
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return Err(AccountError::TooShort);
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(AccountError::TooLong);
    }
    Ok(())
}

/// Whether a password belongs to a hash; a hash that cannot be read belongs to none. As slow as hashing.
pub fn verify_password(password: &str, hash: &str) -> bool {
    password.len() <= PASSWORD_BYTES_MAX
        && PasswordHash::new(hash)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// A random password of 100 bits that a person can type.
pub fn generate_password() -> String {
    let letters: [u8; PASSWORD_GROUPS * 4] = rand::random();
    let mut password = String::new();
    for (position, random) in letters.iter().enumerate() {
        if position > 0 && position % 4 == 0 {
            password.push('-');
        }
        let letter = PASSWORD_LETTERS.get(usize::from(random % 32)).copied().unwrap_or(b'a');
        password.push(char::from(letter));
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_own_hash_only() {
        let hash = hash_password("correct horse battery").unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(verify_password("correct horse battery", &hash));
        assert!(!verify_password("correct horse batterz", &hash));
        assert!(!verify_password("correct horse battery", "not a hash"));
        assert_ne!(hash, hash_password("correct horse battery").unwrap());
    }

    #[test]
    fn unfit_passwords_and_names_are_refused() {
        assert!(matches!(hash_password("short"), Err(AccountError::TooShort)));
        assert!(matches!(hash_password(&"x".repeat(2000)), Err(AccountError::TooLong)));
        for bad in ["", "a b", "è", "a/b", &"x".repeat(65)] {
            assert!(bad.parse::<OperatorName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn generated_passwords_are_long_and_differ() {
        let password = generate_password();
        assert_eq!(password.len(), 24);
        assert_ne!(password, generate_password());
        assert!(hash_password(&password).is_ok());
    }

    #[tokio::test]
    async fn an_operator_is_added_once_disabled_and_let_in_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("store.sqlite")).unwrap();
        let name: OperatorName = "rossi".parse().unwrap();
        add(&store, &name, "correct horse battery").await.unwrap();
        let again = add(&store, &name, "another password").await.unwrap_err();
        assert!(matches!(again, AccountError::Exists(_)), "{again}");
        disable(&store, &name).await.unwrap();
        add(&store, &name, "another password").await.unwrap();
        let nobody = disable(&store, &"bianchi".parse().unwrap()).await.unwrap_err();
        assert!(matches!(nobody, AccountError::Unknown(_)), "{nobody}");
    }
}
