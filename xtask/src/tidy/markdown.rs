//! Parses the Markdown parts that the prose and link rules need.

/// One paragraph, list item or table cell, joined to one line, without markup.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Number of its first line, from 1.
    pub(super) line: usize,
    pub(super) text: String,
}

/// All prose blocks of `content`. Excludes code, headings and comments.
pub(super) fn blocks(content: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (line, text) in lines(content) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            open = false;
        } else if text.starts_with('|') {
            open = false;
            let cells = text.replace("\\|", "/");
            let cells = cells.split('|').map(plain).filter(|cell| cell.contains(char::is_alphabetic));
            blocks.extend(cells.map(|text| Block { line, text }));
        } else if let (true, None, Some(last)) = (open, item(text), blocks.last_mut()) {
            last.text.push(' ');
            last.text.push_str(text);
        } else {
            open = true;
            blocks.push(Block { line, text: item(text).unwrap_or(text).to_owned() });
        }
    }
    for block in &mut blocks {
        block.text = plain(&block.text);
    }
    blocks
}

/// The lines outside fenced code and comments, with their numbers from 1.
pub(super) fn lines(content: &str) -> impl Iterator<Item = (usize, &str)> {
    let (mut code, mut comment) = (false, false);
    (1..).zip(content.lines()).filter(move |(_, line)| {
        let line = line.trim_start();
        let fence = line.starts_with("```") && !comment;
        code ^= fence;
        let starts = line.starts_with("<!--") && !code;
        let hidden = code || fence || comment || starts;
        comment = (comment || starts) && !line.contains("-->");
        !hidden
    })
}

/// The text of a list item after its marker.
fn item(text: &str) -> Option<&str> {
    let unnumbered = text.trim_start_matches(|character: char| character.is_ascii_digit());
    if unnumbered.len() < text.len() {
        return unnumbered.strip_prefix(". ");
    }
    text.strip_prefix("- ").or_else(|| text.strip_prefix("* "))
}

/// `text` with each code span replaced by one word, and without link targets.
pub(super) fn plain(text: &str) -> String {
    let spans: Vec<String> = text
        .split('`')
        .enumerate()
        .map(|(index, part)| if index % 2 == 0 { part.to_owned() } else { "code".to_owned() })
        .collect();
    let mut rest = spans.concat();
    let mut plain = String::new();
    while let Some((before, target)) = rest.split_once("](") {
        plain.push_str(before);
        rest = target.split_once(')').map_or_else(String::new, |(_, after)| after.to_owned());
    }
    plain.push_str(&rest);
    plain.retain(|character| !"*[]".contains(character));
    plain.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Block, blocks, plain};

    #[test]
    fn paragraphs_items_and_cells_are_blocks() {
        let text = "# Title\n\nOne\ntwo.\n- three\n  four\n1. five\n\n```sh\ncode\n```\n<!-- prints\nx\n-->\n| a | `b` |\n|---|--:|\n";
        let block = |line, text: &str| Block { line, text: text.to_owned() };
        assert_eq!(
            blocks(text),
            [
                block(3, "One two."),
                block(5, "three four"),
                block(7, "five"),
                block(15, "a"),
                block(15, "code")
            ]
        );
    }

    #[test]
    fn markup_is_no_text() {
        assert_eq!(
            plain("**See** [the `x` page](a/b.md#c) and ![a picture](p.svg)."),
            "See the code page and !a picture."
        );
    }
}
