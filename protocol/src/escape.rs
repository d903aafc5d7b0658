//! Makes strings of other processes safe to show on a terminal.

/// `text` with every control and format character written out, such as `\u{1b}`.
///
/// Control characters move the cursor; format characters (Unicode category Cf) reorder or hide what stands beside them.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() || is_format(letter) {
            out.extend(letter.escape_default());
        } else {
            out.push(letter);
        }
    }
    out
}

/// Whether `letter` is in the category Cf of Unicode 16, or separates lines or paragraphs.
fn is_format(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(escaped("a\x1b[2Kb\r\n\t\u{9b}"), "a\\u{1b}[2Kb\\r\\n\\t\\u{9b}");
        assert_eq!(
            escaped("\u{202e}sdrah\u{2066}\u{200b}\u{e0041}"),
            "\\u{202e}sdrah\\u{2066}\\u{200b}\\u{e0041}"
        );
        assert_eq!(escaped("plain – ünï ✓"), "plain – ünï ✓");
    }
}
