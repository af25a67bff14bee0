//! A man page as it is written: Markdown with headings, lists of definitions and paragraphs, and nothing else.

use std::collections::BTreeSet;

use super::read;

/// A heading of the second level, and what stands below it.
#[derive(Debug, Default, Clone)]
pub struct Part {
    /// `queue`, `[host]`.
    pub name: String,
    /// Its lines.
    pub text: String,
}

/// A term and what is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The line before the colon.
    pub term: String,
    /// What follows, on one line.
    pub text: String,
}

/// A page.
pub struct Page {
    /// `bastion.8`.
    pub name: String,
    text: String,
}

impl Page {
    /// Reads `docs/man/NAME.md`.
    #[must_use]
    pub fn read(name: &str) -> Self {
        Self { name: name.to_owned(), text: read(&format!("docs/man/{name}.md")) }
    }

    /// What stands below a heading of the first level.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn section(&self, name: &str) -> &str {
        let found = headed(&self.text, "# ").into_iter().find(|(heading, _)| *heading == name);
        found.unwrap_or_else(|| panic!("{} has no {name}", self.name)).1
    }

    /// The headings of the first level.
    #[must_use]
    pub fn sections(&self) -> Vec<&str> {
        headed(&self.text, "# ").into_iter().map(|(heading, _)| heading).collect()
    }

    /// The parts of a section.
    #[must_use]
    pub fn parts(&self, section: &str) -> Vec<Part> {
        let parts = headed(self.section(section), "## ").into_iter();
        parts.map(|(name, text)| Part { name: name.to_owned(), text: text.to_owned() }).collect()
    }

    /// The whole page.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn headed<'t>(text: &'t str, mark: &str) -> Vec<(&'t str, &'t str)> {
    let (mut found, mut at): (Vec<(&str, &str)>, usize) = (Vec::new(), 0);
    let mut begun: Option<(&str, usize)> = None;
    for line in text.split_inclusive('\n') {
        if let Some(heading) = line.strip_prefix(mark) {
            if let Some((name, from)) = begun {
                found.push((name, &text[from..at]));
            }
            begun = Some((heading.trim(), at + line.len()));
        }
        at += line.len();
    }
    if let Some((name, from)) = begun {
        found.push((name, &text[from..]));
    }
    found
}

/// The definitions in a text.
#[must_use]
pub fn definitions(text: &str) -> Vec<Definition> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(first) = line.strip_prefix(": ") else { continue };
        let term = at.checked_sub(1).map_or("", |before| lines[before]);
        let rest = lines[at + 1..].iter().take_while(|line| line.starts_with("  "));
        let words: Vec<&str> = std::iter::once(first).chain(rest.map(|line| line.trim())).collect();
        found.push(Definition { term: term.to_owned(), text: words.join(" ") });
    }
    found
}

/// What is set between `mark` and `mark` in a text.
#[must_use]
pub fn marked<'t>(text: &'t str, mark: &str) -> Vec<&'t str> {
    text.split(mark).skip(1).step_by(2).collect()
}

/// The options in what is bold, without the `--`.
#[must_use]
pub fn options(text: &str) -> BTreeSet<String> {
    let bold = marked(text, "**").into_iter().flat_map(str::split_whitespace);
    bold.filter_map(|word| word.strip_prefix("--")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_taken_apart() {
        let text = "# A\n\nx\n\n## b\n\n**x b** [**--one** *N*|**--two**]\n\n**--one** *N*\n: first\n  and more\n\n\
                    **--two**\n: second\n\n# C\n";
        let page = Page { name: "x".into(), text: text.into() };
        assert_eq!(page.sections(), ["A", "C"]);
        let parts = page.parts("A");
        assert_eq!((parts.len(), parts[0].name.as_str()), (1, "b"));
        let found = definitions(&parts[0].text);
        let one = Definition { term: "**--one** *N*".into(), text: "first and more".into() };
        assert_eq!(found[0], one);
        assert_eq!(options(&parts[0].text), ["one".to_owned(), "two".to_owned()].into());
    }
}
