//! Keys as administrators make them: by openssl.

use super::{
    leash::{run, words},
    secrets,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// An RSA key and a certificate of it, signed by itself.
pub(crate) struct KeyFiles {
    pub(crate) key: PathBuf,
    pub(crate) certificate: PathBuf,
}

impl KeyFiles {
    pub(crate) fn make(folder: &Path, name: &str) -> Self {
        let [key, certificate] = ["key", "pem"].map(|end| folder.join(format!("{name}.{end}")));
        let made =
            ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=passerelle", "-keyout"];
        openssl(&[&made[..], &[&text(&key), "-out", &text(&certificate)]].concat());
        let files = Self { key, certificate };
        // All its lines in the middle: what of it ever stands anywhere is found.
        files.key_in_pem().lines().skip(1).filter(|line| line.len() == 64).for_each(secrets::give_out);
        files
    }

    pub(crate) fn key_in_pem(&self) -> String {
        fs::read_to_string(&self.key).expect("the key")
    }

    pub(crate) fn certificate_in_pem(&self) -> String {
        fs::read_to_string(&self.certificate).expect("the certificate")
    }

    /// In PEM, too.
    pub(crate) fn public_key(&self) -> String {
        openssl(&["pkey", "-in", &text(&self.key), "-pubout"])
    }
}

/// What openssl answers.
pub(crate) fn openssl(arguments: &[&str]) -> String {
    let output = run(20, Command::new("openssl").args(arguments), b"");
    assert!(output.status.success(), "{}", words(&output));
    String::from_utf8(output.stdout).expect("text")
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
