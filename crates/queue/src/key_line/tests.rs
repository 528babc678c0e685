use super::*;

const WINDOW: usize = 8;

struct Keys {
    line: KeyLine,
    entries: [KeyEntry; WINDOW],
}

fn key(number: i64) -> Key {
    Key { task_type: 1, queue_key: number }
}

fn entry(number: i64, since: i64) -> KeyEntry {
    KeyEntry { key: key(number), since, priority: 0, max_running: 1, after: None }
}

impl Keys {
    fn new() -> Keys {
        Keys { line: KeyLine::NEW, entries: [KeyEntry::NONE; WINDOW] }
    }

    /// All keys are known: there are none.
    fn known() -> Keys {
        let mut keys = Keys::new();
        keys.read(&[], None);
        keys
    }

    fn window(&mut self) -> KeyWindow<'_> {
        KeyWindow { line: &mut self.line, entries: &mut self.entries }
    }

    fn read(&mut self, entries: &[KeyEntry], end: Option<Key>) {
        self.window().publish(&ReadKeys { entries, end, now: 100, is_unused: false });
    }

    fn hand_over(&mut self, entry: KeyEntry) {
        self.window().hand_over(entry);
    }

    fn all(&mut self) -> Vec<i64> {
        std::iter::from_fn(|| self.window().take()).map(|entry| entry.key.queue_key).collect()
    }
}

#[test]
fn keys_come_by_priority_and_time_and_only_once() {
    let mut keys = Keys::known();
    keys.hand_over(entry(1, 30));
    keys.hand_over(entry(2, 10));
    keys.hand_over(KeyEntry { priority: 5, ..entry(3, 40) });
    keys.hand_over(entry(1, 50));
    assert_eq!(keys.all(), [3, 2, 1]);
    keys.hand_over(entry(1, 30));
    keys.hand_over(entry(2, 20));
    // An earlier task moves the key forward.
    keys.hand_over(entry(1, 10));
    assert_eq!(keys.all(), [1, 2]);
    assert_eq!(keys.line.ends, 0);
}

#[test]
fn keys_that_find_no_room_are_read_later() {
    let mut keys = Keys::known();
    (1..=9).for_each(|number| keys.hand_over(entry(number, number)));
    assert!(!keys.window().wants_reading(), "the window is full");
    assert_eq!(keys.line.ends, 1);
    for _ in 0..5 {
        keys.window().take();
    }
    assert!(keys.window().wants_reading());
    keys.read(&[entry(9, 9)], None);
    assert!(!keys.line.is_unread());
    assert_eq!(keys.all(), [6, 7, 8, 9]);
}

#[test]
fn a_key_that_is_dropped_behind_the_cursor_is_found_in_the_next_round() {
    let mut keys = Keys::new();
    keys.read(&[entry(1, 1), entry(2, 2), entry(3, 3)], Some(key(3)));
    for number in 10..=20 {
        keys.hand_over(entry(number, number));
    }
    assert_eq!(keys.line.ends, 2);
    keys.all();
    keys.read(&[], None);
    assert!(keys.window().wants_reading(), "only the keys after the cursor have been read");
    keys.read(&[], None);
    assert!(!keys.window().wants_reading());
}

#[test]
fn what_finds_no_room_while_it_is_read_is_read_again() {
    let mut keys = Keys::new();
    let found: Vec<KeyEntry> = (1..=10).map(|number| entry(number, 1)).collect();
    keys.read(&found, None);
    assert_eq!((keys.line.cursor, keys.line.ends), (key(8), 1));
    assert_eq!(keys.all().len(), WINDOW);
}

#[test]
fn many_keys_take_turns() {
    const KEYS: i64 = 50;
    let mut keys = Keys::new();
    let mut turns = vec![0; KEYS as usize];
    for _ in 0..KEYS * 20 {
        if keys.window().wants_reading() {
            let after = keys.line.cursor;
            let found: Vec<KeyEntry> = (0..KEYS)
                .map(|number| entry(number, 1))
                .filter(|found| found.key > after)
                .take(WINDOW)
                .collect();
            let end = (found.len() == WINDOW).then(|| found[WINDOW - 1].key);
            keys.read(&found, end);
        }
        let taken = keys.window().take().unwrap();
        turns[taken.key.queue_key as usize] += 1;
        // Each key has another task to run.
        keys.hand_over(KeyEntry { since: 1000, ..taken });
    }
    let (least, most) = (turns.iter().min().unwrap(), turns.iter().max().unwrap());
    assert!(most - least <= 2, "{turns:?}");
}

#[test]
fn a_key_with_a_later_task_waits_for_one_round_of_older_ones_at_most() {
    const KEYS: i64 = 50;
    let mut keys = Keys::new();
    let mut seen = 0;
    for turn in 0..KEYS * 3 {
        if keys.window().wants_reading() {
            let after = keys.line.cursor;
            // The task of key 7 is later than all those of the others, which never end.
            let since = |number| if number == 7 { 90 } else { 1 };
            let found: Vec<KeyEntry> = (0..KEYS)
                .map(|number| entry(number, since(number)))
                .filter(|found| found.key > after)
                .take(WINDOW)
                .collect();
            let end = (found.len() == WINDOW).then(|| found[WINDOW - 1].key);
            keys.read(&found, end);
        }
        let taken = keys.window().take().unwrap();
        keys.hand_over(KeyEntry { since: 1000, ..taken });
        if taken.key == key(7) {
            seen = turn;
            break;
        }
    }
    assert!((1..=KEYS + WINDOW as i64).contains(&seen), "{seen}");
}

#[test]
fn a_key_of_a_high_priority_finds_room_in_a_full_window() {
    let mut keys = Keys::known();
    (1..=20).for_each(|number| keys.hand_over(entry(number, number)));
    keys.hand_over(KeyEntry { priority: 9, ..entry(99, 99) });
    assert_eq!(keys.all()[0], 99);
}

#[test]
fn a_known_key_takes_over_how_many_tasks_may_run() {
    let mut keys = Keys::known();
    keys.hand_over(KeyEntry { max_running: 3, ..entry(1, 5) });
    keys.hand_over(entry(1, 9));
    assert_eq!(keys.window().take(), Some(entry(1, 5)));
}
