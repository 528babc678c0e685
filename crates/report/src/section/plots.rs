//! What ended over time, and how long it took.

use crate::axis::Axis;
use crate::facts::{Bin, Facts, Head, History, Quantiles};
use crate::number::{duration, integer, short};
use crate::plot::{Axes, Series, Title, bars, lines};
use crate::table::section;
use crate::time::Zone;
use maud::{Markup, html};

/// The span of a plot, and the length of a step.
struct Span {
    from: f64,
    to: f64,
    step: f64,
    zone: Zone,
}

impl Span {
    fn axis(&self) -> Axis {
        Axis::time(self.from, self.to, self.zone)
    }

    /// How long a step lasted within the span.
    fn seconds_of(&self, bin: &Bin) -> f64 {
        ((bin.at + self.step).min(self.to) - bin.at.max(self.from)).max(1.0)
    }

    fn step_text(&self) -> String {
        duration(self.step * 1000.0)
    }
}

pub fn plots(facts: &Facts, zone: Zone) -> Markup {
    section("time", "Over time", &facts.history, |history| match &facts.head {
        Ok(head) if !history.bins.is_empty() => all(history, head, zone),
        _ => html! {
            p class="note" {
                "Nothing has ended in this span, as far as queues.stats_history knows. The workers write it once a minute."
            }
        },
    })
}

fn all(history: &History, head: &Head, zone: Zone) -> Markup {
    let span = Span { from: head.from, to: head.to.max(head.from + 60.0), step: history.step, zone };
    let bins = &history.bins;
    let any = |of: fn(&Bin) -> i64| bins.iter().any(|bin| of(bin) > 0);
    html! {
        div class="plots" {
            (throughput(&span, bins, "ended", "Tasks that ended", "ended", Bin::ended))
            @if any(failed) {
                (throughput(&span, bins, "failed", "Tasks that failed or were cancelled", "failed", failed))
            }
            (times(&span, bins, "waiting", "Waiting time", |bin| &bin.waiting))
            (times(&span, bins, "running", "Running time", |bin| &bin.running))
            @if any(|bin| bin.calls) {
                (times(&span, bins, "provider", "Time of calls to providers", |bin| &bin.provider))
            }
            @if any(|bin| bin.failed_calls) {
                (throughput(&span, bins, "failed-calls", "Calls that failed", "failed", |bin| bin.failed_calls))
            }
            (busy(&span, bins))
        }
        p class="remark" {
            "A step is " (span.step_text()) ". Times: 50, 95 and 99 % of the tasks of a minute or hour took at most that long; of \
             several ones in a step, the highest is shown. Where nothing ended there is a gap. Workers write the history once a \
             minute: what has ended since is not there yet."
        }
    }
}

fn failed(bin: &Bin) -> i64 {
    bin.failed + bin.cancelled
}

/// Units for a rate, with their length in seconds.
const UNITS: [(f64, &str); 3] = [(1.0, "second"), (60.0, "minute"), (3600.0, "hour")];

fn throughput(
    span: &Span,
    bins: &[Bin],
    id: &'static str,
    title: &'static str,
    class: &str,
    of: impl Fn(&Bin) -> i64,
) -> Markup {
    let rates = bins.iter().map(|bin| (bin.at, of(bin) as f64 / span.seconds_of(bin)));
    let rates: Vec<(f64, f64)> = rates.collect();
    let most = rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    let (seconds, unit) = UNITS.into_iter().find(|(seconds, _)| most * seconds >= 1.0).unwrap_or(UNITS[2]);
    let points: Vec<(f64, f64)> = rates.into_iter().map(|(at, rate)| (at, rate * seconds)).collect();
    let all: i64 = bins.iter().map(of).sum();
    let about = Title {
        id,
        title,
        description: format!(
            "Bars over time. {} in all, at most {} per {unit}.",
            integer(all),
            short(most * seconds)
        ),
        remark: format!("per {unit}; {} in all", integer(all)),
    };
    let axes = Axes { x: span.axis(), y: Axis::linear(most * seconds, short) };
    bars(&about, &axes, class, &points, span.step)
}

const NAMES: [&str; 3] = ["p50", "p95", "p99"];

fn times(
    span: &Span,
    bins: &[Bin],
    id: &'static str,
    title: &'static str,
    of: impl Fn(&Bin) -> &Quantiles,
) -> Markup {
    let points = |number: usize| {
        bins.iter().filter_map(|bin| Some((bin.at, of(bin)[number].filter(|time| *time > 0.0)?))).collect()
    };
    let series = [0, 1, 2].map(|number| Series { name: NAMES[number], points: points(number) });
    let values = || series.iter().flat_map(|series| &series.points).map(|(_, value)| *value);
    let Some((least, most)) = values().reduce(f64::min).zip(values().reduce(f64::max)) else {
        return html! {};
    };
    let about = Title {
        id,
        title,
        description: format!(
            "Three lines over time, for 50, 95 and 99 %: from {} to {}.",
            duration(least),
            duration(most)
        ),
        remark: "logarithmic scale".into(),
    };
    lines(&about, &Axes { x: span.axis(), y: Axis::logarithmic(least, most, duration) }, &series, span.step)
}

fn busy(span: &Span, bins: &[Bin]) -> Markup {
    let points: Vec<(f64, f64)> = bins.iter().map(|bin| (bin.at, bin.busy_workers as f64)).collect();
    let most = points.iter().map(|(_, workers)| *workers).fold(0.0, f64::max);
    let about = Title {
        id: "busy",
        title: "Busy workers",
        description: format!("Bars over time: at most {} workers were busy.", short(most)),
        remark: "the largest number of a step".into(),
    };
    let axes = Axes { x: span.axis(), y: Axis::linear(most.max(1.0), short) };
    bars(&about, &axes, "ended", &points, span.step)
}
