//! Certificates and keys in PEM, from memory or from files, and what is wrong with them.

use std::{fs, io, path::Path};

use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};

use super::errors;

/// Some PEM text, and where it comes from.
#[derive(Debug)]
pub(super) struct Pem {
    origin: String,
    bytes: Vec<u8>,
}

impl Pem {
    /// `what` names it in errors.
    pub(super) fn given(what: &str, bytes: impl AsRef<[u8]>) -> Self {
        Self { origin: what.to_owned(), bytes: bytes.as_ref().to_vec() }
    }

    /// Reads a file, and blocks for it.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => Ok(Self { origin: path.display().to_string(), bytes }),
            Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        }
    }

    /// The certificates, of which there is at least one.
    pub(super) fn certificates(&self) -> io::Result<Vec<CertificateDer<'static>>> {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        match all {
            Ok(all) if all.is_empty() => Err(errors::invalid(format!(
                "no certificate in {}: a block BEGIN CERTIFICATE is expected{}",
                self.origin,
                self.instead()
            ))),
            Ok(all) => Ok(all),
            Err(error) => Err(self.broken("certificate", &error)),
        }
    }

    /// The first private key.
    pub(super) fn private_key(&self) -> io::Result<PrivateKeyDer<'static>> {
        if self.has("ENCRYPTED") {
            return Err(errors::invalid(format!(
                "the private key in {} is encrypted, which is not supported: decrypt it with \
                 `openssl pkey -in KEY -out PLAIN`",
                self.origin
            )));
        }
        match PrivateKeyDer::from_pem_slice(&self.bytes) {
            Ok(key) => Ok(key),
            Err(pem::Error::NoItemsFound) => Err(errors::invalid(format!(
                "no private key in {}: a block BEGIN PRIVATE KEY is expected{}",
                self.origin,
                self.instead()
            ))),
            Err(error) => Err(self.broken("private key", &error)),
        }
    }

    /// Adds the certificates to those that are trusted.
    pub(super) fn add_to(&self, roots: &mut RootCertStore) -> io::Result<()> {
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| {
                let text = format!("a certificate in {} cannot be a root: {error}", self.origin);
                errors::of_config(text, error)
            })?;
        }
        Ok(())
    }

    fn has(&self, label: &str) -> bool {
        self.bytes.windows(label.len()).any(|window| window == label.as_bytes())
    }

    /// What is there instead of what is looked for.
    fn instead(&self) -> &'static str {
        if self.bytes.is_empty() {
            "; it is empty"
        } else if self.has("BEGIN CERTIFICATE") {
            "; it has certificates only: are the two swapped?"
        } else if self.has("PRIVATE KEY") {
            "; it has a private key: are the two swapped?"
        } else if self.has("-----BEGIN") {
            "; it has other blocks only"
        } else {
            "; it is not PEM: convert DER with `openssl x509 -inform der` or `openssl pkey -inform der`"
        }
    }

    fn broken(&self, what: &str, error: &pem::Error) -> io::Error {
        errors::invalid(format!("the {what} in {} is broken PEM: {error}", self.origin))
    }
}

/// A chain of certificates, and the key of the first.
#[derive(Debug)]
pub(super) struct Identity {
    chain: Pem,
    key: Pem,
}

impl Identity {
    pub(super) fn given(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        Self {
            chain: Pem::given("the certificate chain", chain),
            key: Pem::given("the private key", key),
        }
    }

    /// Reads two files, and blocks for it.
    pub(super) fn read(chain: &Path, key: &Path) -> io::Result<Self> {
        Ok(Self { chain: Pem::read(chain)?, key: Pem::read(key)? })
    }

    pub(super) fn parse(
        &self,
    ) -> io::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        Ok((self.chain.certificates()?, self.key.private_key()?))
    }

    /// rustls takes neither of the two.
    pub(super) fn refused(&self, error: rustls::Error) -> io::Error {
        let (chain, key) = (&self.chain.origin, &self.key.origin);
        let text = match error {
            rustls::Error::InconsistentKeys(_) => format!(
                "the private key in {key} is not that of the first certificate in {chain}: the \
                 chain has to begin with the certificate that was made for the key"
            ),
            _ => format!("the certificate in {chain} and the key in {key} are refused: {error}"),
        };
        errors::of_config(text, error)
    }
}
