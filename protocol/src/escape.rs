//! Escapes strings from other processes for display on a terminal.

/// Replaces every control and format character of `text` by an escape such as `\u{1b}`.
///
/// Control characters move the cursor. Format characters (Unicode category Cf) reorder or hide adjacent text.
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

/// Replaces every control and format character in the JSON text `json` by `\\uXXXX`. The value stays the same.
///
/// JSON itself escapes only the control characters below U+0020.
#[must_use]
pub fn escaped_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_control() || is_format(letter) {
            let units = letter
                .encode_utf16(&mut [0; 2])
                .iter()
                .map(|unit| format!("\\u{unit:04x}"))
                .collect::<String>();
            out.push_str(&units);
        } else {
            out.push(letter);
        }
    }
    out
}

/// Whether `letter` is in category Cf of Unicode 16, or is a line or paragraph separator.
fn is_format(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::{escaped, escaped_json};

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(escaped("a\x1b[2Kb\r\n\t\u{9b}"), "a\\u{1b}[2Kb\\r\\n\\t\\u{9b}");
        assert_eq!(
            escaped("\u{202e}sdrah\u{2066}\u{200b}\u{e0041}"),
            "\\u{202e}sdrah\\u{2066}\\u{200b}\\u{e0041}"
        );
        assert_eq!(escaped("plain – ünï ✓"), "plain – ünï ✓");
    }
    #[test]
    fn json_keeps_its_value_and_loses_what_a_terminal_would_obey() {
        let value = serde_json::json!({"cause": "a\u{1b}[2K\u{9b}b\u{7f}\u{202e}\u{e0041}\"ü"});
        let text = escaped_json(&value.to_string());
        assert_eq!(text, r#"{"cause":"a\u001b[2K\u009bb\u007f\u202e\udb40\udc41\"ü"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
