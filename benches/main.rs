//! Benchmarks of pg_errand. Each figure is measured on private servers, together with the capacity of the same machine;
//! `figures::ALL` lists them. Numbers never make a run fail; only a task that was lost, duplicated or failed does.

mod checks;
mod cpu;
mod figure;
mod figures;
mod mails;
mod options;
mod pgbench;
mod programs;
mod queue;
mod report;
mod result;
mod room;
mod run;
mod scale;
mod server;
mod statistics;
mod wal;

use std::error::Error;
use std::process::ExitCode;

use figure::Figure;
use figures::ALL;
use options::Options;
use report::Report;
use result::Result;
use run::Run;
use scale::Scale;

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

/// Measures and prints all chosen figures; false if a task was lost or has failed.
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

/// The readings before a failure count, too.
fn once(figure: &Figure, scale: Scale, report: &mut Report) -> Result<()> {
    let mut run = Run { scale, readings: Vec::new(), notes: Vec::new() };
    let result = (figure.run)(&mut run);
    report.add(run.readings, run.notes);
    result
}

/// An error with its cause, which contains the server's message.
fn explained(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
