//! Tables, and what sections have in common.

use crate::time::Zone;
use maud::{Markup, html};

/// A heading of a table. Numbers are aligned to the right.
pub enum Column {
    Text(&'static str),
    Number(&'static str),
}

/// A table that scrolls within itself if it is too wide.
pub fn table(label: &str, columns: &[Column], rows: &[Vec<Markup>]) -> Markup {
    html! {
        div class="scroll" tabindex="0" role="region" aria-label=(label) {
            table {
                thead {
                    tr {
                        @for column in columns {
                            @match column {
                                Column::Text(heading) => th scope="col" { (heading) },
                                Column::Number(heading) => th scope="col" class="number" { (heading) },
                            }
                        }
                    }
                }
                tbody {
                    @for row in rows {
                        tr {
                            @for (column, cell) in columns.iter().zip(row) {
                                @match column {
                                    Column::Text(_) => td { (cell) },
                                    Column::Number(_) => td class="number" { (cell) },
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A section, whose body is made from what was read; or says why nothing was.
pub fn section<T>(
    id: &str,
    title: &str,
    read: &Result<T, String>,
    body: impl FnOnce(&T) -> Markup,
) -> Markup {
    html! {
        section id=(id) aria-labelledby={ (id) "-title" } {
            h2 id={ (id) "-title" } { (title) }
            @match read {
                Ok(read) => (body(read)),
                Err(reason) => p class="note" { "Not here: " (crate::text::shown(reason, crate::text::MESSAGE)) },
            }
        }
    }
}

/// A name or another short text of users.
pub fn name(text: &str) -> Markup {
    html! { bdi { (crate::text::shown(text, crate::text::NAME)) } }
}

/// The same, or a dash.
pub fn name_or_none(text: Option<&str>) -> Markup {
    text.map_or_else(none, name)
}

/// A value that is shown by a function, or a dash.
pub fn value<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> Markup {
    value.map_or_else(none, |value| html! { (show(value)) })
}

/// A time that is not broken into lines.
pub fn moment(zone: Zone, at: f64) -> Markup {
    html! { span class="moment" { (zone.moment(at)) } }
}

pub fn none() -> Markup {
    html! { span class="none" { "–" } }
}

/// A sentence about a section in small print.
pub fn remark(text: &str) -> Markup {
    html! { p class="remark" { (text) } }
}
