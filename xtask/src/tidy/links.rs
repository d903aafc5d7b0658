//! Checks that relative links and their anchors exist.

use std::collections::BTreeMap;

use super::markdown::{lines, plain};

/// The tests and texts of these rules contain invented names.
const EXEMPT: &str = "xtask/src/tidy/";

/// Reports of past measurements refer to source files of their time.
const EXPERIMENTS: &str = "docs/experiments/";

/// Returns the violations in `files`, the names and contents of all tracked text files. `exists` returns whether the
/// repository has that file or folder.
pub(crate) fn problems(files: &[(String, String)], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let anchors: BTreeMap<&str, Vec<String>> = files
        .iter()
        .filter(|(name, _)| name.ends_with(".md"))
        .map(|(name, content)| (&**name, anchors(content)))
        .collect();
    let mut problems = Vec::new();
    for (name, content) in files.iter().filter(|(name, _)| !name.starts_with(EXEMPT)) {
        for (line, link, target) in links(name, content) {
            let (file, anchor) = target.split_once('#').unwrap_or((target.as_str(), ""));
            if !exists(file) {
                problems.push(format!("{name}:{line}: {link} points to {file}, which does not exist"));
            } else if !anchor.is_empty()
                && anchors.get(file).is_some_and(|known| known.iter().all(|heading| heading != anchor))
            {
                problems.push(format!("{name}:{line}: {link} is not a heading of {file}"));
            }
        }
    }
    problems
}

/// Line number, link as written, and link target relative to the repository root.
fn links(name: &str, content: &str) -> Vec<(usize, String, String)> {
    if name.ends_with(".md") {
        let links = lines(content)
            .flat_map(|(line, text)| targets(text).map(move |link| (line, link)))
            .filter(|(_, link)| !link.contains("://") && !link.starts_with("mailto:"))
            .map(|(line, link)| (line, link.to_owned(), from_root(name, link)));
        let sources = lines(content)
            .filter(|_| !name.starts_with(EXPERIMENTS))
            .flat_map(|(line, text)| sources(text).map(move |source| (line, source)))
            .map(|(line, source)| (line, source.to_owned(), source.to_owned()));
        return links.chain(sources).collect();
    }
    (1..)
        .zip(content.lines())
        .flat_map(|(line, text)| pages(text).map(move |link| (line, link.to_owned(), link.to_owned())))
        .collect()
}

/// Targets of Markdown links and of picture attributes.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    [("](", ')'), ("src=\"", '"'), ("srcset=\"", '"')].into_iter().flat_map(move |(start, end)| {
        line.split(start).skip(1).filter_map(move |rest| rest.split_once(end)).map(|(target, _)| target)
    })
}

/// Source files named in code spans of a page, relative to the repository root.
fn sources(line: &str) -> impl Iterator<Item = &str> {
    line.split('`')
        .skip(1)
        .step_by(2)
        .filter(|span| span.contains('/') && span.ends_with(".rs") && !span.contains(char::is_whitespace))
}

/// Pages and pictures in `docs/` that a source or settings file names, relative to the repository root.
fn pages(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("docs/")
        .filter(|(at, _)| {
            !line[..*at].ends_with(|before: char| before.is_alphanumeric() || "/.-_".contains(before))
        })
        .map(|(at, _)| {
            let end = line[at..].find(|c: char| !(c.is_alphanumeric() || "/.-_#".contains(c)));
            line[at..end.map_or(line.len(), |end| at + end)].trim_end_matches('.')
        })
        .filter(|page| [".md", ".svg", ".png"].iter().any(|ending| page.contains(ending)))
}

/// Resolves `link` in the file `name` to a path relative to the repository root.
fn from_root(name: &str, link: &str) -> String {
    if link.starts_with('#') {
        return format!("{name}{link}");
    }
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors of all headings, generated like Markdown hosts do.
fn anchors(content: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for (_, heading) in lines(content).filter(|(_, line)| line.starts_with('#')) {
        let text = heading.trim_start_matches('#').replace('`', "");
        let anchor: String = plain(&text)
            .to_lowercase()
            .chars()
            .filter(|character| character.is_alphanumeric() || " -_".contains(*character))
            .map(|character| if character == ' ' { '-' } else { character })
            .collect();
        let earlier = anchors.iter().filter(|other| **other == anchor).count();
        anchors.push(if earlier == 0 { anchor } else { format!("{anchor}-{earlier}") });
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::problems;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<(String, String)> =
            files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        problems(&files, |name| name == "docs" || files.iter().any(|(other, _)| other == name))
    }

    #[test]
    fn links_that_lead_somewhere_have_no_problem() {
        let page = "[a](../README.md) [b](#the-same-page) [c](https://example.org/x)\n\n## The `same` [page](../docs)!\n";
        assert!(
            found(&[
                ("README.md", "[d](docs/x.md#the-same-page) [e](docs/) <img src=\"docs/x.md\">"),
                ("docs/x.md", page)
            ])
            .is_empty()
        );
    }

    #[test]
    fn a_missing_file_and_a_missing_heading_are_named() {
        let found = found(&[("docs/x.md", "# X\n\n[a](y.md)\n[b](#y)\n```sh\n[c](z.md)\n```\n")]);
        assert_eq!(
            found,
            [
                "docs/x.md:3: y.md points to docs/y.md, which does not exist",
                "docs/x.md:4: #y is not a heading of docs/x.md"
            ]
        );
    }

    #[test]
    fn a_page_names_sources_that_exist() {
        let page = ("docs/x.md", "# X\n\n`a/src/b.rs`, `a/src/c.rs`, `main.rs`\n");
        let expected = "docs/x.md:3: a/src/c.rs points to a/src/c.rs, which does not exist";
        assert_eq!(found(&[page, ("a/src/b.rs", "")]), [expected]);
    }

    #[test]
    fn a_source_names_pages_that_exist() {
        let files = [
            ("a/src/b.rs", "//! See docs/x.md#x. And docs/y.md.\n//! a/docs/z.md\n"),
            ("docs/x.md", "# X\n"),
        ];
        assert_eq!(found(&files), ["a/src/b.rs:1: docs/y.md points to docs/y.md, which does not exist"]);
    }
}
