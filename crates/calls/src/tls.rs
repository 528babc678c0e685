//! Certificates of authorities that are trusted besides those of the system: the file `pg_errand.http_ca_file`.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::time::SystemTime;

/// A value that changes when the file has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    changed: Option<SystemTime>,
    size: u64,
}

/// # Errors
/// If the file cannot be read.
pub fn version(ca_file: &str) -> Result<Version, String> {
    let about = std::fs::metadata(ca_file).map_err(|error| unreadable(ca_file, &error))?;
    Ok(Version { changed: about.modified().ok(), size: about.len() })
}

/// Reads the certificates in the file.
///
/// # Errors
/// If it is invalid; the message states what is wrong.
pub fn authorities(ca_file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(ca_file).map_err(|error| unreadable(ca_file, &error))?;
    let wrong = |reason: String| format!("pg_errand.http_ca_file ({ca_file}): {reason}");
    let own: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    if own.is_empty() {
        return Err(wrong("it contains no certificate in PEM format".into()));
    }
    let mut store = RootCertStore::empty();
    for certificate in &own {
        store.add(certificate.clone()).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(own)
}

/// Adds advice to an error that is hard to understand.
pub fn explained(error: String) -> String {
    if !error.contains("CaUsedAsEndEntity") {
        return error;
    }
    format!(
        "{error}: the server's certificate is one of a certificate authority (CA:TRUE), which no server may have; give it \
         one that is signed by that authority, or a self-signed one with CA:FALSE, which can stand in \
         pg_errand.http_ca_file itself"
    )
}

fn unreadable(ca_file: &str, error: &std::io::Error) -> String {
    format!("pg_errand.http_ca_file ({ca_file}) cannot be read: {error}")
}
