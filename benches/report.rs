//! Turns the readings of all runs into rows of the table.

use std::fmt::{self, Display, Formatter};

use crate::programs;
use crate::statistics::median;

pub const HEAD: &str = "\
| figure | measured (median) | spread over runs | limit next to it | ratio | asked |
| --- | --- | --- | --- | --- | --- |";

/// The target of a figure.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    AtLeast(f64),
    AtMost(f64),
    RatioAtLeast(f64),
    RatioAtMost(f64),
}

/// One number of one run.
#[derive(Clone, Debug)]
pub struct Reading {
    name: String,
    value: f64,
    unit: &'static str,
    limit: Option<(String, f64)>,
    asked: Option<Asked>,
}

impl Reading {
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, limit: None, asked: None }
    }

    /// Sets the value to which the reading is related, measured in the same run.
    pub fn beside(self, name: impl Into<String>, value: f64) -> Self {
        Self { limit: Some((name.into(), value)), ..self }
    }

    /// Sets the target.
    pub fn asked(self, asked: Asked) -> Self {
        Self { asked: Some(asked), ..self }
    }

    fn ratio(&self) -> Option<f64> {
        self.limit.as_ref().map(|(_, limit)| self.value / limit)
    }
}

/// The reading as shown during the run.
impl Display for Reading {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{}: {} {}", self.name, number(self.value), self.unit)?;
        match (&self.limit, self.ratio()) {
            (Some((name, limit)), Some(ratio)) => {
                write!(f, " ({} of {name}: {})", number(ratio), number(*limit))
            }
            _ => Ok(()),
        }
    }
}

impl Asked {
    fn reached(self, value: f64, ratio: Option<f64>) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
            Self::RatioAtLeast(least) => ratio.is_some_and(|ratio| ratio >= least),
            Self::RatioAtMost(most) => ratio.is_some_and(|ratio| ratio <= most),
        }
    }

    fn text(self, unit: &str) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {} {unit}", number(least)),
            Self::AtMost(most) => format!("≤ {} {unit}", number(most)),
            Self::RatioAtLeast(least) => format!("≥ {} ×", number(least)),
            Self::RatioAtMost(most) => format!("≤ {} ×", number(most)),
        }
    }
}

/// All runs of one figure.
pub struct Report {
    figure: &'static str,
    /// The readings by name, in the order of the first one of each.
    readings: Vec<Vec<Reading>>,
    notes: Vec<String>,
}

impl Report {
    pub fn new(figure: &'static str) -> Self {
        Self { figure, readings: Vec::new(), notes: Vec::new() }
    }

    /// Adds the readings of a run.
    pub fn add(&mut self, readings: Vec<Reading>, notes: Vec<String>) {
        for reading in readings {
            match self.readings.iter_mut().find(|earlier| earlier[0].name == reading.name) {
                Some(earlier) => earlier.push(reading),
                None => self.readings.push(vec![reading]),
            }
        }
        self.notes = notes;
    }

    /// The figure's rows of the table.
    pub fn rows(&self) -> String {
        self.readings.iter().map(|runs| format!("{}\n", row(self.figure, runs))).collect()
    }

    /// The texts of the last run.
    pub fn notes(&self) -> Vec<String> {
        self.notes.iter().map(|note| format!("`{}`: {note}", self.figure)).collect()
    }
}

fn row(figure: &str, runs: &[Reading]) -> String {
    let first = &runs[0];
    let unit = first.unit;
    let values: Vec<f64> = runs.iter().map(|run| run.value).collect();
    let ratios: Vec<f64> = runs.iter().filter_map(Reading::ratio).collect();
    let limits: Vec<f64> = runs.iter().filter_map(|run| Some(run.limit.as_ref()?.1)).collect();
    let value = median(&values);
    let ratio = (!ratios.is_empty()).then(|| median(&ratios));
    let limit = first.limit.as_ref().map(|(name, _)| format!("{name}: {}", number(median(&limits))));
    let asked = first.asked.map(|asked| {
        let verdict = if asked.reached(value, ratio) { "reached" } else { "missed" };
        format!("{}: {verdict}", asked.text(unit))
    });
    format!(
        "| {figure}: {} | {} {unit} | {} | {} | {} | {} |",
        first.name,
        number(value),
        spread(&values),
        limit.unwrap_or_default(),
        ratio.map(number).unwrap_or_default(),
        asked.unwrap_or_default(),
    )
}

fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{} … {}", number(least), number(most))
}

/// Formats a number with three significant digits, and commas between thousands.
pub fn number(value: f64) -> String {
    let size = value.abs();
    match () {
        () if !value.is_finite() => "–".to_owned(),
        () if size >= 1000.0 => grouped(value),
        () if size >= 100.0 || value == value.trunc() => format!("{value:.0}"),
        () if size >= 10.0 => format!("{value:.1}"),
        () if size >= 1.0 => format!("{value:.2}"),
        () if size >= 0.1 => format!("{value:.3}"),
        () if size >= 0.001 => format!("{value:.4}"),
        () => format!("{value:.2e}"),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// The machine on which the figures were measured.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let version = programs::output(programs::client("postgres").arg("--version")).unwrap_or_default();
    format!("{cores} cores; {}; server settings at their defaults, Unix sockets\n", version.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(number(1_234_567.4), "1,234,567");
        assert_eq!(number(-1234.0), "-1,234");
        assert_eq!(number(12.345), "12.3");
        assert_eq!(number(2.0), "2");
        assert_eq!(number(0.29951), "0.300");
    }

    #[test]
    fn a_row_judges_the_median() {
        let reading = |value| {
            Reading::new("no-op", value, "tasks/s").beside("insert", 100.0).asked(Asked::RatioAtLeast(1.2))
        };
        let mut report = Report::new("throughput");
        for value in [110.0, 130.0, 150.0] {
            report.add(vec![reading(value)], Vec::new());
        }
        let row =
            "| throughput: no-op | 130 tasks/s | 110 … 150 | insert: 100 | 1.30 | ≥ 1.20 ×: reached |\n";
        assert_eq!(report.rows(), row);
    }
}
