//! Whom we trust, and how we prove who we are.

use super::ClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::SystemTime;
use ureq::tls::{Certificate, PrivateKey, RootCerts, TlsConfig};

/// Tells one state of a file from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    changed: Option<SystemTime>,
    size: u64,
}

/// # Errors
/// Why the file cannot be read.
pub fn version(ca_file: &str) -> Result<Version, String> {
    let about = std::fs::metadata(ca_file).map_err(|error| unreadable(ca_file, &error))?;
    Ok(Version { changed: about.modified().ok(), size: about.len() })
}

/// # Errors
/// What is wrong with the file or the client's certificate.
pub fn config(ca_file: Option<&str>, client: Option<&ClientCert>) -> Result<TlsConfig, String> {
    let roots = ca_file.map_or(Ok(RootCerts::PlatformVerifier), roots)?;
    let client = client.map(client_cert).transpose()?;
    Ok(TlsConfig::builder().root_certs(roots).client_cert(client).build())
}

/// An error with what to do about it, if it is one that says nothing to most people.
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

/// The system's certificates and those in the file.
fn roots(ca_file: &str) -> Result<RootCerts, String> {
    let own = authorities(ca_file)?;
    let system = rustls_native_certs::load_native_certs().certs;
    Ok(RootCerts::from(system.iter().chain(&own).map(|der| Certificate::from_der(der).to_owned())))
}

/// The certificates in the file.
///
/// # Errors
/// What is wrong with it.
pub fn authorities(ca_file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(ca_file).map_err(|error| unreadable(ca_file, &error))?;
    let wrong = |reason: String| format!("pg_errand.http_ca_file ({ca_file}): {reason}");
    let own: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    if own.is_empty() {
        return Err(wrong("it holds no certificate in PEM format".into()));
    }
    let mut store = RootCertStore::empty();
    for certificate in &own {
        store.add(certificate.clone()).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(own)
}

/// `ureq` would panic if they did not fit together.
fn client_cert(client: &ClientCert) -> Result<ureq::tls::ClientCert, String> {
    let wrong = |reason: String| format!("the provider's client certificate cannot be used: {reason}");
    let pem = client.pem.as_bytes();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong("it holds no certificate in PEM format".into()));
    }
    let key = PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| wrong("it holds no private key in PEM format without a password".into()))?;
    let certificates: Vec<_> = chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(RootCertStore::empty()))
        .and_then(|builder| builder.with_client_auth_cert(chain, key))
        .map_err(|error| wrong(error.to_string()))?;
    let key = PrivateKey::from_pem(pem).map_err(|error| wrong(error.to_string()))?;
    Ok(ureq::tls::ClientCert::new_with_certs(&certificates, key))
}

fn unreadable(ca_file: &str, error: &std::io::Error) -> String {
    format!("pg_errand.http_ca_file ({ca_file}) cannot be read: {error}")
}
