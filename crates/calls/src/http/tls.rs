//! TLS of `ureq`: the trusted certificates, and those of the client.

use crate::credential::ClientCertificate;
use crate::tls::authorities;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use ureq::tls::{Certificate, PrivateKey, RootCerts, TlsConfig};

/// # Errors
/// If the file or the client's certificate cannot be used.
pub fn config(ca_file: Option<&str>, client: Option<&ClientCertificate>) -> Result<TlsConfig, String> {
    let roots = ca_file.map_or(Ok(RootCerts::PlatformVerifier), roots)?;
    let client = client.map(client_certificate).transpose()?;
    Ok(TlsConfig::builder().root_certs(roots).client_cert(client).build())
}

/// Returns the certificates of the system and those in the file.
fn roots(ca_file: &str) -> Result<RootCerts, String> {
    let own = authorities(ca_file)?;
    let system = rustls_native_certs::load_native_certs().certs;
    Ok(RootCerts::from(system.iter().chain(&own).map(|der| Certificate::from_der(der).to_owned())))
}

/// Checks that certificate and key belong together, since `ureq` would panic otherwise.
fn client_certificate(client: &ClientCertificate) -> Result<ureq::tls::ClientCert, String> {
    let wrong = |reason: String| format!("the provider's client certificate cannot be used: {reason}");
    let pem = client.pem.as_bytes();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong("it contains no certificate in PEM format".into()));
    }
    let key = PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| wrong("it contains no private key in PEM format without a password".into()))?;
    let certificates: Vec<_> = chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(RootCertStore::empty()))
        .and_then(|builder| builder.with_client_auth_cert(chain, key))
        .map_err(|error| wrong(error.to_string()))?;
    let key = PrivateKey::from_pem(pem).map_err(|error| wrong(error.to_string()))?;
    Ok(ureq::tls::ClientCert::new_with_certs(&certificates, key))
}
