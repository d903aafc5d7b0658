//! Splits Rust source into tokens, without comments and literal contents.

/// A word, a path separator, or any other non-space character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Word(&'a str),
    PathSeparator,
    Mark(char),
}

/// All tokens of `text`, which must be valid Rust.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(literal) = skipped(rest) {
            rest = &rest[literal..];
        } else if first.is_alphanumeric() || first == '_' {
            let end =
                rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
            tokens.push(Token::Word(&rest[..end]));
            rest = &rest[end..];
        } else if let Some(after) = rest.strip_prefix("::") {
            tokens.push(Token::PathSeparator);
            rest = after;
        } else {
            if !first.is_whitespace() {
                tokens.push(Token::Mark(first));
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    tokens
}

/// The length of the comment, string, character or lifetime at the start of `text`.
fn skipped(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment(text));
    }
    let prefix = text.find(|letter| !matches!(letter, 'b' | 'c' | 'r')).filter(|length| *length <= 2)?;
    let literal = &text[prefix..];
    if text[..prefix].ends_with('r') {
        let hashes = literal.len() - literal.trim_start_matches('#').len();
        let inner = literal[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = inner.find(&end).map_or(inner.len(), |at| at + end.len());
        return Some(prefix + hashes + 1 + length);
    }
    if let Some(inner) = literal.strip_prefix('"') {
        return Some(prefix + 1 + until(inner, '"'));
    }
    let inner = literal.strip_prefix('\'')?;
    let mut letters = inner.chars();
    let is_character = letters.next() == Some('\\') || letters.next() == Some('\'');
    // A lifetime's name may remain as a token, because no path starts with it.
    Some(prefix + 1 + if is_character { until(inner, '\'') } else { 0 })
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, pair) in text.as_bytes().windows(2).enumerate() {
        match pair {
            b"/*" => depth += 1,
            b"*/" if depth == 1 => return at + 2,
            b"*/" => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// The length up to and including the first unescaped `end`.
fn until(text: &str, end: char) -> usize {
    let mut protected = false;
    for (at, letter) in text.char_indices() {
        if letter == end && !protected {
            return at + letter.len_utf8();
        }
        protected = letter == '\\' && !protected;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::{Token, tokens};

    #[test]
    fn literals_and_comments_are_left_out() {
        let text = "a::b /* x /* y */ z */ 'c' b'\\'' \"s \\\" t\" br#\"u \" v\"# // w\n&'life mut c";
        let marks = [Token::Mark('&'), Token::Word("life"), Token::Word("mut"), Token::Word("c")];
        let path = [Token::Word("a"), Token::PathSeparator, Token::Word("b")];
        assert_eq!(tokens(text), [&path[..], &marks[..]].concat());
    }

    #[test]
    fn words_that_begin_like_a_literal_are_words() {
        assert_eq!(
            tokens("crate break r#type").iter().filter(|token| matches!(token, Token::Word(_))).count(),
            4
        );
    }
}
