//! Configuration files of agents: JSON, often with comments and commas too many.

use std::path::Path;

use serde_json::Value;

use super::AdapterError;

/// Reads a file; `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<Value>, AdapterError> {
    let bad = |reason: String| AdapterError::Config { path: path.to_owned(), reason };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(bad(error.to_string())),
    };
    parse(&text).map(Some).map_err(|error| bad(error.to_string()))
}

/// Parses JSON with comments and trailing commas.
pub(super) fn parse(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text).or_else(|_| serde_json::from_str(&plain(text)))
}

fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut in_text = false;
    while let Some(char) = chars.next() {
        match char {
            '\\' if in_text => {
                out.push(char);
                out.extend(chars.next());
            }
            '"' => {
                in_text = !in_text;
                out.push(char);
            }
            '/' if !in_text && chars.peek() == Some(&'/') => while chars.next_if(|char| *char != '\n').is_some() {},
            '/' if !in_text && chars.peek() == Some(&'*') => {
                let mut last = ' ';
                for char in chars.by_ref() {
                    if last == '*' && char == '/' {
                        break;
                    }
                    last = char;
                }
            }
            '}' | ']' if !in_text => {
                if out.trim_end().ends_with(',') {
                    out.truncate(out.trim_end().len() - 1);
                }
                out.push(char);
            }
            char => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_commas_are_forgiven_and_texts_left_alone() {
        let text = "{ // one\n \"url\": \"http://x/*y*/\", /* two\n */ \"list\": [1, 2,], \"q\": \"\\\"//\", }";
        assert_eq!(parse(text).unwrap(), serde_json::json!({ "url": "http://x/*y*/", "list": [1, 2], "q": "\"//" }));
        assert!(parse("{").is_err());
    }
}
