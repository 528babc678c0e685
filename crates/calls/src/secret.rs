//! Names of secrets.

/// True for a text that can name a secret, and a file that holds one.
pub fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    (1..=100).contains(&name.len()) && !name.starts_with('.') && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(["slack", "a.b-c_D9"].iter().all(|name| is_name(name)));
        assert!(["", ".", "..", ".a", "a/b", "a b", "ü", "a\0"].iter().all(|name| !is_name(name)));
        assert!(!is_name(&"x".repeat(101)));
    }
}
