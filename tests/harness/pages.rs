//! The pages of docs/, whose statements are run.

/// The blocks of SQL of a page or of a part of it.
pub fn sql_blocks(text: &str) -> impl Iterator<Item = &str> {
    text.split("```sql\n").skip(1).map(|block| block.split("```").next().unwrap().trim())
}

/// A section of a page, from its heading to the next one of the same level.
///
/// # Panics
/// There is no such heading.
#[track_caller]
pub fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let start = page.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let section = &page[start + 1..];
    section.find("\n## ").map_or(section, |end| &section[..end])
}
