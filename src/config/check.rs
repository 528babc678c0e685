//! Rules for the values of settings.

use super::secret_list;
use crate::hosts::{self, AllowList};
use crate::pg::guc::{Check, split_list};
use std::net::{Ipv4Addr, Ipv6Addr};

pub struct NameList;

impl Check for NameList {
    fn check(value: &str) -> Result<(), String> {
        let names = split_list(value);
        if names.is_none() {
            return Err("A comma-separated list of names is allowed; quote names that need it.".into());
        }
        Ok(())
    }
}

pub struct RoleName;

impl Check for RoleName {
    fn check(value: &str) -> Result<(), String> {
        match value {
            "" => Err("The name of a role is needed.".into()),
            "none" | "public" => Err(format!("\"{value}\" is no role.")),
            name if name.len() > 63 => Err("A role's name has 63 bytes at most.".into()),
            _ => Ok(()),
        }
    }
}

pub struct SecretList;

impl Check for SecretList {
    fn check(value: &str) -> Result<(), String> {
        if value.is_empty() {
            return Ok(());
        }
        let allowed = "A JSON object of strings is required: {\"name\": \"secret\"}.";
        secret_list::check(value).map_err(|reason| format!("{} {allowed}", sentence(&reason)))
    }
}

pub struct HostName;

impl Check for HostName {
    fn check(value: &str) -> Result<(), String> {
        let is_host = |name: String| rustls::pki_types::ServerName::try_from(name).is_ok();
        if value.is_empty() || hosts::host_name(value).is_ok_and(is_host) {
            Ok(())
        } else {
            Err("The name or address of a host is allowed, without a port.".into())
        }
    }
}

/// True for an identifier of Twilio: the prefix and 32 hexadecimal digits.
pub fn is_sid(prefix: &str, value: &str) -> bool {
    value
        .strip_prefix(prefix)
        .is_some_and(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn check_sid(prefix: &str, value: &str) -> Result<(), String> {
    if is_sid(prefix, value) || value.is_empty() {
        return Ok(());
    }
    Err(format!("{prefix} and 32 hexadecimal digits are allowed."))
}

pub struct AccountSid;

impl Check for AccountSid {
    fn check(value: &str) -> Result<(), String> {
        check_sid("AC", value)
    }
}

pub struct ApiKeySid;

impl Check for ApiKeySid {
    fn check(value: &str) -> Result<(), String> {
        check_sid("SK", value)
    }
}

pub struct EhloName;

impl Check for EhloName {
    fn check(value: &str) -> Result<(), String> {
        let literal = value.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let is_address = |text: &str| match text.strip_prefix("IPv6:") {
            Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
            None => text.parse::<Ipv4Addr>().is_ok(),
        };
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let fits = literal.map_or_else(|| value.split('.').all(is_label), is_address);
        if value.is_empty() || fits {
            Ok(())
        } else {
            Err("A name such as mail.example.com is allowed, or an address such as [192.0.2.1] or [IPv6:2001:db8::1].".into())
        }
    }
}

pub struct Directory;

impl Check for Directory {
    fn check(value: &str) -> Result<(), String> {
        if value.is_empty() || value.starts_with('/') {
            Ok(())
        } else {
            Err("An absolute path is allowed.".into())
        }
    }
}

pub struct BaseUrl;

impl Check for BaseUrl {
    fn check(value: &str) -> Result<(), String> {
        let allowed = "A URL such as https://api.example.com is allowed, without user, query or fragment.";
        hosts::base_url(value).map(drop).map_err(|reason| format!("{} {allowed}", sentence(&reason)))
    }
}

/// Turns a reason into a sentence.
fn sentence(reason: &str) -> String {
    let mut letters = reason.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

pub struct Hosts;

impl Check for Hosts {
    fn check(value: &str) -> Result<(), String> {
        AllowList::parse(value).map(|_| ())
    }
}

pub struct ProxyUrl;

impl Check for ProxyUrl {
    fn check(value: &str) -> Result<(), String> {
        if value.is_empty() {
            return Ok(());
        }
        let allowed = "A URL such as http://proxy.example.com:3128 is allowed, without user, path or query. The user is \
            pg_errand.http_proxy_user.";
        hosts::proxy_url(value).map(drop).map_err(|reason| format!("{} {allowed}", sentence(&reason)))
    }
}

pub struct ProxyUser;

impl Check for ProxyUser {
    fn check(value: &str) -> Result<(), String> {
        // The first colon ends the user name (RFC 7617).
        if value.chars().any(|c| c == ':' || c.is_control()) {
            return Err("A name without a colon or control character is allowed.".into());
        }
        Ok(())
    }
}

pub struct AbsolutePath;

impl Check for AbsolutePath {
    fn check(value: &str) -> Result<(), String> {
        if value.is_empty() || value.starts_with('/') {
            return Ok(());
        }
        Err("An absolute path is allowed.".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls() {
        for good in ["https://api.resend.com", "http://127.0.0.1:8080", "https://proxy.example/resend"] {
            assert_eq!(BaseUrl::check(good), Ok(()), "{good}");
        }
        assert_eq!(BaseUrl::check("https://bücher.test"), Ok(()));
        for bad in
            ["", "api.resend.com", "ftp://x", "https://u:p@x", "https://x/?a=b", "https://", "https://x#y"]
        {
            let problem = BaseUrl::check(bad).unwrap_err();
            assert!(
                problem.contains(". A URL such as https://api.example.com is allowed"),
                "{bad}: {problem}"
            );
        }
    }

    #[test]
    fn allowed_hosts() {
        for good in ["", "public", "*", "public, 10.0.0.0/8, [::1]:8080,*.example.com , db:5000"] {
            assert_eq!(Hosts::check(good), Ok(()), "{good}");
        }
        for bad in ["http://x", "10.0.0.0/99", "a b", "x:port"] {
            assert!(Hosts::check(bad).unwrap_err().contains("public"), "{bad}");
        }
    }

    #[test]
    fn proxies() {
        for good in ["", "http://proxy:3128", "https://[::1]:3128/", "http://127.0.0.1:8080"] {
            assert_eq!(ProxyUrl::check(good), Ok(()), "{good}");
        }
        for bad in
            ["proxy:3128", "socks5://x:1", "http://u:p@x:1", "http://x:1/path", "http://x:1?a", "http://"]
        {
            assert!(ProxyUrl::check(bad).unwrap_err().contains("http://"), "{bad}");
        }
    }

    #[test]
    fn host_names() {
        for good in ["", "smtp.example.com", "bücher.test", "localhost", "10.0.0.1", "::1"] {
            assert_eq!(HostName::check(good), Ok(()), "{good}");
        }
        for bad in ["smtp.example.com:25", "smtp://x", "a b", "x\r\n"] {
            assert!(HostName::check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ehlo_names() {
        for good in ["", "mail.example.com", "localhost", "[192.0.2.1]", "[IPv6:2001:db8::1]"] {
            assert_eq!(EhloName::check(good), Ok(()), "{good}");
        }
        for bad in ["a b", "mail..example.com", "[mail]", "[::1]", "x\r\nMAIL", "bücher.test"] {
            assert!(EhloName::check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ca_files() {
        assert_eq!((AbsolutePath::check(""), AbsolutePath::check("/etc/ca.pem")), (Ok(()), Ok(())));
        assert!(AbsolutePath::check("ca.pem").is_err());
    }

    #[test]
    fn role_names() {
        assert_eq!(RoleName::check("app_worker"), Ok(()));
        assert!(RoleName::check("").is_err());
        assert!(RoleName::check(&"x".repeat(64)).is_err());
    }
}
