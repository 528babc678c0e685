//! Names to addresses: one look-up for all calls that ask for the same name, and only addresses that may be
//! called come out of it.

use crate::spawn::Spawn;
use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long addresses are used for further calls …
const KEPT: Duration = Duration::from_secs(20);
/// … and how long it is believed that there are none.
const FAILURE_KEPT: Duration = Duration::from_secs(1);
/// Look-ups under way at once, each on a thread; more wait.
const MAX_LOOK_UPS: usize = 64;
/// As many of them may be of names that a payload chose and that have never had an address: one slow name server can
/// have any number of names.
const MAX_STRANGE_LOOK_UPS: usize = MAX_LOOK_UPS / 2;
/// Names of which it is remembered that they have had an address.
const MAX_PROVEN: usize = 4096;
/// When so many names are known, those that are too old are forgotten.
const MANY_NAMES: usize = 256;
/// When so many names are known after that, all are forgotten: payloads choose the names, so there can be any number.
const MAX_NAMES: usize = 4096;
/// Addresses of one host that are tried.
pub const MAX_ADDRESSES: usize = 8;
/// Addresses of one host that are kept: a name server can send any number.
const MAX_ADDRESSES_KEPT: usize = 64;

pub type LookUp = fn(&str) -> std::io::Result<Vec<IpAddr>>;
type Found = Result<Arc<[IpAddr]>, String>;

/// Asks the system.
pub fn system(name: &str) -> std::io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

/// The names that were looked up lately.
pub struct Names {
    look_up: LookUp,
    spawn: Spawn,
    state: Mutex<State>,
    changed: Condvar,
}

/// Who has chosen a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChosenBy {
    /// A payload, or whoever answered its request.
    #[default]
    Payload,
    /// A provider's row or a setting.
    Provider,
}

#[derive(Default)]
struct State {
    known: HashMap<String, Known>,
    /// Names that have had an address, with the last time.
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
    /// `is_strange`: it counts as one of [`MAX_STRANGE_LOOK_UPS`].
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

    /// The addresses of a host, or why there are none; `None` if they are not known in time.
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

    /// Starts a look-up. False if there are too many: the end of one wakes those that wait.
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

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(reason: String) -> Known {
    Known::Until(Instant::now() + FAILURE_KEPT, Err(reason))
}

/// IPv6 and IPv4 in turn, so that a network where one of them is broken costs one attempt.
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
mod tests {
    use super::*;
    use crate::spawn::plainly as spawn;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::thread::sleep;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_makes_one_look_up() {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let names = Names::new(
            |_| {
                COUNT.fetch_add(1, SeqCst);
                sleep(Duration::from_millis(100));
                Ok(vec![[1, 1, 1, 1].into()])
            },
            spawn,
        );
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    assert_eq!(names.find("a", ChosenBy::Payload, SECOND).unwrap().unwrap().len(), 1)
                });
            }
        });
        assert!(names.find("a", ChosenBy::Payload, Duration::ZERO).is_some());
        assert_eq!(COUNT.load(SeqCst), 1);
    }

    #[test]
    fn a_look_up_that_hangs_costs_no_more_than_the_limit_and_one_thread() {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let names = Names::new(
            |_| {
                COUNT.fetch_add(1, SeqCst);
                sleep(SECOND);
                Err(std::io::Error::other("late"))
            },
            spawn,
        );
        let start = Instant::now();
        for _ in 0..5 {
            assert!(names.find("a", ChosenBy::Payload, Duration::from_millis(20)).is_none());
        }
        assert!(start.elapsed() < SECOND / 2);
        assert_eq!(COUNT.load(SeqCst), 1);
        assert!(names.find("a", ChosenBy::Payload, 5 * SECOND).unwrap().unwrap_err().contains("late"));
    }

    #[test]
    fn not_more_look_ups_at_once_than_there_may_be_threads() {
        static NOW: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let names = Names::new(
            |_| {
                MOST.fetch_max(NOW.fetch_add(1, SeqCst) + 1, SeqCst);
                sleep(Duration::from_millis(20));
                NOW.fetch_sub(1, SeqCst);
                Ok(vec![[1, 1, 1, 1].into()])
            },
            spawn,
        );
        std::thread::scope(|scope| {
            for n in 0..200 {
                let names = &names;
                scope.spawn(move || {
                    assert!(names.find(&n.to_string(), ChosenBy::Payload, 5 * SECOND).unwrap().is_ok())
                });
            }
        });
        assert!(MOST.load(SeqCst) <= MAX_LOOK_UPS);
    }

    #[test]
    fn strange_names_that_hang_hold_up_neither_those_of_providers_nor_those_that_have_answered() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        static OPEN: Mutex<bool> = Mutex::new(false);
        static OPENED: Condvar = Condvar::new();
        let names = Names::new(
            |name| {
                if name.starts_with("slow") {
                    ASKED.fetch_add(1, SeqCst);
                    drop(OPENED.wait_while(OPEN.lock().unwrap(), |open| !*open));
                }
                Ok(vec![[1, 1, 1, 1].into()])
            },
            spawn,
        );
        let find = |name: &str, chosen_by| names.find(name, chosen_by, 60 * SECOND).unwrap();
        assert!(find("known.test", ChosenBy::Payload).is_ok());
        // It is looked up again.
        names.lock().known.clear();
        std::thread::scope(|scope| {
            for n in 0..2 * MAX_LOOK_UPS {
                let names = &names;
                scope.spawn(move || names.find(&format!("slow{n}.test"), ChosenBy::Payload, 60 * SECOND));
            }
            while ASKED.load(SeqCst) < MAX_STRANGE_LOOK_UPS {
                sleep(Duration::from_millis(1));
            }
            assert!(find("known.test", ChosenBy::Payload).is_ok());
            assert!(find("provider.test", ChosenBy::Provider).is_ok());
            assert!(names.find("strange.test", ChosenBy::Payload, Duration::from_millis(20)).is_none());
            assert_eq!(ASKED.load(SeqCst), MAX_STRANGE_LOOK_UPS);
            *OPEN.lock().unwrap() = true;
            OPENED.notify_all();
        });
        assert!(find("strange.test", ChosenBy::Payload).is_ok());
    }

    #[test]
    fn a_thread_that_cannot_be_started_is_no_reason_to_wait() {
        let names = Names::new(|_| Ok(Vec::new()), |_| Err(std::io::Error::other("none left")));
        let start = Instant::now();
        assert!(names.find("a", ChosenBy::Payload, 5 * SECOND).unwrap().unwrap_err().contains("none left"));
        assert!(start.elapsed() < SECOND);
    }

    #[test]
    fn neither_names_nor_their_addresses_are_kept_without_bound() {
        let names = Names::new(|_| Ok((0..1000_u32).map(|n| IpAddr::V4(n.into())).collect()), spawn);
        for n in 0..MAX_NAMES + 10 {
            let found = names.find(&n.to_string(), ChosenBy::Payload, 5 * SECOND).unwrap().unwrap();
            assert_eq!(found.len(), MAX_ADDRESSES_KEPT);
        }
        let state = names.lock();
        assert!(state.known.len() <= MAX_NAMES && state.proven.len() <= MAX_PROVEN);
    }

    #[test]
    fn families_alternate() {
        let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let given = parse(&["::1", "::2", "::3", "1.1.1.1", "1.1.1.1", "2.2.2.2"]);
        assert_eq!(alternate(given), parse(&["::1", "1.1.1.1", "::2", "::3", "2.2.2.2"]));
    }
}
