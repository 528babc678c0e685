//! The command line.

use crate::figure::Figure;
use crate::figures::ALL;
use crate::result::Result;
use crate::scale::Scale;

pub const USAGE: &str = "\
Usage: bench [--list] [--runs N] [--scale small|default|full] [FIGURE…]

  --list   the figures and what they are
  --runs   how often each is measured; the table shows the median and the spread (3)
  --scale  small: does it work at all; default: minutes a figure; full: the sizes that are promised

Without FIGURE: all that are not marked «by name only». A name that ends in * stands for all that begin so.";

/// The options of the command line.
pub struct Options {
    pub list: bool,
    pub runs: u32,
    pub scale: Scale,
    names: Vec<String>,
}

impl Options {
    /// # Errors
    /// If an option or a figure does not exist.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self { list: false, runs: 3, scale: Scale::Default, names: Vec::new() };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--list" => options.list = true,
                "--runs" => options.runs = runs(&value()?)?,
                "--scale" => options.scale = scale(&value()?)?,
                name if name.starts_with('-') => return Err(format!("unknown option {name}").into()),
                name => options.names.push(known(name)?),
            }
        }
        Ok(options)
    }

    /// True if a figure has to be measured.
    pub fn wants(&self, figure: &Figure) -> bool {
        let named = self.names.iter().any(|name| matches(name, figure));
        named || self.names.is_empty() && figure.usual
    }
}

/// Parses the number of runs, which is at least one.
fn runs(text: &str) -> Result<u32> {
    text.parse().ok().filter(|runs| *runs > 0).ok_or_else(|| format!("--runs {text}: a number from 1").into())
}

fn scale(name: &str) -> Result<Scale> {
    match name {
        "small" => Ok(Scale::Small),
        "default" => Ok(Scale::Default),
        "full" => Ok(Scale::Full),
        _ => Err(format!("--scale {name}: small, default or full").into()),
    }
}

fn known(name: &str) -> Result<String> {
    if ALL.iter().any(|figure| matches(name, figure)) {
        return Ok(name.to_owned());
    }
    Err(format!("no figure {name}; --list shows them").into())
}

fn matches(name: &str, figure: &Figure) -> bool {
    name.strip_suffix('*').map_or(name == figure.name, |start| figure.name.starts_with(start))
}
