//! The registry of interfaces. A new one is a file, its `mod` line below, and a line in [`ALL`].

pub mod contract;
mod http;
mod resend;
mod simulated;
mod smtp;
mod twilio;

use contract::Interface;

/// Every interface.
pub static ALL: &[&dyn Interface] =
    &[&http::Http, &resend::Resend, &simulated::Simulated, &smtp::Smtp, &twilio::Twilio];

/// Finds the interface of that name.
pub fn find(name: &str) -> Option<&'static dyn Interface> {
    ALL.iter().copied().find(|interface| interface.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (place, interface) in ALL.iter().enumerate() {
            assert!(find(interface.name()).is_some());
            assert!(
                ALL[..place].iter().all(|other| other.name() != interface.name()),
                "{}",
                interface.name()
            );
        }
        assert!(find("pigeon").is_none());
    }
}
