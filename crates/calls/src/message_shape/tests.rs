use super::of;

#[test]
fn what_varies_is_replaced() {
    for (message, shape) in [
        ("", ""),
        ("division by zero", "division by zero"),
        ("  two \n\t lines\r\n", "two lines"),
        ("task 42 took 1.5 s of 1,000.25", "task <n> took <n> s of <n>"),
        ("step_7 of v2: -3, 100%", "step_<n> of v<n>: -<n>, <n>%"),
        ("host 10.0.0.17:8080 is down", "host <n>:<n> is down"),
        ("there is no customer 0017.", "there is no customer <n>."),
        ("relation \"orders_17\" does not exist", "relation \"…\" does not exist"),
        ("invalid input syntax for type uuid: \"x \"y\"", "invalid input syntax for type uuid: \"…\""),
        ("can't open 'a b' or `c`", "can't open \"…\" or \"…\""),
        ("the users' files, users' names", "the users' files, users' names"),
        ("“one” «two» ‘three’", "\"…\" \"…\" \"…\""),
        ("an \"open quote", "an \"open quote"),
        ("order 6f1c2a34-0d5e-4b1f-9a77-2f00aa11bb22 failed", "order <uuid> failed"),
        ("at 0x7ffDE01, digest d41d8cd98f00b204e9800998ecf8427e", "at <hex>, digest <hex>"),
        ("facade deadbeef decade", "facade deadbeef decade"),
        ("no mailbox for jane.doe+x@mail.example.", "no mailbox for <email>."),
        ("user@[broken] and @name", "user@[broken] and @name"),
        ("since 2026-11-30", "since <time>"),
        ("since 2026-11-30 11:00:01.123+01, until 2026-11-30T12:00:00Z.", "since <time>, until <time>."),
        ("at 11:59 or 11:59:30.5 in 1999-12-31-x", "at <time> or <time> in <time>-x"),
        ("Größe 5 für Zürich", "Größe <n> für Zürich"),
    ] {
        assert_eq!(of(message), shape, "{message}");
    }
}

#[test]
fn a_shape_is_its_own_shape() {
    for message in ["x 1 'y' a@b.c 2026-11-30 0xff 6f1c2a34-0d5e-4b1f-9a77-2f00aa11bb22", "«a» b", "1.2.3.4"]
    {
        let shape = of(message);
        assert_eq!(of(&shape), shape);
    }
}

#[test]
fn long_messages_are_cut_and_hostile_ones_end() {
    let shape = of(&"word ".repeat(1000));
    assert!(shape.chars().count() <= super::EXAMINED + 1 && shape.ends_with('…'));
    for part in ["\"a ", "'", "1.", "a@", "0x", "é\"é", "\u{2028}", "11:", "2026-11-30T"] {
        of(&part.repeat(10_000));
    }
}
