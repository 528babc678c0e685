//! Base URLs of providers and settings.

use super::target::{Host, Target};
use std::net::IpAddr;

/// Returns a base URL in its normal form: without a slash at its end, with the host in lower case and in punycode, and
/// without the default port.
///
/// # Errors
/// If the URL is invalid. The message repeats no part of it.
pub fn base_url(text: &str) -> Result<String, String> {
    let misplaced = [
        ("{{", "a base URL cannot have placeholders; use them in the path of the request"),
        ("?", "a base URL cannot have a query"),
        ("#", "a base URL cannot have a fragment"),
    ];
    if let Some((_, problem)) = misplaced.iter().find(|(mark, _)| text.contains(mark)) {
        return Err((*problem).to_owned());
    }
    Ok(Target::parse(text)?.url().trim_end_matches('/').to_owned())
}

/// Returns the URL of a proxy, which is a base URL without a path.
///
/// # Errors
/// If it is invalid; the message states what is wrong.
pub fn proxy_url(text: &str) -> Result<String, String> {
    let url = base_url(text)?;
    let (_, rest) = url.split_once("://").unwrap_or_default();
    if rest.contains('/') { Err("the URL of a proxy cannot have a path".into()) } else { Ok(url) }
}

/// True for the name or address of a host that can have a certificate.
pub fn is_host(text: &str) -> bool {
    host_name(text).is_ok_and(|name| rustls::pki_types::ServerName::try_from(name).is_ok())
}

/// Returns the name or address of a host in its normal form.
///
/// # Errors
/// If the text is neither a name nor an address.
pub fn host_name(text: &str) -> Result<String, String> {
    let address = text.parse::<IpAddr>().map(Host::Address).ok();
    match address.or_else(|| Host::parse(text)) {
        Some(Host::Name(name)) => Ok(name),
        Some(Host::Address(address)) => Ok(address.to_string()),
        None => Err("it is neither a name nor an address of a host".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_base_url_has_one_normal_form() {
        for (given, normal) in [
            ("https://api.test", "https://api.test"),
            ("https://API.Test.:443//", "https://api.test"),
            ("http://127.1:8080/v1/", "http://127.0.0.1:8080/v1"),
            ("https://bücher.test/ä", "https://xn--bcher-kva.test/%C3%A4"),
        ] {
            assert_eq!(base_url(given).as_deref(), Ok(normal), "{given}");
        }
    }

    #[test]
    fn what_no_base_url_has_is_named() {
        for (given, named) in [
            ("https://api.test/v1#x", "fragment"),
            ("https://api.test#", "fragment"),
            ("https://api.test/?a=b", "query"),
            ("https://api.test?", "query"),
            ("https://{{tenant}}.api.test", "placeholder"),
            ("https://api.test/{{tenant}}", "placeholder"),
            ("https://u:s3cret@api.test", "user"),
            ("https://u@api.test", "user"),
            ("ftp://api.test", "https://"),
            ("api.test", "not valid"),
            ("", "not valid"),
            ("https://", "not valid"),
            (" https://api.test", "space"),
            ("https://api.test\n", "control character"),
            ("https://api.test\\x", "backslash"),
            ("https://api.test:0", "port"),
        ] {
            let problem = base_url(given).unwrap_err();
            assert!(problem.contains(named) && !problem.contains("s3cret"), "{given}: {problem}");
        }
    }

    #[test]
    fn hosts_have_one_form() {
        for (given, normal) in [
            ("Mail.Example.", "mail.example"),
            ("bücher.test", "xn--bcher-kva.test"),
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "::1"),
            ("mail_server", "mail_server"),
        ] {
            assert_eq!(host_name(given).as_deref(), Ok(normal), "{given}");
        }
        for bad in ["", "a b", "a:25", "smtp://a", "a/b", "a\r\n", "u@a"] {
            assert!(host_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_proxy_has_no_path() {
        assert_eq!(proxy_url("http://proxy:3128/").as_deref(), Ok("http://proxy:3128"));
        assert!(proxy_url("http://proxy:3128/x").unwrap_err().contains("path"));
    }
}
