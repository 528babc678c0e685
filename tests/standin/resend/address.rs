//! Mail addresses, as far as Resend takes them.

/// Whether this is `mail@domain.tld` or `Name <mail@domain.tld>`.
pub(crate) fn is_mailbox(text: &str) -> bool {
    match text.strip_suffix('>') {
        None => is_address(text),
        Some(rest) => {
            rest.split_once('<').is_some_and(|(name, address)| is_name(name) && is_address(address))
        }
    }
}

/// The domain of a mailbox; empty if it has none.
pub(crate) fn domain(mailbox: &str) -> &str {
    mailbox.trim_end_matches('>').rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// The part of a mailbox's address before the `@`; empty if there is none.
pub(crate) fn local_part(mailbox: &str) -> &str {
    let address = mailbox.rsplit_once('<').map_or(mailbox, |(_, address)| address);
    address.split_once('@').map_or("", |(local, _)| local)
}

fn is_name(name: &str) -> bool {
    !name.contains(['<', '>']) && !name.contains(char::is_control)
}

fn is_address(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, domain)| is_local(local) && is_domain(domain))
}

fn is_local(local: &str) -> bool {
    let atom = |atom: &str| {
        !atom.is_empty()
            && atom.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c))
    };
    local.len() <= 64 && local.split('.').all(atom)
}

fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        let edges = !label.starts_with('-') && !label.ends_with('-');
        (1..=63).contains(&label.len())
            && edges
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    domain.len() <= 253 && domain.contains('.') && domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_addresses_with_and_without_a_name() {
        for good in ["a@b.co", "Ann Ó <ann.o+x@mail.example.com>", "<a@b.co>"] {
            assert!(is_mailbox(good), "{good}");
        }
    }

    #[test]
    fn refuses_what_is_no_address() {
        for bad in [
            "",
            "a",
            "a@b",
            "@b.co",
            "a@@b.co",
            "a b@c.de",
            "a@b.co ",
            "Ann a@b.co",
            "a@b..co",
            "a@-b.co",
            "a@bé.co",
            "A\n <a@b.co>",
            "Ann <a@b.co",
            "a.@b.co",
        ] {
            assert!(!is_mailbox(bad), "{bad:?}");
        }
    }

    #[test]
    fn finds_the_parts() {
        assert_eq!(local_part("Ann <ann@b.co>"), "ann");
        assert_eq!(domain("Ann <ann@b.co>"), "b.co");
    }
}
