//! Certificates.

use super::server::read;
use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Creates a certificate and key for a name.
fn certificate(authority: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.into()]).unwrap().signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// Starts a server `inside.test` that asks for a client certificate of the same authority. Returns its URL.
fn server(authority: &Authority) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    server_with(&certificate(authority, "inside.test"), Some(roots))
}

/// Starts a server with this certificate and key. With `roots`, it asks for a client certificate. Returns its URL.
fn server_with((certificate, key): &(String, String), roots: Option<RootCertStore>) -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = roots.map(|roots| {
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap()
    });
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let config =
        config.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://inside.test:{}/", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            if read(&mut stream).is_ok() {
                let _ = stream.write_all(response(200, "Connection: close\r\n", "safe").as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    url
}

/// A file that is removed after the test.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> File {
        let path = std::env::temp_dir().join(format!("pg_errand-{}.pem", uuid::Uuid::new_v4()));
        std::fs::write(&path, text).unwrap();
        File(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn trusting(file: &File, client: Option<(String, String)>) -> Job {
    let job = allowing("127.0.0.1");
    let ca_file = Some(file.0.to_str().unwrap().to_owned());
    Job {
        network: Arc::new(Network { ca_file, ..(*job.network).clone() }),
        client_certificate: client
            .map(|(certificate, key)| crate::credential::ClientCertificate { pem: certificate + &key }),
        ..job
    }
}

#[test]
fn own_authority_and_client_certificate() {
    let authority = authority();
    let request = get(&server(&authority));
    let file = File::new(&authority.pem());
    let me = || Some(certificate(&authority, "client.test"));
    assert_eq!(send(&client(), &request, &trusting(&file, me())).unwrap().body, b"safe");
    assert!(send(&client(), &request, &trusting(&file, None)).is_err());
    let unknown = send(&client(), &request, &Job { client_certificate: None, ..allowing("*") }).unwrap_err();
    assert!(unknown.contains("certificate"), "{unknown}");
    let other = File::new(&self::authority().pem());
    assert!(send(&client(), &request, &trusting(&other, me())).unwrap_err().contains("certificate"));
}

#[test]
fn a_change_of_the_file_counts() {
    let authority = authority();
    let (request, client) = (get(&server(&authority)), client());
    let file = File::new("nothing");
    let job = trusting(&file, Some(certificate(&authority, "client.test")));
    assert!(send(&client, &request, &job).unwrap_err().contains("pg_errand.http_ca_file"));
    std::fs::write(&file.0, authority.pem()).unwrap();
    assert_eq!(send(&client, &request, &job).unwrap().status, 200);
    std::fs::remove_file(&file.0).unwrap();
    assert!(send(&client, &request, &job).unwrap_err().contains("pg_errand.http_ca_file"));
}

#[test]
fn wrong_client_certificates() {
    let authority = authority();
    let file = File::new(&authority.pem());
    let (certificate, key) = certificate(&authority, "a.test");
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    for (certificate, key) in [
        (certificate.clone(), String::new()),
        (String::new(), key.clone()),
        (certificate.clone(), other_key),
        ("-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n".into(), key),
    ] {
        let job = trusting(&file, Some((certificate, key)));
        let problem = send(&client(), &get("https://inside.test:1/"), &job).unwrap_err();
        assert!(problem.contains("client certificate"), "{problem}");
    }
}

#[test]
fn a_self_signed_certificate_can_stand_in_the_file_unless_it_is_an_authority_s() {
    for (is_ca, is_accepted) in
        [(IsCa::ExplicitNoCa, true), (IsCa::NoCa, true), (IsCa::Ca(BasicConstraints::Unconstrained), false)]
    {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["inside.test".into()]).unwrap();
        params.is_ca = is_ca;
        let certificate = params.self_signed(&key).unwrap().pem();
        let file = File::new(&certificate);
        let request = get(&server_with(&(certificate, key.serialize_pem()), None));
        match send(&client(), &request, &trusting(&file, None)) {
            Ok(response) => assert!(is_accepted && response.body == b"safe"),
            Err(problem) => {
                assert!(!is_accepted && problem.contains("CA:FALSE"), "{problem}");
            }
        }
    }
}
