//! Checks prose: short sentences, standard terms, maximum line width.

use super::markdown::{blocks, lines};

const MOST_WORDS: usize = 35;
const MOST_COLUMNS: usize = 120;

/// Reports of past measurements stay unchanged. The second entry is a third-party library.
const EXEMPT: [&str; 2] = ["docs/experiments/archive/", "probe/src/serve/page/uplot/"];

/// Commands generate these pages and do not wrap lines.
const UNWRAPPED: [&str; 3] = ["docs/benchmarks/2", "docs/experiments/", "docs/metrics.md"];

/// Non-standard terms with their replacements. Each is matched at the start of a word.
const TERMS: [(&str, &str); 25] = [
    ("anew", "again, or: from zero"),
    ("asks again", "repeated requests"),
    ("at the least", "at least"),
    ("careful program", "the name of the program"),
    ("innermost quarter", "quartile"),
    ("is told of", "has the address of"),
    ("keys alike", "uniform keys"),
    ("likelihood of a third", "probability"),
    ("line of memory", "cache line"),
    ("mend", "fix, or: repair"),
    ("native twin", "native equivalent"),
    ("nobody's", "unrelated"),
    ("on its way", "in flight"),
    ("on their way", "in flight"),
    ("processor time", "CPU time"),
    ("read alike", "read uniformly"),
    ("reckon", "compute"),
    ("remembered error", "negative cache entry"),
    ("seldom", "rarely"),
    ("segments sent again", "retransmitted segments"),
    ("sent again", "retransmitted"),
    ("stand-in", "fake, or: stub"),
    ("tells of", "reports, or: describes"),
    ("whose it is", "its shard, or: its owner"),
    ("younger", "newer"),
];

/// Returns the violations in the tracked file `name` with the text `content`.
pub(crate) fn problems(name: &str, content: &str) -> Vec<String> {
    if !name.ends_with(".md") || EXEMPT.iter().any(|folder| name.starts_with(folder)) {
        return Vec::new();
    }
    let mut problems = Vec::new();
    if !UNWRAPPED.iter().any(|page| name.starts_with(page)) {
        problems.extend(lines(content).filter(|(_, line)| too_wide(line)).map(|(line, text)| {
            format!("{name}:{line}: {} columns, at most {MOST_COLUMNS} are allowed", text.chars().count())
        }));
    }
    for block in blocks(content) {
        for sentence in sentences(&block.text) {
            let words =
                sentence.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count();
            if words > MOST_WORDS {
                problems.push(format!(
                    "{name}:{}: {words} words in one sentence, at most {MOST_WORDS} are allowed: split \"{}…\"",
                    block.line,
                    sentence.chars().take(40).collect::<String>()
                ));
            }
        }
        problems
            .extend(private(&block.text).map(|(word, term)| {
                format!("{name}:{}: \"{word}\" has a standard term: {term}", block.line)
            }));
    }
    problems
}

/// Whether a prose line is too long. Tables and long links are exempt, because they cannot be wrapped.
fn too_wide(line: &str) -> bool {
    line.chars().count() > MOST_COLUMNS
        && !line.starts_with('|')
        && line.split_whitespace().all(|word| word.chars().count() < MOST_COLUMNS / 2)
}

/// Splits at full stops, exclamation marks and question marks that end a word.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut last = ' ';
    text.split(move |character: char| {
        let ends = character.is_whitespace() && ".!?".contains(last);
        last = character;
        ends
    })
}

fn private(text: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let text = text.to_lowercase();
    TERMS.into_iter().filter(move |(word, _)| {
        text.match_indices(word).any(|(at, _)| !text[..at].ends_with(char::is_alphanumeric))
    })
}

#[cfg(test)]
mod tests {
    use super::problems;

    #[test]
    fn short_sentences_have_no_problem() {
        let text = format!("{}. {}!\n", "word ".repeat(34).trim(), "word ".repeat(35).trim());
        assert!(
            problems("docs/x.md", &text.replace("word word word word", "word word word\nword")).is_empty()
        );
    }

    #[test]
    fn a_long_sentence_is_named_with_its_line() {
        let found = problems("README.md", &format!("# Title\n\n- {}", "word\n".repeat(36)));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("README.md:3: 36 words"), "{found:?}");
    }

    #[test]
    fn a_private_word_is_named_with_its_standard_term() {
        let found = problems("docs/x.md", "| a | how to mend it |\n|---|---|\n\nI recommend `mend`.");
        assert_eq!(found, ["docs/x.md:1: \"mend\" has a standard term: fix, or: repair"]);
    }

    #[test]
    fn wide_lines_are_breaches_outside_tables_and_code() {
        let wide = "word. ".repeat(21);
        assert_eq!(problems("docs/x.md", &wide).len(), 1);
        assert!(problems("docs/x.md", &format!("| {wide} |\n```text\n{wide}\n```\n")).is_empty());
        assert!(problems("docs/experiments/x.md", &wide).is_empty());
    }

    #[test]
    fn other_files_and_the_archive_are_exempt() {
        let long = "anew ".repeat(40);
        assert!(problems("docs/experiments/archive/x.md", &long).is_empty());
        assert!(problems("gateway/src/main.rs", &long).is_empty());
    }
}
