//! Axes: from which value to which one they go, and where their ticks are.

use crate::time::Zone;

/// From values to a share of the length of the axis, with ticks.
pub struct Axis {
    from: f64,
    to: f64,
    is_logarithmic: bool,
    /// The values with their labels.
    pub ticks: Vec<(f64, String)>,
}

/// How many ticks an axis of times has at most.
const TIME_TICKS: f64 = 6.0;
const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;
/// The steps between ticks of times.
const STEPS: [f64; 15] = [
    MINUTE,
    5.0 * MINUTE,
    10.0 * MINUTE,
    15.0 * MINUTE,
    30.0 * MINUTE,
    HOUR,
    2.0 * HOUR,
    4.0 * HOUR,
    6.0 * HOUR,
    12.0 * HOUR,
    DAY,
    2.0 * DAY,
    7.0 * DAY,
    30.0 * DAY,
    90.0 * DAY,
];

impl Axis {
    /// From 0 to a round number that is not below `most`.
    pub fn linear(most: f64, label: impl Fn(f64) -> String) -> Axis {
        let step = round_step(most.max(f64::MIN_POSITIVE) / 4.0);
        let steps = (most / step).ceil().max(1.0) as u32;
        let ticks = (0..=steps).map(|number| f64::from(number) * step);
        let to = f64::from(steps) * step;
        Axis { from: 0.0, to, is_logarithmic: false, ticks: ticks.map(|at| (at, label(at))).collect() }
    }

    /// From a power of ten to another one, around values that are above 0.
    pub fn logarithmic(least: f64, most: f64, label: impl Fn(f64) -> String) -> Axis {
        let first = (least.log10() + 1e-9).floor() as i32;
        let last = ((most.log10() - 1e-9).ceil() as i32).max(first + 1);
        let factors: &[f64] = if last - first > 2 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let every = if last - first > 6 { 2 } else { 1 };
        let decades = (first..last).step_by(every);
        let within = decades.flat_map(|decade| factors.iter().map(move |factor| factor * 10f64.powi(decade)));
        let to = 10f64.powi(last);
        let ticks = within.chain([to]).map(|at| (at, label(at))).collect();
        Axis { from: 10f64.powi(first), to, is_logarithmic: true, ticks }
    }

    /// A span of time, with ticks at round times of a time zone.
    pub fn time(from: f64, to: f64, zone: Zone) -> Axis {
        let fits = |step: &&f64| (to - from) / **step <= TIME_TICKS;
        let step = STEPS.iter().find(fits).copied().unwrap_or(STEPS[STEPS.len() - 1]);
        let offset = zone.offset as f64;
        let first = ((from + offset) / step).ceil() * step - offset;
        let ticks = (0..=TIME_TICKS as u32).map(|number| first + f64::from(number) * step);
        let ticks = ticks.take_while(|at| *at <= to).map(|at| (at, zone.label(at))).collect();
        Axis { from, to, is_logarithmic: false, ticks }
    }

    /// Where a value is: 0 at the beginning, 1 at the end. Values beyond an end are at it.
    pub fn share(&self, value: f64) -> f64 {
        let share = if self.is_logarithmic {
            (value.max(f64::MIN_POSITIVE) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below a number.
fn round_step(number: f64) -> f64 {
    let power = 10f64.powf(number.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= number * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}
