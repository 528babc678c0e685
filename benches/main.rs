//! Benchmarks of pg_errand. Each figure is measured on private servers, next to what the same machine can do at all;
//! `figures::ALL` lists them. Numbers never make a run fail: only a task that was lost, doubled or failed does.

mod cpu;
mod figures;
mod mails;
mod options;
mod pgbench;
mod programs;
mod queue;
mod report;
mod room;
mod server;
mod statistics;
mod wal;

use std::error::Error;
use std::process::ExitCode;

use figures::{ALL, Figure};
use options::{Options, Scale};
use report::{Reading, Report};

/// What can go wrong here ends the measurement, and is printed.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// One run of one figure: how large it is to be, and what it has read so far.
pub struct Run {
    /// Which sizes are asked for.
    pub scale: Scale,
    readings: Vec<Reading>,
    notes: Vec<String>,
}

impl Run {
    /// A row of the table.
    pub fn read(&mut self, reading: Reading) {
        eprintln!("   {reading}");
        self.readings.push(reading);
    }

    /// Text below the table, for what is no number; printed of the last run.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("bench: {error}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    if options.list {
        list();
        return ExitCode::SUCCESS;
    }
    let _room = match room::Guard::new() {
        Ok(guard) => guard,
        Err(error) => {
            eprintln!("bench: {error}");
            return ExitCode::FAILURE;
        }
    };
    if measure(&options) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn list() {
    for figure in ALL {
        println!("{:20}{}{}", figure.name, figure.what, if figure.usual { "" } else { " (by name only)" });
    }
}

/// Measures and prints all chosen figures; false if something was lost or failed.
fn measure(options: &Options) -> bool {
    println!("{}", report::machine());
    println!("{}", report::HEAD);
    let mut notes = Vec::new();
    let mut failures = Vec::new();
    for figure in ALL.iter().filter(|figure| options.wants(figure)) {
        let mut report = Report::new(figure.name);
        for number in 1..=options.runs {
            eprintln!("== {}, run {number} of {}", figure.name, options.runs);
            if let Err(error) = once(figure, options.scale, &mut report) {
                let error = explained(&*error);
                eprintln!("   FAILED: {error}");
                failures.push(format!("- {}, run {number}: {error}", figure.name));
            }
        }
        print!("{}", report.rows());
        notes.extend(report.notes());
    }
    for note in &notes {
        println!("\n{note}");
    }
    if !failures.is_empty() {
        println!("\nFailed:\n{}", failures.join("\n"));
    }
    failures.is_empty()
}

/// What was read before a failure counts, too.
fn once(figure: &Figure, scale: Scale, report: &mut Report) -> Result<()> {
    let mut run = Run { scale, readings: Vec::new(), notes: Vec::new() };
    let result = (figure.run)(&mut run);
    report.add(run.readings, run.notes);
    result
}

/// An error and what caused it: the server's words are in the cause.
fn explained(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
