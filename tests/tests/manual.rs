//! The manual in step with the programs: each command, option and exit code that a program says it has is in its man
//! page, and nothing else is; files and events that a page names are those of the code; the pages are made without a
//! complaint, and the same each time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use bastion_tests::manual::help::{self, Help};
use bastion_tests::manual::page::{Page, definitions, marked, options};
use bastion_tests::manual::{PROGRAMS, commands, files, has, read, root};

/// All pages, by the name of the file that `man` opens.
fn pages() -> Vec<Page> {
    let all = files("docs/man", ".md").into_iter().map(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        Page::read(name.strip_suffix(".md").unwrap())
    });
    all.collect()
}

/// The first words of the terms in a part of a page.
fn terms(text: &str) -> BTreeSet<String> {
    let bold = definitions(text).into_iter().flat_map(|definition| {
        let bold = marked(&definition.term, "**").into_iter().map(str::to_owned);
        bold.collect::<Vec<_>>()
    });
    bold.collect()
}

#[test]
fn every_command_and_option_is_in_its_man_page_and_no_other() {
    for program in PROGRAMS {
        let Help { commands, common, .. } = help::of(program);
        let page = Page::read(&format!("{program}.8"));
        let parts = page.parts("COMMANDS");
        let described: BTreeSet<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        let there: BTreeSet<&str> = commands.keys().map(String::as_str).collect();
        assert_eq!(described, there, "{program}(8), COMMANDS");
        let general: BTreeSet<String> = options(page.section("OPTIONS"));
        assert_eq!(general, common, "{program}(8), OPTIONS");
        for part in &parts {
            let command = &commands[&part.name];
            let begins = format!("**{program} {}", part.name);
            let paragraphs =
                part.text.split("\n\n").filter(|text| text.trim().starts_with(&begins));
            let synopsis: Vec<&str> = paragraphs.collect();
            let at = format!("{program}(8), {}", part.name);
            assert_eq!(options(&synopsis.join("\n")), command.options, "{at}, the synopsis");
            let named = definitions(&part.text).iter().flat_map(|one| options(&one.term)).collect();
            assert_eq!(command.options, named, "{at}, the options that are explained");
            let bold = marked(&part.text, "**").join(" ");
            for word in &command.words {
                assert!(bold.split_whitespace().any(|known| known == word), "{at}: no {word}");
            }
        }
    }
}

#[test]
fn exit_codes_are_those_of_the_help() {
    for program in PROGRAMS {
        let page = Page::read(&format!("{program}.8"));
        let described: BTreeSet<u8> =
            terms(page.section("EXIT STATUS")).iter().map(|code| code.parse().unwrap()).collect();
        assert_eq!(described, help::of(program).codes, "{program}(8)");
    }
}

/// All that is in the programs' sources, without their tests' own files, and in etc/.
fn sources() -> String {
    let crates = ["pam_bastion/src", "notifier/src", "tunnelwatch/src", "linkprobe/src"];
    let code = crates.iter().flat_map(|dir| files(dir, ".rs"));
    let all = code.filter(|path| !path.ends_with("tests.rs")).chain(files("etc", ""));
    all.map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn files_in_the_pages_are_those_of_the_programs() {
    let sources = sources();
    let mut seen = 0;
    for page in pages() {
        for definition in definitions(page.section("FILES")) {
            let path = definition.term.trim_matches('*');
            assert!(path.starts_with('/'), "{}: {path}", page.name);
            // A file of the examples stands there under the name that it is to have.
            let example = root().join(path.trim_start_matches('/')).is_file();
            let in_parts = path.rsplit_once('/').is_some_and(|(dir, name)| {
                sources.contains(dir) && sources.contains(&format!("\"{name}\""))
            });
            assert!(example || sources.contains(path) || in_parts, "{}: {path}", page.name);
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen}");
}

#[test]
fn events_in_the_pages_are_those_of_the_programs() {
    let sources = sources();
    for page in pages().iter().filter(|page| page.sections().contains(&"DIAGNOSTICS")) {
        for event in terms(page.section("DIAGNOSTICS")) {
            assert!(sources.contains(&format!("\"{event}\"")), "{}: {event}", page.name);
        }
    }
}

#[test]
fn each_page_has_its_sections_in_the_usual_order() {
    const ORDER: [&str; 17] = [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "THE PAM LINE",
        "OPTIONS",
        "COMMANDS",
        "SECTIONS AND KEYS",
        "SECRETS",
        "CONFIGURATION",
        "MODULE TYPES PROVIDED",
        "RETURN VALUES",
        "SIGNALS",
        "ENVIRONMENT",
        "FILES",
        "EXIT STATUS",
        "DIAGNOSTICS",
        "EXAMPLES",
    ];
    let all = pages();
    assert_eq!(all.len(), 5);
    for page in &all {
        let mut sections = page.sections();
        assert_eq!(sections.pop(), Some("SEE ALSO"), "{}", page.name);
        let place = |name: &&str| ORDER.iter().position(|known| known == name);
        let places: Vec<_> = sections.iter().map(|name| place(name).expect(name)).collect();
        assert!(places.is_sorted(), "{}: {sections:?}", page.name);
        for needed in ["NAME", "SYNOPSIS", "DESCRIPTION", "FILES", "EXAMPLES"] {
            assert!(sections.contains(&needed), "{}: no {needed}", page.name);
        }
        let (name, _) = page.name.rsplit_once('.').unwrap();
        assert!(page.section("NAME").trim().starts_with(&format!("{name} - ")), "{}", page.name);
        // What is referred to is there.
        for other in &all {
            let (other, section) = other.name.rsplit_once('.').unwrap();
            if other != name {
                assert!(
                    page.section("SEE ALSO").contains(&format!("**{other}**({section})")),
                    "{} does not see {other}",
                    page.name
                );
            }
        }
    }
}

fn made(out: &Path) {
    let run = Command::new(root().join("packaging/man-pages"))
        .arg(out)
        .env("SOURCE_DATE_EPOCH", "86400")
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn man_pages_are_made_without_a_complaint_and_the_same_each_time() {
    if !has(&["lowdown", "mandoc"], "man pages are not made") {
        return;
    }
    let scratch = std::env::temp_dir().join(format!("bastion-manual-{}", std::process::id()));
    let (first, second) = (scratch.join("1"), scratch.join("2"));
    made(&first);
    made(&second);
    let version = env!("CARGO_PKG_VERSION");
    for page in pages() {
        let text = std::fs::read_to_string(first.join(&page.name)).unwrap();
        assert_eq!(text, std::fs::read_to_string(second.join(&page.name)).unwrap());
        let title = text.lines().find(|line| line.starts_with(".TH ")).unwrap();
        let dated = title.contains("1970-01-02") && title.contains(version);
        assert!(dated, "{}: {title}", page.name);
        let lint = Command::new("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .arg(first.join(&page.name))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&lint.stdout).into_owned();
        assert!(said.is_empty() && lint.status.success(), "{said}");
        // What is to be typed can be copied: a minus is a minus, a quote is a quote.
        for bold in text.split("\\fB").skip(1).map(|rest| rest.split("\\f").next().unwrap()) {
            assert!(!bold.replace("\\-", "").contains(['-', '\'', '`', '~', '^']), "{bold}");
        }
    }
    std::fs::remove_dir_all(scratch).unwrap();
}

#[test]
fn commands_that_people_are_told_to_type_exist() {
    let helps: BTreeMap<&str, Help> = PROGRAMS.map(|program| (program, help::of(program))).into();
    let mut texts: Vec<String> = files("docs", ".md").iter().map(|path| relative(path)).collect();
    texts.push("README.md".to_owned());
    let mut wrong = Vec::new();
    for text in &texts {
        for line in commands::typed(&read(text)) {
            wrong.extend(
                commands::wrong(&line, &helps).iter().map(|what| format!("{text}: {what}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

/// A heading as it is in an address: `## The line's data` is `#the-lines-data`.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| -> String {
        let plain = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = plain.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}

#[test]
fn what_the_guide_copies_is_there_and_takes_the_place_of_no_file_of_others() {
    let guide = read("docs/guide.md");
    let mut copied = Vec::new();
    for line in guide.lines().map(str::trim) {
        if !line.starts_with("sudo cp ") && !line.starts_with("sudo install -D ") {
            continue;
        }
        let line = line.split(" # ").next().expect("a line has a beginning");
        let words: Vec<&str> = line.split_whitespace().collect();
        let [.., from, to] = words[..] else { panic!("docs/guide.md: {line}") };
        let from = from.trim_start_matches("/usr/share/doc/pam-bastion/examples/");
        assert!(root().join("etc").join(from).is_file(), "docs/guide.md: etc/{from} is not there");
        let directory = to.rsplit_once('/').expect("a whole path").0;
        assert!(directory.ends_with(".d"), "docs/guide.md: {to} may be somebody else's");
        copied.push(from);
    }
    let both = copied.iter().filter(|from| from.contains("nftables/")).count();
    assert!(copied.len() > 6 && both == 2, "docs/guide.md: only {copied:?}");
}

#[test]
fn links_lead_somewhere() {
    let mut texts: Vec<String> = files("docs", ".md").iter().map(|path| relative(path)).collect();
    texts.extend(
        ["README.md", "CONTRIBUTING.md", "DESIGN.md", "SECURITY.md", "CHANGELOG.md"]
            .map(str::to_owned),
    );
    let mut seen = 0;
    for name in &texts {
        let text = read(name);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let here = Path::new(name).parent().unwrap();
            let target = root().join(here).join(file);
            let there = if file.is_empty() { root().join(name) } else { target };
            assert!(there.exists(), "{name}: {link}");
            if !anchor.is_empty() {
                let found = anchors(&std::fs::read_to_string(&there).unwrap());
                assert!(found.contains(anchor), "{name}: {link}; there are {found:?}");
            }
        }
    }
    assert!(seen > 10, "{seen}");
}
