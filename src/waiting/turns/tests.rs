use super::*;

fn turns(unfinished: &[Place], waiting: &[Place]) -> Turns {
    let mut turns = Turns::NOBODY;
    unfinished.iter().chain(waiting).for_each(|task| turns.note(*task));
    waiting.iter().for_each(|task| turns.add(*task));
    turns
}

/// Class, tasks, oldest and another one.
fn shown(groups: [Option<Group>; 2]) -> Vec<(&'static str, i64, i64, i64)> {
    let shown = |group: Group| (group.class.as_str(), group.tasks, group.oldest.1, group.other);
    groups.into_iter().flatten().map(shown).collect()
}

#[test]
fn the_first_is_ready_and_the_others_are_behind() {
    let own = turns(&[], &[(20, 2), (10, 3), (30, 1)]);
    assert_eq!(shown(own.groups(false, 1)), [("key_ready", 1, 3, 3), ("key_behind", 2, 2, 1)]);
    assert_eq!(shown(own.groups(false, 2)), [("key_ready", 3, 3, 1)]);
    assert_eq!(shown(own.groups(true, 1)), [("key_paused", 3, 3, 1)]);
}

#[test]
fn all_are_behind_one_that_does_not_wait() {
    let own = turns(&[(5, 9)], &[(10, 3)]);
    assert_eq!(shown(own.groups(false, 1)), [("key_behind", 1, 3, 3)]);
    let of_time = turns(&[(10, 2)], &[(10, 3)]);
    assert_eq!(shown(of_time.groups(false, 1)), [("key_behind", 1, 3, 3)]);
}

#[test]
fn the_other_one_of_those_behind_is_behind() {
    let own = turns(&[], &[(20, 2), (10, 3)]);
    assert_eq!(shown(own.groups(false, 1)), [("key_ready", 1, 3, 3), ("key_behind", 1, 2, 2)]);
    assert_eq!(shown(turns(&[], &[(1, 1)]).groups(false, 1)), [("key_ready", 1, 1, 1)]);
    assert_eq!(shown(turns(&[(1, 1)], &[]).groups(false, 1)), []);
}
