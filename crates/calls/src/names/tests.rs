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
            scope.spawn(|| assert_eq!(names.find("a", ChosenBy::Payload, SECOND).unwrap().unwrap().len(), 1));
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
    // The name has to be looked up again.
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
