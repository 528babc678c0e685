//! One run of a figure.

use crate::report::Reading;
use crate::scale::Scale;

/// One run of one figure: its size, and its readings so far.
pub struct Run {
    pub scale: Scale,
    pub readings: Vec<Reading>,
    pub notes: Vec<String>,
}

impl Run {
    /// Adds a row of the table.
    pub fn read(&mut self, reading: Reading) {
        eprintln!("   {reading}");
        self.readings.push(reading);
    }

    /// Adds text below the table, for information that is not a number. It is printed for the last run.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}
