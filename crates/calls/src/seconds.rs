//! Times in rows, which are numbers of seconds.

use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// Reads a time. A negative one counts as zero, and one that is too large as the longest there is.
///
/// # Errors
/// If the value is not a number.
pub fn read<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Duration>, D::Error> {
    let seconds: Option<f64> = Deserialize::deserialize(source)?;
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
}
