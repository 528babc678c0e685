use crate::axis::Axis;
use crate::number::{duration, short};
use crate::time::Zone;

fn labels(axis: &Axis) -> Vec<&str> {
    axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
}

#[test]
fn linear_axes_have_round_ticks() {
    assert_eq!(labels(&Axis::linear(87.0, short)), ["0", "50", "100"]);
    assert_eq!(labels(&Axis::linear(1.0, short)), ["0", "0.5", "1"]);
    assert_eq!(labels(&Axis::linear(4.0, short)), ["0", "1", "2", "3", "4"]);
    for most in [0.0, 0.001, 1.0, 3.7, 9.99, 10.0, 12_345.0, 1e12] {
        let axis = Axis::linear(most, short);
        assert!((2..=6).contains(&axis.ticks.len()), "{most}: {:?}", axis.ticks);
        assert!(axis.share(most) <= 1.0 && axis.share(0.0) == 0.0, "{most}");
        assert!(axis.ticks.last().unwrap().0 >= most, "{most}");
    }
}

#[test]
fn logarithmic_axes_go_from_one_power_of_ten_to_another() {
    assert_eq!(labels(&Axis::logarithmic(3.0, 300.0, duration)), ["1 ms", "10 ms", "100 ms", "1 s"]);
    assert_eq!(labels(&Axis::logarithmic(12.0, 14.0, duration)), ["10 ms", "20 ms", "50 ms", "100 ms"]);
    assert_eq!(labels(&Axis::logarithmic(10.0, 10.0, duration)), ["10 ms", "20 ms", "50 ms", "100 ms"]);
    for (least, most) in [(0.001, 1e9), (5.0, 5.0), (0.5, 80.0)] {
        let axis = Axis::logarithmic(least, most, duration);
        assert!((2..=9).contains(&axis.ticks.len()), "{:?}", axis.ticks);
        assert!((0.0..=1.0).contains(&axis.share(least)) && axis.share(most) >= axis.share(least));
    }
}

#[test]
fn axes_of_times_have_ticks_at_round_times_of_the_zone() {
    let day = 86_400.0;
    let axis = Axis::time(3600.0, day + 3600.0, Zone::default());
    assert_eq!(labels(&axis), ["04:00", "08:00", "12:00", "16:00", "20:00", "2 Jan"]);
    assert_eq!(
        labels(&Axis::time(0.0, 7200.0, Zone { offset: 1800 })),
        ["00:30", "01:00", "01:30", "02:00", "02:30"]
    );
    assert_eq!(labels(&Axis::time(0.0, 90.0 * day, Zone::default())), ["1 Jan", "31 Jan", "2 Mar", "1 Apr"]);
    for span in [60.0, 600.0, 5000.0, day, 3.0 * day, 10.0 * day, 366.0 * day] {
        let axis = Axis::time(1e9, 1e9 + span, Zone { offset: 19_800 });
        assert!((1..=7).contains(&axis.ticks.len()), "{span}: {:?}", axis.ticks);
        assert!(axis.ticks.iter().all(|(at, _)| (1e9..=1e9 + span).contains(at)));
    }
}
