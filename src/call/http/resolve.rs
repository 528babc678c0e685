//! Names to addresses: one look-up for all calls that ask for the same name, and only addresses that may be
//! called come out of it.

use super::problem::Reason;
use crate::hosts::{AllowList, Host};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long addresses are used for further calls …
const KEPT: Duration = Duration::from_secs(20);
/// … and how long it is believed that there are none.
const FAILURE_KEPT: Duration = Duration::from_secs(1);
/// Look-ups under way at once, each on a thread; more wait.
const MAX_LOOK_UPS: usize = 64;
/// When so many names are known, those that are too old are forgotten.
const MANY_NAMES: usize = 256;
/// When so many names are known after that, all are forgotten: payloads choose the names, so there can be any number.
const MAX_NAMES: usize = 4096;
/// Addresses of one host that are tried.
pub const MAX_ADDRESSES: usize = 8;
/// Addresses of one host that are kept: a name server can send any number.
const MAX_ADDRESSES_KEPT: usize = 64;

pub type Spawn = fn(Box<dyn FnOnce() + Send>) -> std::io::Result<()>;
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
    known: Mutex<HashMap<String, Known>>,
    changed: Condvar,
}

enum Known {
    UnderWay,
    Until(Instant, Found),
}

impl Known {
    fn is_old(&self) -> bool {
        matches!(self, Known::Until(until, _) if *until <= Instant::now())
    }
}

impl Names {
    pub fn new(look_up: LookUp, spawn: Spawn) -> Arc<Self> {
        Arc::new(Names { look_up, spawn, known: Mutex::default(), changed: Condvar::new() })
    }

    /// The addresses of a host, or why there are none; `None` if they are not known in time.
    pub fn find(self: &Arc<Self>, name: &str, limit: Duration) -> Option<Found> {
        let end = Instant::now() + limit;
        let mut known = self.lock();
        loop {
            match known.get(name) {
                Some(Known::Until(until, found)) if *until > Instant::now() => return Some(found.clone()),
                Some(Known::UnderWay) => {}
                _ => {
                    if self.start(&mut known, name) {
                        continue;
                    }
                }
            }
            let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            known = self.changed.wait_timeout(known, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Starts a look-up. False if there are too many: the end of one wakes those that wait.
    fn start(self: &Arc<Self>, known: &mut HashMap<String, Known>, name: &str) -> bool {
        if known.values().filter(|known| matches!(known, Known::UnderWay)).count() >= MAX_LOOK_UPS {
            return false;
        }
        if known.len() >= MANY_NAMES {
            known.retain(|_, known| !known.is_old());
        }
        if known.len() >= MAX_NAMES {
            known.retain(|_, known| matches!(known, Known::UnderWay));
        }
        let (names, wanted) = (self.clone(), name.to_owned());
        let thread = (self.spawn)(Box::new(move || {
            let found = catch_unwind(AssertUnwindSafe(|| (names.look_up)(&wanted)));
            names.note(wanted, found.unwrap_or_else(|_| Err(std::io::Error::other("the look-up failed"))));
        }));
        let state = match thread {
            Ok(()) => Known::UnderWay,
            Err(error) => failed(format!("no thread for the look-up: {error}")),
        };
        known.insert(name.to_owned(), state);
        true
    }

    fn note(&self, name: String, found: std::io::Result<Vec<IpAddr>>) {
        let state = match found {
            Ok(mut addresses) if !addresses.is_empty() => {
                addresses.truncate(MAX_ADDRESSES_KEPT);
                Known::Until(Instant::now() + KEPT, Ok(alternate(addresses).into()))
            }
            Ok(_) => failed("it has no address".into()),
            Err(error) => failed(error.to_string()),
        };
        self.lock().insert(name, state);
        self.changed.notify_all();
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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

/// What `ureq` asks before each connection: what it gets is what it connects to.
pub struct Guarded {
    pub names: Arc<Names>,
    /// Nothing: every address will do.
    pub allowed: Option<AllowList>,
}

impl Resolver for Guarded {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (host, port) = host_and_port(uri).ok_or(ureq::Error::HostNotFound)?;
        let addresses = match &host {
            Host::Address(address) => [*address].into(),
            Host::Name(name) => match self.names.find(name, *timeout.after) {
                None => return Err(ureq::Error::Timeout(ureq::Timeout::Resolve)),
                Some(Err(reason)) => return Err(Reason::Unknown(reason).into()),
                Some(Ok(addresses)) => addresses,
            },
        };
        let mut usable = self.empty();
        addresses
            .iter()
            .filter(|address| self.allows(&host, **address, port))
            .take(MAX_ADDRESSES)
            .for_each(|address| usable.push(SocketAddr::new(*address, port)));
        if usable.is_empty() {
            return Err(Reason::Refused.into());
        }
        Ok(usable)
    }
}

impl Guarded {
    fn allows(&self, host: &Host, address: IpAddr, port: u16) -> bool {
        self.allowed.as_ref().is_none_or(|list| {
            list.has_address(address, port) || matches!(host, Host::Name(name) if list.has_name(name, port))
        })
    }
}

fn host_and_port(uri: &Uri) -> Option<(Host, u16)> {
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    Some((Host::parse(uri.host()?)?, uri.port_u16().unwrap_or(usual)))
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::tests::spawn;
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
                scope.spawn(|| assert_eq!(names.find("a", SECOND).unwrap().unwrap().len(), 1));
            }
        });
        assert!(names.find("a", Duration::ZERO).is_some());
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
            assert!(names.find("a", Duration::from_millis(20)).is_none());
        }
        assert!(start.elapsed() < SECOND / 2);
        assert_eq!(COUNT.load(SeqCst), 1);
        assert!(names.find("a", 5 * SECOND).unwrap().unwrap_err().contains("late"));
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
                scope.spawn(move || assert!(names.find(&n.to_string(), 5 * SECOND).unwrap().is_ok()));
            }
        });
        assert!(MOST.load(SeqCst) <= MAX_LOOK_UPS);
    }

    #[test]
    fn a_thread_that_cannot_be_started_is_no_reason_to_wait() {
        let names = Names::new(|_| Ok(Vec::new()), |_| Err(std::io::Error::other("none left")));
        let start = Instant::now();
        assert!(names.find("a", 5 * SECOND).unwrap().unwrap_err().contains("none left"));
        assert!(start.elapsed() < SECOND);
    }

    #[test]
    fn neither_names_nor_their_addresses_are_kept_without_bound() {
        let names = Names::new(|_| Ok((0..1000_u32).map(|n| IpAddr::V4(n.into())).collect()), spawn);
        for n in 0..MAX_NAMES + 10 {
            let found = names.find(&n.to_string(), 5 * SECOND).unwrap().unwrap();
            assert_eq!(found.len(), MAX_ADDRESSES_KEPT);
        }
        assert!(names.lock().len() <= MAX_NAMES);
    }

    #[test]
    fn families_alternate() {
        let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let given = parse(&["::1", "::2", "::3", "1.1.1.1", "1.1.1.1", "2.2.2.2"]);
        assert_eq!(alternate(given), parse(&["::1", "1.1.1.1", "::2", "::3", "2.2.2.2"]));
    }
}
