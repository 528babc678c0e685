//! The page of `queues.report`: facts about a database in, HTML out. The page needs nothing else: no script, no file, no
//! network. It is ASCII, so that it does not depend on the encoding in which a client saves it.

mod advice;
mod axis;
mod facts;
mod number;
mod page;
mod plot;
mod section;
mod table;
mod text;
mod time;

use serde_json::Value;

/// The page that shows the facts that `errand.report_facts` and its siblings have gathered. A fact that is missing, or that
/// has an error instead, is said to be so in its section.
pub fn page(facts: &Value) -> String {
    text::ascii(&page::render(&facts::Facts::of(facts)).into_string())
}

#[cfg(test)]
mod tests;
