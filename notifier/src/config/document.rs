//! A TOML document that knows the line of everything in it, and a reader for its tables
//! that goes on after a mistake.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml::value::Datetime;

use super::Finding;

/// Most findings kept. Nobody reads more at once, and a login must not wait while a file that
/// is wrong in each of its lines is listed.
pub const MAX_FINDINGS: usize = 100;

/// A parsed file, and what was found wrong with it so far.
pub struct Document<'t> {
    /// Where each line of the text begins, but for the first.
    lines: Vec<usize>,
    root: DeTable<'t>,
    findings: Vec<Finding>,
    /// All findings, also those beyond [`MAX_FINDINGS`].
    found: usize,
    known_keys: Vec<String>,
    broken: bool,
    /// Lines that the parser did not understand.
    broken_lines: BTreeSet<usize>,
}

/// A type that a value in the file can be.
///
/// Not serde's `Deserialize`: that stops at the first mistake in a list, and the code it makes
/// for each type would double the size of the PAM module.
pub trait FromToml: Sized {
    /// What the file has to hold, as a person calls it: `a string`.
    const WANTED: &'static str;

    /// The value, or `None` when it is of another type.
    fn from_toml(value: &DeValue<'_>) -> Option<Self>;
}

impl FromToml for String {
    const WANTED: &'static str = "a string in quotes";

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl FromToml for bool {
    const WANTED: &'static str = "true or false, without quotes";

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_bool()
    }
}

impl FromToml for u32 {
    const WANTED: &'static str = "a whole number";

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        let number = value.as_integer()?;
        u32::from_str_radix(number.as_str(), number.radix()).ok()
    }
}

impl FromToml for Datetime {
    const WANTED: &'static str = "a date without quotes, as 2027-01-31";

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_datetime().copied()
    }
}

/// A value with the place it was read from.
#[derive(Debug, Clone)]
pub struct Value<T> {
    /// What was read.
    pub value: T,
    span: Range<usize>,
}

impl<'t> Document<'t> {
    /// Parses `text`. Syntax errors become findings, all of them; sections that could be
    /// read in spite of them are there, but [`Document::is_broken`] says so.
    #[must_use]
    pub fn parse(text: &'t str) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let lines =
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let mut document = Self {
            lines: lines.collect(),
            root: root.into_inner(),
            findings: Vec::new(),
            found: 0,
            known_keys: Vec::new(),
            broken: !errors.is_empty(),
            broken_lines: BTreeSet::new(),
        };
        // One mistake makes the parser stumble several times; of each line the most telling does.
        let unclosed = |error: &&toml::de::Error| !error.message().starts_with("unclosed");
        let mut errors: Vec<_> = errors.iter().collect();
        errors.sort_by_key(unclosed);
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            if !document.broken_lines.insert(document.line_of(&span)) {
                continue;
            }
            let remedy = match error.message() {
                "duplicate key" => ": it stands further up as well; put both under the first",
                text if text.starts_with("unclosed") => "; look at the end of the line above",
                _ => "",
            };
            let message = format!("{}{remedy}", error.message());
            document.findings.push(Finding {
                line: document.line_of(&span),
                key: String::new(),
                message,
            });
            document.found = document.found.saturating_add(1);
        }
        document
    }

    /// Whether the file has syntax errors: then no section of it can be relied upon.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Takes the table `[name]` and reads it. `None` when the file has no such table.
    pub fn table<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Section<'_, 't>) -> T,
    ) -> Option<T> {
        let value = self.root.remove(name)?;
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Some(self.section(name.to_owned(), span, table, read)),
            other => {
                let what = other.type_str();
                self.found(span, name, format!("a {what}; write it as a table: [{name}]"));
                None
            }
        }
    }

    /// Takes the array of tables `[[name]]` and reads each, with its number from 1.
    pub fn tables<T>(
        &mut self,
        name: &str,
        read: impl FnMut(&str, &mut Section<'_, 't>) -> T,
    ) -> Vec<T> {
        let Some(value) = self.root.remove(name) else { return Vec::new() };
        self.tables_in(name, value, read)
    }

    /// Every key that a reader has asked for so far, with its section: what may stand in the
    /// file. For the test that holds the example file and the readers in step.
    #[must_use]
    pub fn known_keys(&self) -> &[String] {
        &self.known_keys
    }

    /// What has been found so far, in the order of the lines.
    #[must_use]
    pub fn findings_so_far(&self) -> Vec<Finding> {
        let mut findings = self.findings.clone();
        findings.sort();
        findings.extend(self.surplus());
        findings
    }

    fn surplus(&self) -> Option<Finding> {
        let more = self.found.saturating_sub(self.findings.len());
        let message = format!("and {more} more");
        (more > 0).then(|| Finding { line: 0, key: String::new(), message })
    }

    /// Ends the reading: every section that nobody took is a finding. `known` names the
    /// sections that other programs read.
    #[must_use]
    pub fn finish(mut self, known: &[&str]) -> Vec<Finding> {
        let rest: Vec<_> = self
            .root
            .keys()
            .filter(|key| !known.contains(&key.get_ref().as_ref()))
            .map(|key| (key.span(), key.get_ref().to_string()))
            .collect();
        for (span, key) in rest {
            let message = format!("no such section; there are: {}", known.join(", "));
            self.found(span, &key, message);
        }
        self.findings_so_far()
    }

    fn section<T>(
        &mut self,
        path: String,
        span: Range<usize>,
        table: DeTable<'t>,
        read: impl FnOnce(&mut Section<'_, 't>) -> T,
    ) -> T {
        let mut section = Section { document: self, path, span, table, asked: Vec::new() };
        let result = read(&mut section);
        section.finish();
        result
    }

    /// The tables inside a table or an array of tables, each with its name or its number.
    fn tables_in<T>(
        &mut self,
        path: &str,
        value: Spanned<DeValue<'t>>,
        mut read: impl FnMut(&str, &mut Section<'_, 't>) -> T,
    ) -> Vec<T> {
        let span = value.span();
        let entries: Vec<(String, Spanned<DeValue<'t>>)> = match value.into_inner() {
            DeValue::Table(table) => table
                .into_iter()
                .map(|(name, value)| (name.into_inner().into_owned(), value))
                .collect(),
            DeValue::Array(array) => array
                .into_iter()
                .enumerate()
                .map(|(i, value)| ((i + 1).to_string(), value))
                .collect(),
            other => {
                self.found(span, path, format!("a {}, where tables belong", other.type_str()));
                return Vec::new();
            }
        };
        let mut read_ones = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            let path = format!("{path}.{name}");
            let span = value.span();
            match value.into_inner() {
                DeValue::Table(table) => {
                    read_ones.push(self.section(path, span, table, |s| read(&name, s)));
                }
                other => {
                    let what = other.type_str();
                    self.found(span, &path, format!("a {what}, where a table belongs"));
                }
            }
        }
        read_ones
    }

    fn line_of(&self, span: &Range<usize>) -> usize {
        1 + self.lines.partition_point(|start| *start <= span.start)
    }

    fn found(&mut self, span: Range<usize>, key: &str, message: impl Display) {
        let line = self.line_of(&span);
        if self.broken_lines.contains(&line) {
            // What the parser made of a line that it did not understand is nobody's mistake.
            return;
        }
        self.found = self.found.saturating_add(1);
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding { line, key: key.to_owned(), message: message.to_string() });
        }
    }
}

/// One table, from which a reader takes the keys it knows. What is left over at the end
/// is a finding: an unknown key is a mistake, never ignored.
pub struct Section<'d, 't> {
    document: &'d mut Document<'t>,
    path: String,
    span: Range<usize>,
    table: DeTable<'t>,
    asked: Vec<String>,
}

impl<'t> Section<'_, 't> {
    /// The value of `key`; `None` when it is absent, or is of another type, which is a finding.
    pub fn get<T: FromToml>(&mut self, key: &str) -> Option<Value<T>> {
        let value = self.take(key)?;
        self.read(key, &value)
    }

    /// The value of `key`, or `default`.
    pub fn get_or<T: FromToml>(&mut self, key: &str, default: T) -> T {
        self.get(key).map_or(default, |value| value.value)
    }

    /// Makes the absence of `key` a finding. To be called before the key is read.
    pub fn need(&mut self, key: &str) -> &mut Self {
        if !self.has(key) {
            self.found(self.span.clone(), key, "is missing");
        }
        self
    }

    /// Whether `key` stands in the section and has not been read, whatever its value is.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether `key` stands in the section, has not been read, and is a string.
    #[must_use]
    pub fn is_string(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|value| value.get_ref().is_str())
    }

    /// The value of `key` as `parse` understands its text; what `parse` says is a finding.
    pub fn parse<T, E: Display>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Value<T>> {
        let Value { value, span } = self.get::<String>(key)?;
        match parse(&value) {
            Ok(value) => Some(Value { value, span }),
            Err(error) => {
                self.found(span, key, error);
                None
            }
        }
    }

    /// The list at `key`, each entry as `parse` understands it. An entry that `parse` does
    /// not understand is a finding of its own, and the others stay.
    pub fn parse_list<T, E: Display>(
        &mut self,
        key: &str,
        mut parse: impl FnMut(&str) -> Result<T, E>,
    ) -> Option<Vec<Value<T>>> {
        let list = self.take(key)?;
        let Some(entries) = list.get_ref().as_array() else {
            self.mistyped(key, &list, "a list: [\"..\", \"..\"]");
            return None;
        };
        let mut values = Vec::with_capacity(entries.len());
        for entry in entries.iter() {
            let Some(Value { value, span }) = self.read::<String>(key, entry) else { continue };
            match parse(&value) {
                Ok(value) => values.push(Value { value, span }),
                Err(error) => self.found(span, key, error),
            }
        }
        Some(values)
    }

    /// The list of whole numbers at `key`. An entry that is none is a finding of its own.
    pub fn numbers(&mut self, key: &str) -> Option<Vec<Value<u32>>> {
        let list = self.take(key)?;
        let Some(entries) = list.get_ref().as_array() else {
            self.mistyped(key, &list, "a list: [1, 2]");
            return None;
        };
        Some(entries.iter().filter_map(|entry| self.read(key, entry)).collect())
    }

    /// The table of strings at `key`, in the order of its keys. A value that is no string is a
    /// finding of its own.
    pub fn strings(&mut self, key: &str) -> Vec<(String, Value<String>)> {
        let Some(table) = self.take(key) else { return Vec::new() };
        let Some(entries) = table.get_ref().as_table() else {
            self.mistyped(key, &table, "a table: { \"..\" = \"..\" }");
            return Vec::new();
        };
        let mut strings = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            if let Some(value) = self.read(key, value) {
                strings.push((name.get_ref().to_string(), value));
            }
        }
        strings
    }

    /// The table at `key`, as `read` understands it.
    pub fn table<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Section<'_, 't>) -> T,
    ) -> Option<T> {
        let value = self.take(key)?;
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => {
                let path = format!("{}.{key}", self.path);
                Some(self.document.section(path, span, table, read))
            }
            other => {
                self.found(span, key, format!("a {}, where a table belongs", other.type_str()));
                None
            }
        }
    }

    /// The tables inside the table or array of tables at `key`, each with its name: the key
    /// in a table of tables, and its number from 1 in an array.
    pub fn tables<T>(
        &mut self,
        key: &str,
        read: impl FnMut(&str, &mut Section<'_, 't>) -> T,
    ) -> Vec<T> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let path = format!("{}.{key}", self.path);
        self.document.tables_in(&path, value, read)
    }

    /// Adds a finding about a value that was read.
    pub fn reject<T>(&mut self, key: &str, value: &Value<T>, message: impl Display) {
        self.found(value.span.clone(), key, message);
    }

    /// Adds a finding about the section as a whole.
    pub fn reject_section(&mut self, message: impl Display) {
        let (span, path) = (self.span.clone(), self.path.clone());
        self.document.found(span, &path, message);
    }

    /// Adds a finding about `key` if it stands there, and leaves it unread.
    pub fn refuse(&mut self, key: &str, message: impl Display) {
        if let Some(value) = self.table.remove(key) {
            self.found(value.span(), key, message);
        }
    }

    /// How many findings there are so far, in the whole document: a reader that drops a
    /// section with any mistake in it compares this before and after.
    #[must_use]
    pub fn findings(&self) -> usize {
        self.document.found
    }

    /// Keys that nobody has asked for yet.
    #[must_use]
    pub fn has_unread_keys(&self) -> bool {
        !self.table.is_empty()
    }

    /// Leaves the rest of the section to another reader: its keys are no findings.
    pub fn leave_rest(&mut self) {
        self.table.clear();
    }

    fn take(&mut self, key: &str) -> Option<Spanned<DeValue<'t>>> {
        self.asked.push(key.to_owned());
        self.table.remove(key)
    }

    fn read<T: FromToml>(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Value<T>> {
        let read =
            T::from_toml(value.get_ref()).map(|read| Value { value: read, span: value.span() });
        if read.is_none() {
            self.mistyped(key, value, T::WANTED);
        }
        read
    }

    fn mistyped(&mut self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let found = value.get_ref().type_str();
        self.found(value.span(), key, format!("found {found}, where {wanted} belongs"));
    }

    fn found(&mut self, span: Range<usize>, key: &str, message: impl Display) {
        let key = format!("{}.{key}", self.path);
        self.document.found(span, &key, message);
    }

    fn finish(mut self) {
        let rest = std::mem::take(&mut self.table);
        let message = format!("no such key; there are: {}", self.asked.join(", "));
        for key in rest.into_iter().map(|(key, _)| key) {
            let name = key.get_ref().to_string();
            self.found(key.span(), &name, &message);
        }
        let keys = self.asked.iter().map(|key| format!("{}.{key}", self.path));
        self.document.known_keys.extend(keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(findings: &[Finding]) -> Vec<(usize, &str)> {
        findings.iter().map(|f| (f.line, f.key.as_str())).collect()
    }

    #[test]
    fn all_mistakes_are_found_at_once_with_their_lines() {
        let text =
            "[a]\nnumber = \"x\"\nlist = [\"1\", \"two\",\n  \"3\", \"four\"]\nodd = 1\n[b]\n";
        let mut document = Document::parse(text);
        let list = document.table("a", |s| {
            assert!(s.get::<u32>("number").is_none());
            assert!(s.need("absent").get::<u32>("absent").is_none());
            s.parse_list("list", str::parse::<u32>).unwrap()
        });
        let values: Vec<u32> = list.unwrap().iter().map(|v| v.value).collect();
        assert_eq!(values, [1, 3]);
        let findings = document.finish(&["a"]);
        assert_eq!(
            lines(&findings),
            [
                (1, "a.absent"),
                (2, "a.number"),
                (3, "a.list"),
                (4, "a.list"),
                (5, "a.odd"),
                (6, "b")
            ]
        );
    }

    #[test]
    fn syntax_errors_have_their_line() {
        let document = Document::parse("[a]\nx = \n[b]\ny = [1\n");
        assert!(document.is_broken());
        let findings = document.finish(&["a", "b"]);
        assert!(findings.iter().any(|f| f.line == 2), "{findings:?}");
    }

    #[test]
    fn more_mistakes_than_anybody_reads_are_counted() {
        let text =
            format!("[a]\n{}", (0..5000).map(|n| format!("k{n:04} = 1\n")).collect::<String>());
        let mut document = Document::parse(&text);
        document.table("a", |_| ());
        let findings = document.finish(&[]);
        assert_eq!(findings.len(), MAX_FINDINGS + 1);
        assert_eq!(findings[MAX_FINDINGS].message, "and 4900 more");
    }

    #[test]
    fn a_section_that_is_no_table_is_told() {
        for text in ["a = 1", "[[a]]\nx = 1"] {
            let mut document = Document::parse(text);
            assert!(document.table("a", |_| ()).is_none());
            assert_eq!(lines(&document.finish(&["a"])), [(1, "a")], "{text}");
        }
    }
}
