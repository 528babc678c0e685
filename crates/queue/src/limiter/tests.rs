use super::*;

const HERE: DatabaseId = DatabaseId::new(5);
const THERE: DatabaseId = DatabaseId::new(6);
const TERMS: Terms = Terms {
    account: 7,
    interval: 500,
    burst: 1,
    max_in_flight: 0,
    breaker_threshold: 0,
    breaker_cooldown: 0,
};

#[test]
fn requests_are_spread_evenly() {
    let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
    assert_eq!(limiter.admit(HERE, &TERMS, 0, 1_000), Admission::Admitted);
    assert_eq!(limiter.admit(HERE, &TERMS, 0, 1_000), Admission::Wait(1_500));
    assert_eq!(limiter.admit(HERE, &TERMS, 0, 1_499), Admission::Wait(1_500));
    assert_eq!(limiter.admit(HERE, &TERMS, 0, 1_500), Admission::Admitted);
    assert_eq!(limiter.admit(HERE, &TERMS, 0, 9_000), Admission::Admitted);
    assert_eq!(limiter.admit(HERE, &TERMS, 0, 9_000), Admission::Wait(9_500));
}

#[test]
fn what_is_given_back_goes_to_the_next_request() {
    let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
    let terms = Terms { burst: 2, ..TERMS };
    for _ in 0..5 {
        assert_eq!(limiter.admit(HERE, &terms, 0, 1_000), Admission::Admitted);
        assert!(limiter.give_back(HERE, &terms, 1_000));
    }
    let admitted = (0..10).filter(|_| limiter.admit(HERE, &terms, 0, 1_000) == Admission::Admitted).count();
    assert_eq!(admitted, 2);
}

#[test]
fn a_request_that_is_not_sent_after_a_pause_leaves_that_to_the_next_one() {
    for interval in [0, 500] {
        let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
        let terms = Terms { interval, ..TERMS };
        limiter.pause(HERE, 7, 2_000, 1_000);
        assert_eq!(limiter.admit(HERE, &terms, 0, 2_000), Admission::Admitted);
        assert_eq!(limiter.admit(HERE, &terms, 0, 2_001), Admission::Wait(2_000 + PROBE));
        assert!(limiter.give_back(HERE, &terms, 2_001));
        // The next request is the only one, too, until it has succeeded.
        assert_eq!(limiter.admit(HERE, &terms, 0, 2_001), Admission::Admitted);
        assert_eq!(limiter.admit(HERE, &terms, 0, 2_600), Admission::Wait(2_001 + PROBE));
        assert!(limiter.note(HERE, &terms, CallOutcome::Well, 2_700).resumed);
        assert_eq!(limiter.admit(HERE, &terms, 0, 2_700), Admission::Admitted);
        assert_eq!(limiter.give_back(HERE, &terms, 2_700), interval > 0);
    }
}

#[test]
fn after_a_pause_a_burst_may_go_out() {
    let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
    let terms = Terms { burst: 3, ..TERMS };
    let admitted = (0..10).filter(|_| limiter.admit(HERE, &terms, 0, 1_000) == Admission::Admitted).count();
    assert_eq!(admitted, 3);
    assert_eq!(limiter.admit(HERE, &terms, 0, 1_000), Admission::Wait(1_500));
}

#[test]
fn a_clock_that_is_set_back_costs_one_wait_however_often_it_is_looked_at() {
    for noticed in [false, true] {
        let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
        assert_eq!(limiter.admit(HERE, &TERMS, 0, 1_000_000), Admission::Admitted);
        if noticed {
            limiter.set_clock_back(1_000);
        }
        assert_eq!(limiter.admit(HERE, &TERMS, 0, 1_000), Admission::Wait(1_500));
        for now in 1_001..1_500 {
            assert_eq!(limiter.admit(HERE, &TERMS, 0, now), Admission::Wait(1_500));
        }
        assert_eq!(limiter.admit(HERE, &TERMS, 0, 1_500), Admission::Admitted);
    }
}

#[test]
fn a_changed_rate_counts_at_once() {
    let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
    let slow = Terms { interval: 1_000_000_000, ..TERMS };
    assert_eq!(limiter.admit(HERE, &slow, 0, 1_000), Admission::Admitted);
    assert_eq!(limiter.admit(HERE, &slow, 0, 2_000), Admission::Wait(1_000_001_000));
    assert_eq!(limiter.admit(HERE, &TERMS, 0, 2_000), Admission::Admitted);
    assert_eq!(limiter.admit(HERE, &TERMS, 0, 2_000), Admission::Wait(2_500));
    // With the first rate, the earlier request counts again.
    assert_eq!(limiter.admit(HERE, &slow, 0, 3_000), Admission::Wait(1_000_001_000));
}

#[test]
fn in_any_span_of_time_no_more_than_the_burst_and_what_is_earned() {
    let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
    let terms = Terms { burst: 4, ..TERMS };
    let times: Vec<i64> = (0..100_000)
        .step_by(37)
        .filter(|now| limiter.admit(HERE, &terms, 0, *now) == Admission::Admitted)
        .collect();
    for (i, from) in times.iter().enumerate() {
        for (n, to) in times[i..].iter().enumerate() {
            assert!((n as i64) < 4 + (to - from) / 500, "{from} {to}");
        }
    }
    assert!(times.len() > 190);
}

#[test]
fn accounts_do_not_concern_each_other() {
    let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
    limiter.pause(HERE, 7, 5_000, 0);
    assert_eq!(limiter.admit(HERE, &TERMS, 0, 1_000), Admission::Wait(5_000));
    assert_eq!(limiter.admit(HERE, &Terms { account: 8, ..TERMS }, 0, 1_000), Admission::Admitted);
    // A shorter pause does not end a longer one.
    limiter.pause(HERE, 7, 2_000, 0);
    assert_eq!(limiter.admit(HERE, &TERMS, 0, 2_000), Admission::Wait(5_000));
    assert_eq!(limiter.admit(HERE, &TERMS, 0, 5_000), Admission::Admitted);
}

#[test]
fn after_a_pause_one_request_goes_first() {
    let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
    let terms = Terms { interval: 0, ..TERMS };
    limiter.pause(HERE, 7, 5_000, 0);
    assert_eq!(limiter.admit(HERE, &terms, 0, 5_000), Admission::Admitted);
    assert_eq!(limiter.admit(HERE, &terms, 0, 5_001), Admission::Wait(5_000 + PROBE));
    limiter.pause(HERE, 7, 9_000, 5_002);
    assert!(!limiter.note(HERE, &terms, CallOutcome::Refused, 5_002).resumed);
    assert_eq!(limiter.admit(HERE, &terms, 0, 9_000 + PROBE), Admission::Admitted);
    assert!(limiter.note(HERE, &terms, CallOutcome::Well, 10_000).resumed);
    assert_eq!(limiter.admit(HERE, &terms, 0, 10_000), Admission::Admitted);
    assert_eq!(limiter.admit(HERE, &terms, 0, 10_000), Admission::Admitted);
}

#[test]
fn a_paused_account_is_not_forgotten_for_others() {
    let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
    limiter.pause(HERE, 7, 5_000, 0);
    for account in 100..100 + 2 * MAX_ACCOUNTS as u64 {
        limiter.admit(HERE, &Terms { account, ..TERMS }, 0, 1_000);
    }
    assert_eq!(limiter.admit(HERE, &TERMS, 0, 1_000), Admission::Wait(5_000));
}

#[test]
fn a_full_provider_takes_no_call() {
    let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
    let terms = Terms { max_in_flight: 2, ..TERMS };
    assert_eq!(limiter.admit(HERE, &terms, 2, 1_000), Admission::Full);
    assert_eq!(limiter.admit(HERE, &terms, 1, 1_000), Admission::Admitted);
}

#[test]
fn failures_in_a_row_are_followed_by_a_pause() {
    let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
    let terms = Terms { interval: 0, breaker_threshold: 2, breaker_cooldown: 1_000, ..TERMS };
    limiter.note(HERE, &terms, CallOutcome::Badly, 0);
    limiter.note(HERE, &terms, CallOutcome::Well, 0);
    limiter.note(HERE, &terms, CallOutcome::Badly, 0);
    assert_eq!(limiter.admit(HERE, &terms, 0, 0), Admission::Admitted);
    limiter.note(HERE, &terms, CallOutcome::Badly, 10);
    assert_eq!(limiter.admit(HERE, &terms, 0, 20), Admission::Wait(1_010));
}

#[test]
fn one_database_s_pauses_breakers_and_slower_rate_are_not_another_s() {
    let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
    let broken = Terms { interval: 0, breaker_threshold: 1, breaker_cooldown: 1_000_000, ..TERMS };
    let plain = Terms { interval: 0, ..TERMS };
    let opened = limiter.note(THERE, &broken, CallOutcome::Badly, 0);
    assert_eq!(opened.breaker, Some(Breaker::Opened(1_000_000)));
    // The event is reported once.
    assert_eq!(limiter.note(THERE, &broken, CallOutcome::Badly, 1).breaker, None);
    assert_eq!(limiter.admit(THERE, &broken, 0, 10), Admission::Wait(1_000_001));
    assert_eq!(limiter.admit(HERE, &plain, 0, 10), Admission::Admitted);
    limiter.pause(THERE, 7, 2_000_000, 10);
    assert_eq!(limiter.admit(HERE, &plain, 0, 10), Admission::Admitted);

    limiter.keep_status(THERE, broken.account, CallOutcome::Badly, 500, 10);
    assert_eq!(limiter.state(THERE, &broken, 0, 10).failed_in_a_row, 1);
    limiter.close_breakers(THERE);
    assert_eq!(limiter.state(THERE, &broken, 0, 10).failed_in_a_row, 0);
    assert_eq!(limiter.admit(THERE, &broken, 0, 10), Admission::Wait(2_000_000));

    let slow = Terms { interval: 1_000_000, ..TERMS };
    assert_eq!(limiter.admit(DatabaseId::new(8), &slow, 0, 10), Admission::Admitted);
    assert_eq!(limiter.admit(HERE, &TERMS, 0, 10), Admission::Admitted);
    // The same rate is shared.
    assert_eq!(limiter.admit(DatabaseId::new(8), &TERMS, 0, 10), Admission::Wait(510));
}

#[test]
fn a_breaker_closes_with_the_first_call_that_goes_well_after_its_pause() {
    let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
    let terms = Terms { interval: 0, breaker_threshold: 1, breaker_cooldown: 1_000, ..TERMS };
    limiter.note(HERE, &terms, CallOutcome::Badly, 0);
    assert_eq!(limiter.admit(HERE, &terms, 0, 1_000), Admission::Admitted);
    let noted = limiter.note(HERE, &terms, CallOutcome::Well, 1_500);
    assert_eq!(noted, Noted { resumed: true, breaker: Some(Breaker::Closed) });
    assert_eq!(limiter.admit(HERE, &terms, 0, 1_501), Admission::Admitted);
}

#[test]
fn a_database_with_many_accounts_has_none_of_another_forgotten() {
    let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
    let terms = Terms { breaker_threshold: 2, breaker_cooldown: 1_000, ..TERMS };
    limiter.note(HERE, &terms, CallOutcome::Badly, 0);
    limiter.admit(HERE, &terms, 0, 0);
    for account in 100..100 + 2 * MAX_ACCOUNTS as u64 {
        limiter.admit(THERE, &Terms { account, interval: 40_000, ..terms }, 0, 10);
        limiter.pause(THERE, account, i64::MAX, 10);
    }
    assert_eq!(limiter.admit(HERE, &terms, 0, 10), Admission::Wait(500));
    assert!(limiter.note(HERE, &terms, CallOutcome::Badly, 10).breaker.is_some());
}

#[test]
fn calls_are_counted_by_account() {
    let mut calls = InFlight::NONE;
    [5, 6, 5].into_iter().for_each(|account| calls.add(account));
    assert_eq!((calls.of(5), calls.of(6), calls.of(9)), (2, 1, 0));
}
