//! Resolves names. All calls that request the same name at the same time share one look-up.

use crate::spawn::Spawn;
use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long addresses are used for further calls.
const KEPT: Duration = Duration::from_secs(20);
/// How long a failure is used for further calls.
const FAILURE_KEPT: Duration = Duration::from_secs(1);
/// The number of look-ups at the same time, each on a thread of its own.
const MAX_LOOK_UPS: usize = 64;
/// The number of look-ups at the same time for names that a payload chose and that have never had an address. One slow
/// name server can serve any number of names.
const MAX_STRANGE_LOOK_UPS: usize = MAX_LOOK_UPS / 2;
/// The number of names that are remembered to have had an address.
const MAX_PROVEN: usize = 4096;
/// From this number of names on, expired ones are removed.
const MANY_NAMES: usize = 256;
/// From this number of names on, all are removed: payloads choose the names, so there can be any number.
const MAX_NAMES: usize = 4096;
/// The number of addresses of a host that are tried.
pub const MAX_ADDRESSES: usize = 8;
/// The number of addresses of a host that are kept, since a name server can send any number.
const MAX_ADDRESSES_KEPT: usize = 64;

pub type LookUp = fn(&str) -> std::io::Result<Vec<IpAddr>>;
type Found = Result<Arc<[IpAddr]>, String>;

/// Resolves a name with the system's resolver.
pub fn system(name: &str) -> std::io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

/// The names that were looked up recently.
pub struct Names {
    look_up: LookUp,
    spawn: Spawn,
    state: Mutex<State>,
    changed: Condvar,
}

/// The origin of a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChosenBy {
    /// A payload, or a server that redirected its request.
    #[default]
    Payload,
    /// A provider's row or a setting.
    Provider,
}

#[derive(Default)]
struct State {
    known: HashMap<String, Known>,
    /// Names that have had an address, and when that was last the case.
    proven: HashMap<String, Instant>,
}

impl State {
    fn under_way(&self, is_meant: impl Fn(bool) -> bool) -> usize {
        let is_it = |known: &&Known| matches!(known, Known::UnderWay { is_strange } if is_meant(*is_strange));
        self.known.values().filter(is_it).count()
    }

    /// Remembers that a name has an address.
    fn prove(&mut self, name: &str) {
        if self.proven.len() >= MAX_PROVEN && !self.proven.contains_key(name) {
            let oldest = self.proven.iter().min_by_key(|(_, at)| **at).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| self.proven.remove(&oldest));
        }
        self.proven.insert(name.to_owned(), Instant::now());
    }
}

enum Known {
    /// A look-up is running. `is_strange` means that it counts for [`MAX_STRANGE_LOOK_UPS`].
    UnderWay {
        is_strange: bool,
    },
    Until(Instant, Found),
}

impl Known {
    fn is_old(&self) -> bool {
        matches!(self, Known::Until(until, _) if *until <= Instant::now())
    }
}

impl Names {
    pub fn new(look_up: LookUp, spawn: Spawn) -> Arc<Self> {
        Arc::new(Names { look_up, spawn, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Returns the addresses of a host, or the reason why there are none. `None` if they are not known in time.
    pub fn find(self: &Arc<Self>, name: &str, chosen_by: ChosenBy, limit: Duration) -> Option<Found> {
        let end = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            match state.known.get(name) {
                Some(Known::Until(until, found)) if *until > Instant::now() => return Some(found.clone()),
                Some(Known::UnderWay { .. }) => {}
                _ => {
                    if self.start(&mut state, name, chosen_by) {
                        continue;
                    }
                }
            }
            let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Starts a look-up. False if too many are running; the end of one wakes the calls that wait.
    fn start(self: &Arc<Self>, state: &mut State, name: &str, chosen_by: ChosenBy) -> bool {
        let is_strange = chosen_by == ChosenBy::Payload && !state.proven.contains_key(name);
        if state.under_way(|_| true) >= MAX_LOOK_UPS
            || is_strange && state.under_way(|is_strange| is_strange) >= MAX_STRANGE_LOOK_UPS
        {
            return false;
        }
        let known = &mut state.known;
        if known.len() >= MANY_NAMES {
            known.retain(|_, known| !known.is_old());
        }
        if known.len() >= MAX_NAMES {
            known.retain(|_, known| matches!(known, Known::UnderWay { .. }));
        }
        let (names, wanted) = (self.clone(), name.to_owned());
        let thread = (self.spawn)(Box::new(move || {
            let found = catch_unwind(AssertUnwindSafe(|| (names.look_up)(&wanted)));
            names.note(wanted, found.unwrap_or_else(|_| Err(std::io::Error::other("the look-up failed"))));
        }));
        let state = match thread {
            Ok(()) => Known::UnderWay { is_strange },
            Err(error) => failed(format!("no thread for the look-up: {error}")),
        };
        known.insert(name.to_owned(), state);
        true
    }

    fn note(&self, name: String, found: std::io::Result<Vec<IpAddr>>) {
        let mut state = self.lock();
        let known = match found {
            Ok(mut addresses) if !addresses.is_empty() => {
                state.prove(&name);
                addresses.truncate(MAX_ADDRESSES_KEPT);
                Known::Until(Instant::now() + KEPT, Ok(alternate(addresses).into()))
            }
            Ok(_) => failed("it has no address".into()),
            Err(error) => failed(error.to_string()),
        };
        state.known.insert(name, known);
        drop(state);
        self.changed.notify_all();
    }

    /// No code panics while it holds this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(reason: String) -> Known {
    Known::Until(Instant::now() + FAILURE_KEPT, Err(reason))
}

/// Alternates IPv6 and IPv4, so that a network where one of them is broken costs one attempt.
fn alternate(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let first_is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (same, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut other = other.into_iter();
    let mut all: Vec<IpAddr> = same.into_iter().flat_map(|one| [Some(one), other.next()]).flatten().collect();
    all.extend(other);
    let mut unique = Vec::new();
    all.retain(|address| {
        !unique.contains(address) && {
            unique.push(*address);
            true
        }
    });
    all
}

#[cfg(test)]
mod tests;
