use crate::number::{duration, integer, percent, short};
use crate::text::{ascii, count, shown};
use crate::time::Zone;

#[test]
fn texts_are_cut_and_harmless() {
    assert_eq!(shown("abc", 3), "abc");
    assert_eq!(shown("abcd", 3), "abc…");
    assert_eq!(shown("a\nb\tc\u{2028}d", 9), "a b c d");
    assert_eq!(shown("\0\u{1b}\u{7f}", 9), "␀␛␡");
    for hostile in ['\u{202e}', '\u{2066}', '\u{200b}', '\u{85}', '\u{feff}', '\u{fffe}', '\u{1ffff}'] {
        assert_eq!(shown(&hostile.to_string(), 9), "\u{fffd}", "{hostile:?}");
    }
    assert_eq!((shown("é💣", 4), shown("é💣", 3)), ("é💣".into(), "é…".into()));
    assert_eq!(ascii("é<💣"), "&#233;<&#128163;");
}

#[test]
fn numbers_have_the_digits_that_matter() {
    for (number, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (-1_234_567, "-1,234,567")] {
        assert_eq!(integer(number), expected);
    }
    assert_eq!(integer(i64::MIN), "-9,223,372,036,854,775,808");
    for (number, expected) in [
        (0.0, "0"),
        (0.25, "0.25"),
        (0.01, "0.01"),
        (2.0, "2"),
        (12.34, "12.3"),
        (99.96, "100"),
        (1234.5, "1,235"),
    ] {
        assert_eq!(short(number), expected, "{number}");
    }
    for (time, expected) in [
        (0.0, "0 ms"),
        (0.05, "50 µs"),
        (1.0, "1 ms"),
        (950.0, "950 ms"),
        (60_000.0, "60 s"),
        (600_000.0, "10 min"),
        (7_200_000.0, "2 h"),
        (864_000_000.0, "10 d"),
    ] {
        assert_eq!(duration(time), expected);
    }
    assert_eq!(percent(1.0, 3.0).unwrap(), "33.3 %");
    assert_eq!(percent(1.0, 0.0), None);
    assert_eq!((count(1, "task"), count(2000, "task")), ("1 task".into(), "2,000 tasks".into()));
}

#[test]
fn times_are_those_of_the_zone() {
    let (utc, east, west) = (Zone::default(), Zone { offset: 5400 }, Zone { offset: -3600 });
    assert_eq!(utc.moment(0.0), "1970-01-01 00:00:00");
    assert_eq!(utc.moment(-1.0), "1969-12-31 23:59:59");
    assert_eq!(utc.moment(951_782_400.0), "2000-02-29 00:00:00");
    assert_eq!(utc.moment(1_735_689_599.9), "2024-12-31 23:59:59");
    assert_eq!(east.minute(0.0), "1970-01-01 01:30");
    assert_eq!(west.minute(0.0), "1969-12-31 23:00");
    assert_eq!((utc.label(0.0), east.label(0.0)), ("1 Jan".into(), "01:30".into()));
    assert_eq!((east.name(), west.name()), ("UTC+01:30".into(), "UTC-01:00".into()));
}
