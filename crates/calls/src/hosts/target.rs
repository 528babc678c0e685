//! The target of a URL. A URL is parsed once, by the rules of browsers, and used in its normal form only, so that the
//! host that is checked is the host that is connected to.

use std::fmt;
use std::net::IpAddr;
use url::Url;

/// The longest URL in bytes that the HTTP library accepts.
const MAX_URL: usize = 65_534;

/// A URL that can be called.
#[derive(Clone, Debug)]
pub struct Target {
    url: Url,
    pub host: Host,
    pub port: u16,
}

/// A host, in lower case and without a dot at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Name(String),
    Address(IpAddr),
}

impl Host {
    /// `None` if it is neither a name nor an address in any spelling.
    pub fn parse(text: &str) -> Option<Host> {
        Host::from_url(url::Host::parse(text).ok()?)
    }

    fn from_url<S: AsRef<str>>(host: url::Host<S>) -> Option<Host> {
        match host {
            url::Host::Ipv4(v4) => Some(Host::Address(v4.into())),
            url::Host::Ipv6(v6) => Some(Host::Address(v6.into())),
            url::Host::Domain(name) => {
                let name = name.as_ref();
                let name = name.strip_suffix('.').unwrap_or(name);
                let valid = !name.is_empty() && name.len() <= 253 && !name.contains("..");
                valid.then(|| Host::Name(name.to_owned()))
            }
        }
    }
}

impl Target {
    /// # Errors
    /// If the URL is invalid. The message repeats no part of it.
    pub fn parse(text: &str) -> Result<Target, String> {
        if text.chars().any(char::is_control) {
            return Err("the URL contains a control character, such as a line break".into());
        }
        if text.trim() != text {
            return Err("the URL begins or ends with a space".into());
        }
        // Some servers interpret a backslash as a slash.
        if text.split(['?', '#']).next().is_some_and(|start| start.contains('\\')) {
            return Err("the URL contains a backslash".into());
        }
        let url = Url::parse(text).map_err(|error| format!("the URL is not valid: {error}"))?;
        Target::new(url)
    }

    /// Returns the target of a redirect.
    ///
    /// # Errors
    /// The errors of [`Target::parse`].
    pub fn join(&self, location: &str) -> Result<Target, String> {
        let url = self.url.join(location).map_err(|error| format!("the URL is not valid: {error}"))?;
        Target::new(url)
    }

    fn new(mut url: Url) -> Result<Target, String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err("only URLs with http:// or https:// can be called".into());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL with a user or a password in it cannot be called".into());
        }
        let host = url.host().and_then(Host::from_url).ok_or("the URL has no valid host")?;
        if let Host::Name(name) = &host {
            url.set_host(Some(name)).map_err(|error| format!("the URL is not valid: {error}"))?;
        }
        let port = url.port_or_known_default().filter(|port| *port > 0).ok_or("the URL has no valid port")?;
        url.set_fragment(None);
        check_length(url.as_str())?;
        Ok(Target { url, host, port })
    }

    /// The whole URL, which may contain secrets.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The host as in the URL: an IPv6 address in brackets.
    pub fn host_text(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// True if both have the same scheme, host and port.
    pub fn has_origin_of(&self, other: &Target) -> bool {
        self.url.scheme() == other.url.scheme() && self.host == other.host && self.port == other.port
    }

    /// Appends encoded parameters to the query.
    pub fn append_query(&mut self, encoded: &str) {
        let all = [self.url.query().unwrap_or(""), encoded];
        let all = all.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("&");
        self.url.set_query((!all.is_empty()).then_some(&all));
    }

    /// True if both have the same origin, and the path is that of `base` or below it.
    pub fn is_below(&self, base: &Target) -> bool {
        let rest = self.url.path().strip_prefix(base.url.path().trim_end_matches('/'));
        self.has_origin_of(base) && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Sets a parameter of the query. A redirect may have repeated it, so one with the same name is replaced.
    pub fn set_parameter(&mut self, name: &str, value: &str) {
        let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let is_other = |pair: &&str| {
            !pair.is_empty()
                && url::form_urlencoded::parse(pair.as_bytes()).next().is_none_or(|(known, _)| known != name)
        };
        let mut pairs: Vec<String> =
            self.url.query().unwrap_or_default().split('&').filter(is_other).map(str::to_owned).collect();
        pairs.push(format!("{}={}", encode(name), encode(value)));
        self.url.set_query(Some(&pairs.join("&")));
    }
}

/// # Errors
/// If the URL is too long.
pub fn check_length(url: &str) -> Result<(), String> {
    match url.len() {
        0..=MAX_URL => Ok(()),
        size => Err(format!(
            "the URL has {size} bytes, at most {MAX_URL} are possible: put long values into the body"
        )),
    }
}

/// Shows the host, and the port if it is not the default one.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.host_text())?;
        self.url.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_address_is_that_address() {
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "017700000001",
            "0177.0.0.1",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "127。0。0。1",
            "①②⑦.⓪.⓪.①",
            "127.0.0.1",
        ] {
            let target = Target::parse(&format!("http://{host}:81/x")).expect(host);
            assert_eq!(target.host, Host::Address([127, 0, 0, 1].into()), "{host}");
            assert_eq!(target.url(), "http://127.0.0.1:81/x");
        }
        let mapped = Target::parse("http://[::ffff:127.0.0.1]/").unwrap();
        assert_eq!(mapped.host, Host::Address("::ffff:7f00:1".parse().unwrap()));
    }

    #[test]
    fn names_have_one_form() {
        for host in ["Api.Example.COM", "api.example.com.", "api%2Eexample.com", "api。example.com"] {
            let target = Target::parse(&format!("https://{host}/a?b=c#d")).unwrap();
            assert_eq!(target.host, Host::Name("api.example.com".into()));
            assert_eq!(target.url(), "https://api.example.com/a?b=c");
            assert_eq!((target.port, target.to_string().as_str()), (443, "api.example.com"));
        }
    }

    #[test]
    fn what_cannot_be_called() {
        for bad in [
            "",
            "/x",
            "example.com/x",
            "ftp://example.com/",
            "file:///etc/passwd",
            "gopher://example.com",
            "http://public@127.0.0.1/",
            "http://a:b@example.com/",
            "http://:b@example.com/",
            "http://",
            "http://.",
            "http://a..b/",
            "http://127.0.0.256/",
            "http://1.2.3.4.5/",
            "http://[::1%25lo]/",
            "http://example.com:0/",
            "http://example.com:65536/",
            "http://exa mple.com/",
            " http://example.com/",
            "http://example.com/ ",
            "http://example.com\\@127.0.0.1/",
            "http://example.com/\r\nHost: x",
            "http://example.com%00.org/",
            "http://example.com/\t",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn letters_that_are_not_ascii_are_encoded() {
        let target = Target::parse("https://Bücher.test/ü b?q=ü \\").unwrap();
        assert_eq!(target.host, Host::Name("xn--bcher-kva.test".into()));
        assert_eq!(target.url(), "https://xn--bcher-kva.test/%C3%BC%20b?q=%C3%BC%20\\");
    }

    #[test]
    fn parameters() {
        let with = |url: &str| {
            let mut target = Target::parse(url).unwrap();
            target.set_parameter("a key", "x&y=ü");
            target.url().to_owned()
        };
        assert_eq!(with("https://e.com"), "https://e.com/?a+key=x%26y%3D%C3%BC");
        assert_eq!(
            with("https://e.com/p?b=%41&a%20key=old&c"),
            "https://e.com/p?b=%41&c&a+key=x%26y%3D%C3%BC"
        );
    }
}
