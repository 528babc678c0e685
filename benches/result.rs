//! The result of a measurement. An error ends the measurement, and is printed.

use std::error::Error;

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;
