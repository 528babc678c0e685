//! Plots of values over time, as SVG.

use crate::axis::Axis;
use maud::{Markup, html};
use std::fmt::Write;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 30.0;
/// How near to the right end a label is centred on its tick.
const LABEL: f64 = 24.0;

/// What a plot is called and what it shows, for those who see it and those who do not.
pub struct Title {
    pub id: &'static str,
    pub title: &'static str,
    pub description: String,
    /// What is said below it.
    pub remark: String,
}

/// Values over time. The times rise; values further apart than a step are not joined.
pub struct Series {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// The axes of a plot.
pub struct Axes {
    pub x: Axis,
    pub y: Axis,
}

impl Axes {
    fn x(&self, time: f64) -> f64 {
        LEFT + self.x.share(time) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.share(value) * (HEIGHT - TOP - BOTTOM)
    }

    fn grid(&self) -> Markup {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        html! {
            @for (value, label) in &self.y.ticks {
                @let y = self.y(*value);
                path class="grid" d=(format!("M{LEFT} {y:.1}H{right}")) {}
                text x=(LEFT - 8.0) y=(format!("{:.1}", y + 4.5)) text-anchor="end" { (label) }
            }
            path class="axis" d=(format!("M{LEFT} {bottom}H{right}")) {}
            @for (time, label) in &self.x.ticks {
                @let x = self.x(*time);
                path class="axis" d=(format!("M{x:.1} {bottom}v5")) {}
                @let anchor = if x > right - LABEL { "end" } else if x < LEFT + LABEL { "start" } else { "middle" };
                text x=(format!("{x:.1}")) y=(HEIGHT - 9.0) text-anchor=(anchor) { (label) }
            }
        }
    }

    /// A line through the points, with gaps where a step has none. A single point is a dot: a line without a length.
    fn line(&self, points: &[(f64, f64)], step: f64) -> String {
        let mut path = String::new();
        let mut previous: Option<f64> = None;
        for (index, (time, value)) in points.iter().enumerate() {
            let (x, y) = (self.x(time + step / 2.0), self.y(*value));
            let continues = previous.is_some_and(|before| time - before < step * 1.5);
            let _ = write!(path, "{}{x:.1} {y:.1}", if continues { 'L' } else { 'M' });
            let is_followed = points.get(index + 1).is_some_and(|(next, _)| next - time < step * 1.5);
            if !continues && !is_followed {
                path.push_str("h0");
            }
            previous = Some(*time);
        }
        path
    }

    /// A bar from 0 for each point.
    fn bars(&self, points: &[(f64, f64)], step: f64) -> String {
        let mut path = String::new();
        let bottom = HEIGHT - BOTTOM;
        for (time, value) in points {
            let (left, right, y) = (self.x(*time), self.x(time + step), self.y(*value));
            // Bars that are wide enough stand apart.
            let gap = if right - left > 3.0 { 1.0 } else { 0.0 };
            if *value > 0.0 && right > left {
                let y = y.min(bottom - 1.0);
                let _ = write!(path, "M{left:.1} {bottom}V{y:.1}H{:.1}V{bottom}z", right - gap);
            }
        }
        path
    }
}

/// A plot with a line for each series.
pub fn lines(title: &Title, axes: &Axes, series: &[Series], step: f64) -> Markup {
    let body = html! {
        @for (number, series) in series.iter().enumerate() {
            path class={ "line s" (number + 1) } d=(axes.line(&series.points, step)) {}
        }
    };
    let legend = html! {
        ul class="legend" {
            @for (number, series) in series.iter().enumerate() {
                li {
                    svg class="sample" viewBox="0 0 36 10" aria-hidden="true" {
                        path class={ "line s" (number + 1) } d="M2 5H34" {}
                    }
                    (series.name)
                }
            }
        }
    };
    figure(
        title,
        axes,
        &body,
        &if series.len() > 1 {
            legend
        } else {
            html! {}
        },
    )
}

/// A plot with bars of one kind.
pub fn bars(title: &Title, axes: &Axes, class: &str, points: &[(f64, f64)], step: f64) -> Markup {
    let body = html! { path class={ "bar " (class) } d=(axes.bars(points, step)) {} };
    figure(title, axes, &body, &html! {})
}

fn figure(title: &Title, axes: &Axes, body: &Markup, legend: &Markup) -> Markup {
    let Title { id, title, description, remark } = title;
    html! {
        figure {
            figcaption { strong { (title) } " " span class="remark" { (remark) } }
            (legend)
            svg class="plot" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img"
                aria-labelledby={ "plot-" (id) "-title plot-" (id) "-desc" }
            {
                title id={ "plot-" (id) "-title" } { (title) }
                desc id={ "plot-" (id) "-desc" } { (description) }
                (axes.grid())
                (body)
            }
        }
    }
}
