//! The vault: seals secrets at rest, and keys the check of generated passwords.
//!
//! XChaCha20-Poly1305 under a key that is never in the database. Table, row and column are bound to what is sealed, so a
//! sealed secret that was copied to another row does not open (rule R34). The vault keeps nothing but its keys.

use super::{Error as StoreError, files};
use crate::model::{Secret, quoted};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chacha20poly1305::{
    Key, KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use ring::{
    error::Unspecified,
    hkdf, hmac,
    rand::{SecureRandom, SystemRandom},
};
use std::{
    io,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// The key file's name in the state directory.
const KEY_FILE: &str = "master.key";
/// 256 bits, as XChaCha20-Poly1305 wants.
const KEY_LENGTH: usize = 32;
/// 192 bits: drawn at random for each sealing without a count of uses.
const NONCE_LENGTH: usize = 24;
/// First octet of all that is sealed, so that another way of sealing can be told apart later.
const FORM: u8 = 1;

/// Why a key cannot be used or a secret not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key file does not hold a key.
    #[error("the key file does not hold 32 octets in base64: {}", .0.display())]
    KeyForm(PathBuf),
    /// The key file is gone although there is a database that needs it.
    #[error("the key file is missing, and without it the stored passwords cannot be read: {}", .0.display())]
    KeyMissing(PathBuf),
    /// Others than the owner may read the key file.
    #[error("the key file can be read by others than its owner: {}", .0.display())]
    KeyOpenToOthers(PathBuf),
    /// The key is not the one with which this database was begun.
    #[error("the key does not fit this database: {}", .0.display())]
    KeyOther(PathBuf),
    /// Changed, cut off, moved from another row, or sealed with another key.
    #[error("a sealed secret does not open, in the table: {0}")]
    Sealed(&'static str),
}

impl Error {
    /// What mends it, for people.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::KeyForm(_) | Self::KeyOther(_) => {
                "put back the key file from the backup that belongs to this database".to_owned()
            }
            Self::KeyMissing(path) => {
                format!("put back the key file from your backup, or move {} away to begin anew", beside(path))
            }
            Self::KeyOpenToOthers(path) => format!("chmod 600 {}", quoted(&path.display().to_string())),
            Self::Sealed(_) => {
                "give the account its password again: `passerelle account set ADDRESS --password`".to_owned()
            }
        })
    }
}

fn beside(key: &Path) -> String {
    key.with_file_name(super::DATABASE_FILE).display().to_string()
}

/// Where a sealed secret stands. It opens nowhere else.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) table: &'static str,
    pub(crate) row: i64,
    pub(crate) column: &'static str,
}

impl Place {
    /// Names of tables and columns hold no NUL, so no two places give the same octets.
    fn bound(self) -> Vec<u8> {
        format!("{}\0{}\0{}", self.table, self.row, self.column).into_bytes()
    }
}

/// The keys, each derived from the master key for one use.
pub(crate) struct Vault {
    cipher: XChaCha20Poly1305,
    passwords: hmac::Key,
    random: SystemRandom,
}

impl Vault {
    /// Reads the key of the state directory, or the administrator's own key file; makes one where there is no database yet.
    pub(crate) fn unlock(
        state: &Path,
        key_file: Option<&Path>,
        database_exists: bool,
    ) -> Result<(Self, PathBuf), StoreError> {
        let path = key_file.map_or_else(|| state.join(KEY_FILE), Path::to_owned);
        let key = match read_key(&path) {
            Err(StoreError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                // A key that someone else keeps is not for us to make.
                if database_exists || key_file.is_some() {
                    return Err(Error::KeyMissing(path).into());
                }
                make_key(&path)?
            }
            read => read?,
        };
        let vault = Self::new(&key).map_err(|_| Error::KeyForm(path.clone()))?;
        Ok((vault, path))
    }

    fn new(master: &[u8; KEY_LENGTH]) -> Result<Self, Unspecified> {
        let master = hkdf::Salt::new(hkdf::HKDF_SHA256, b"passerelle").extract(master);
        let sealing = derive(&master, b"seal 1")?;
        let passwords = derive(&master, b"generated passwords 1")?;
        Ok(Self {
            cipher: XChaCha20Poly1305::new(&Key::from(*sealing)),
            passwords: hmac::Key::new(hmac::HMAC_SHA256, &*passwords),
            random: SystemRandom::new(),
        })
    }

    /// Form, nonce, sealed octets.
    pub(crate) fn seal(&self, place: Place, secret: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE_LENGTH];
        self.random.fill(&mut nonce).map_err(|_| StoreError::Randomness)?;
        let payload = Payload { msg: secret, aad: &place.bound() };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| Error::Sealed(place.table))?;
        Ok([&[FORM], &nonce[..], &sealed].concat())
    }

    pub(crate) fn open(&self, place: Place, sealed: &[u8]) -> Result<Secret<Vec<u8>>, Error> {
        let refused = || Error::Sealed(place.table);
        let (&form, rest) = sealed.split_first().ok_or_else(refused)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LENGTH>().ok_or_else(refused)?;
        if form != FORM {
            return Err(refused());
        }
        let payload = Payload { msg: sealed, aad: &place.bound() };
        let opened = self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| refused())?;
        Ok(Secret::new(opened))
    }

    /// What is kept of a generated password: it has 128 bits or more, so one fast keyed hash is enough.
    pub(crate) fn password_hmac(&self, login: i64, password: &[u8]) -> Vec<u8> {
        hmac::sign(&self.passwords, &bound_password(login, password)).as_ref().to_vec()
    }

    /// Compares in constant time.
    pub(crate) fn password_fits(&self, login: i64, password: &[u8], kept: &[u8]) -> bool {
        hmac::verify(&self.passwords, &bound_password(login, password), kept).is_ok()
    }
}

/// The login's row stands in front, so that a hash copied to another row fits no password there.
fn bound_password(login: i64, password: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([&login.to_be_bytes(), password].concat())
}

fn read_key(path: &Path) -> Result<Zeroizing<[u8; KEY_LENGTH]>, StoreError> {
    let text = std::fs::read(path).map(Zeroizing::new).map_err(|cause| StoreError::file("read", path, cause))?;
    if files::open_to_others(path)? {
        return Err(Error::KeyOpenToOthers(path.to_owned()).into());
    }
    let octets = BASE64.decode(text.trim_ascii()).map(Zeroizing::new);
    let key = octets.ok().and_then(|octets| <[u8; KEY_LENGTH]>::try_from(octets.as_slice()).ok());
    key.map(Zeroizing::new).ok_or_else(|| Error::KeyForm(path.to_owned()).into())
}

fn make_key(path: &Path) -> Result<Zeroizing<[u8; KEY_LENGTH]>, StoreError> {
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    SystemRandom::new().fill(&mut *key).map_err(|_| StoreError::Randomness)?;
    let text = Zeroizing::new(BASE64.encode(*key) + "\n");
    files::create_private(path, text.as_bytes())?;
    Ok(key)
}

fn derive(master: &hkdf::Prk, purpose: &[u8]) -> Result<Zeroizing<[u8; KEY_LENGTH]>, Unspecified> {
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    master.expand(&[purpose], hkdf::HKDF_SHA256)?.fill(&mut *key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { table: "accounts", row: 1, column: "sealed_password" };

    fn vault() -> Vault {
        Vault::new(&[7; KEY_LENGTH]).expect("a vault")
    }

    #[test]
    fn a_secret_opens_where_it_was_sealed_and_nowhere_else() {
        let vault = vault();
        let sealed = vault.seal(PLACE, b"open sesame").expect("sealed");
        assert_eq!(vault.open(PLACE, &sealed).expect("opened").expose(), b"open sesame");
        let elsewhere = [
            Place { row: 2, ..PLACE },
            Place { table: "logins", ..PLACE },
            Place { column: "sealed_cram_state", ..PLACE },
        ];
        for place in elsewhere {
            assert!(vault.open(place, &sealed).is_err());
        }
        let other = Vault::new(&[8; KEY_LENGTH]).expect("a vault");
        assert!(other.open(PLACE, &sealed).is_err());
    }

    #[test]
    fn a_changed_or_cut_secret_does_not_open() {
        let vault = vault();
        let sealed = vault.seal(PLACE, b"open sesame").expect("sealed");
        for at in 0..sealed.len() {
            assert!(vault.open(PLACE, &sealed[..at]).is_err(), "cut at {at}");
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(vault.open(PLACE, &changed).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn a_password_fits_its_own_login_alone() {
        let vault = vault();
        let kept = vault.password_hmac(1, b"secret");
        assert!(vault.password_fits(1, b"secret", &kept));
        assert!(!vault.password_fits(2, b"secret", &kept));
        assert!(!vault.password_fits(1, b"Secret", &kept));
        assert!(!vault.password_fits(1, b"secret", &[]));
    }

    #[test]
    fn the_key_file_is_made_once_and_kept_private() {
        let root = tempfile::tempdir().expect("a directory");
        let (vault, path) = Vault::unlock(root.path(), None, false).expect("made");
        let sealed = vault.seal(PLACE, b"x").expect("sealed");
        let (again, _) = Vault::unlock(root.path(), None, true).expect("read");
        assert_eq!(again.open(PLACE, &sealed).expect("opened").expose(), b"x");
        assert!(!files::open_to_others(&path).expect("mode"));
        std::fs::remove_file(&path).expect("removed");
        let gone = Vault::unlock(root.path(), None, true).err().expect("refused");
        assert!(matches!(gone, StoreError::Vault(Error::KeyMissing(_))));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().expect("a directory");
        let (_, path) = Vault::unlock(root.path(), None, false).expect("made");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
        let refused = Vault::unlock(root.path(), None, true).err().expect("refused");
        assert_eq!(refused.hint(), Some(format!("chmod 600 {}", path.display())));
    }
}
