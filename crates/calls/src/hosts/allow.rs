//! The list of hosts that requests may go to: `pg_errand.http_allowed_hosts`.

use super::address::{Range, is_public, plain};
use super::target::Host;
use std::net::IpAddr;

/// Top-level names that no public host has.
const INSIDE: &[&str] = &["localhost", "local", "internal", "home.arpa"];

/// The entries of the list. An empty list allows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    hosts: Hosts,
    /// `None` stands for every port.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    Public,
    Within(Range),
    Named(String),
    /// All names below this one.
    Below(String),
}

impl AllowList {
    /// # Errors
    /// If an entry is invalid; the message states what is allowed.
    pub fn parse(text: &str) -> Result<AllowList, String> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries
            .map(|entry| parse(entry).ok_or_else(|| problem(entry)))
            .collect::<Result<_, _>>()
            .map(AllowList)
    }

    /// True if the name itself is listed, so that its addresses do not matter.
    pub fn has_name(&self, name: &str, port: u16) -> bool {
        self.any(port, |hosts| match hosts {
            Hosts::All => true,
            Hosts::Named(known) => known == name,
            Hosts::Below(parent) => is_below(name, parent),
            Hosts::Public | Hosts::Within(_) => false,
        })
    }

    pub fn has_address(&self, address: IpAddr, port: u16) -> bool {
        let address = plain(address);
        self.any(port, |hosts| match hosts {
            Hosts::All => true,
            Hosts::Public => is_public(address),
            Hosts::Within(range) => range.contains(address),
            Hosts::Named(_) | Hosts::Below(_) => false,
        })
    }

    /// True if a name is allowed that a proxy resolves.
    pub fn trusts_name(&self, name: &str, port: u16) -> bool {
        let inside = !name.contains('.') || INSIDE.iter().any(|parent| is_below(name, parent));
        self.has_name(name, port) || !inside && self.any(port, |hosts| *hosts == Hosts::Public)
    }

    fn any(&self, port: u16, is_meant: impl Fn(&Hosts) -> bool) -> bool {
        self.0.iter().any(|entry| entry.port.is_none_or(|only| only == port) && is_meant(&entry.hosts))
    }
}

fn is_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
}

fn problem(entry: &str) -> String {
    format!(
        "\"{entry}\" is none of: public, *, an address, a network such as 10.0.0.0/8, a host name, *.example.com; \
         each may end in :port, with an IPv6 address in brackets."
    )
}

fn parse(entry: &str) -> Option<Entry> {
    let (hosts, port) = split_port(entry)?;
    Some(Entry { hosts: parse_hosts(hosts)?, port })
}

/// Splits off the port. The colons of an IPv6 address without brackets belong to the address.
fn split_port(entry: &str) -> Option<(&str, Option<u16>)> {
    match entry.rsplit_once(':') {
        Some((hosts, port)) if !hosts.contains(':') || hosts.contains(']') && !port.contains([']', '/']) => {
            port.parse().ok().filter(|port| *port > 0).map(|port| (hosts, Some(port)))
        }
        _ => Some((entry, None)),
    }
}

fn parse_hosts(text: &str) -> Option<Hosts> {
    if text == "*" {
        return Some(Hosts::All);
    }
    if text.eq_ignore_ascii_case("public") {
        return Some(Hosts::Public);
    }
    if let Some((first, bits)) = text.split_once('/') {
        return Range::new(plain_address(first)?, bits.parse().ok()?).map(Hosts::Within);
    }
    if let Some(address) = plain_address(text) {
        return Some(Hosts::Within(Range::one(plain(address))));
    }
    let parent = text.strip_prefix("*.");
    match Host::parse(parent.unwrap_or(text))? {
        Host::Name(name) if name.contains('*') => None,
        Host::Name(name) => Some(if parent.is_some() { Hosts::Below(name) } else { Hosts::Named(name) }),
        // A short form such as 127.1 is probably a mistake.
        Host::Address(_) => None,
    }
}

fn plain_address(text: &str) -> Option<IpAddr> {
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> AllowList {
        AllowList::parse(text).unwrap()
    }

    fn address(text: &str, host: &str, port: u16) -> bool {
        list(text).has_address(host.parse().unwrap(), port)
    }

    #[test]
    fn wrong_entries() {
        for bad in [
            "a b",
            "10.0.0.0/33",
            "10.0.0/8",
            "x:0",
            "x:99999",
            "x:",
            "*.*",
            "a.*.b",
            "http://x",
            "127.1",
            "::1/x",
        ] {
            let problem = AllowList::parse(&format!("public, {bad}")).unwrap_err();
            assert!(problem.contains(bad) && problem.contains("10.0.0.0/8"), "{bad}: {problem}");
        }
    }

    #[test]
    fn addresses() {
        assert!(address("public", "1.1.1.1", 80) && !address("public", "127.0.0.1", 80));
        assert!(!address("public", "::ffff:127.0.0.1", 80) && !address("", "1.1.1.1", 80));
        assert!(
            address("public, 127.0.0.0/8", "127.0.0.1", 80) && address("127.0.0.0/8", "::ffff:127.0.0.1", 1)
        );
        assert!(address("*", "127.0.0.1", 80) && address("::ffff:127.0.0.1", "127.0.0.1", 80));
        assert!(address("127.0.0.1:80", "127.0.0.1", 80) && !address("127.0.0.1:80", "127.0.0.1", 81));
        assert!(
            address("::1", "::1", 80) && address("[::1]:80", "::1", 80) && !address("[::1]:80", "::1", 81)
        );
        assert!(address("fd00::/8", "fd00::1", 80) && address("[fd00::]/8:80", "fd00::1", 80));
        assert!(!address("example.com", "1.1.1.1", 80));
    }

    #[test]
    fn names() {
        let name = |text, name, port| list(text).has_name(name, port);
        assert!(name("Example.com.", "example.com", 1) && !name("example.com", "a.example.com", 1));
        assert!(name("*.example.com", "a.b.example.com", 1) && !name("*.example.com", "example.com", 1));
        assert!(
            !name("*.example.com", "badexample.com", 1) && !name("*.example.com", ".example.com.evil.org", 1)
        );
        assert!(name("example.com:443", "example.com", 443) && !name("example.com:443", "example.com", 80));
        assert!(!name("public", "example.com", 1) && name("*", "localhost", 1));
    }

    #[test]
    fn names_that_a_proxy_resolves() {
        let trusts = |text: &str, name: &str| list(text).trusts_name(name, 443);
        assert!(trusts("public", "example.com"));
        for inside in ["localhost", "a.localhost", "db", "printer.local", "metadata.google.internal"] {
            assert!(!trusts("public", inside) && trusts(&format!("public,{inside}"), inside), "{inside}");
        }
        assert!(!trusts("10.0.0.0/8", "example.com"));
    }
}
