//! What a file looks like from its first bytes: enough to tell formats apart by what is in them, never by their names.

use std::collections::BTreeSet;

use serde_json::Value;

/// The beginning of a file, unpacked.
#[derive(Debug, Default)]
pub struct Shape<'a> {
    /// The path as it was given: where a format is spread over a folder, names mean something.
    pub path: &'a str,
    pub head: &'a [u8],
    /// Keys of the first JSON document, as paths: `trace`, `trace.id`, `[].type`. Found in documents cut off, too.
    keys: BTreeSet<String>,
    /// The first lines that are whole JSON objects.
    pub lines: Vec<Value>,
}

/// Keys deeper than this tell nothing.
const DEEPEST: usize = 4;
/// Lines looked at.
const LINES: usize = 12;

impl<'a> Shape<'a> {
    pub fn of(path: &'a str, head: &'a [u8]) -> Self {
        let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
        let lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        let lines = lines.take(LINES).filter_map(|line| serde_json::from_slice(line).ok()).filter(Value::is_object);
        Shape { path, head, keys: keys(head), lines: lines.collect() }
    }

    /// Whether the first document has this key: `a.b`, `[].a`.
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// Whether it has all of these.
    pub fn all(&self, keys: &[&str]) -> bool {
        keys.iter().all(|key| self.has(key))
    }

    /// Whether one of the first lines is like this.
    pub fn line(&self, like: impl Fn(&Value) -> bool) -> bool {
        self.lines.iter().any(like)
    }

    pub fn is_json(&self) -> bool {
        matches!(self.head.trim_ascii_start().first(), Some(b'{' | b'['))
    }

    /// The file's own name.
    pub fn name(&self) -> &'a str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}

/// A text member of a line.
pub fn text<'a>(line: &'a Value, key: &str) -> &'a str {
    line.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Keys of the first document, as far as there are bytes of it.
fn keys(bytes: &[u8]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    // For each open object or array: its path, and the key that waits for its value.
    let mut open: Vec<(String, bool)> = Vec::new();
    let mut key: Option<String> = None;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => {
                let under = open.last().map(|(path, _)| path.as_str()).unwrap_or_default();
                let path = match key.take() {
                    Some(key) => key,
                    None => under.to_owned(),
                };
                let path = if byte == b'[' { format!("{path}[]") } else { path };
                open.push((path, byte == b'{'));
            }
            b'}' | b']' => {
                open.pop();
                key = None;
                if open.is_empty() {
                    return found;
                }
            }
            b'"' => {
                let Some(len) = string(&bytes[at + 1..]) else { return found };
                if let Some((path, true)) = open.last().filter(|_| key.is_none())
                    && open.len() <= DEEPEST
                {
                    let name = String::from_utf8_lossy(&bytes[at + 1..at + 1 + len]);
                    let name = if path.is_empty() { name.into_owned() } else { format!("{path}.{name}") };
                    found.insert(name.clone());
                    key = Some(name);
                } else {
                    key = match (open.last(), open.len() > DEEPEST, &key) {
                        (Some((path, true)), true, None) => Some(path.clone()),
                        _ => None,
                    };
                }
                at += len + 1;
            }
            b',' => key = None,
            _ => {}
        }
        at += 1;
    }
    found
}

/// The length of a string's inside; `None` when it doesn't end here.
fn string(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let found = at + memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[found] == b'"' {
            return Some(found);
        }
        at = found + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_whole_and_cut_documents() {
        let text =
            r#"{"trace":{"id":"a","n":[1,{"x":2}]},"observations":[{"id":"trace","type":"SPAN"},{"input":"{\"k\":1}"#;
        let shape = Shape::of("x", text.as_bytes());
        for key in [
            "trace",
            "trace.id",
            "trace.n",
            "trace.n[].x",
            "observations",
            "observations[].type",
            "observations[].input",
        ] {
            assert!(shape.has(key), "{key}: {:?}", shape.keys);
        }
        assert!(!shape.has("k") && !shape.has("SPAN") && shape.lines.is_empty());
        let list = Shape::of("x", b"\xef\xbb\xbf [ {\"a\" : {\"b\": \"c\", \"d\": null}} , 3]");
        assert!(list.all(&["[].a", "[].a.b", "[].a.d"]), "{:?}", list.keys);
    }

    #[test]
    fn garbage_has_no_shape() {
        for bytes in
            [&b"\"\\"[..], b"{\"", b"}}}}", b"\xff\xfe{", b"[[[[[[[[[[", b"{\"a\":{\"b\":{\"c\":{\"d\":{\"e\":1}}}}}"]
        {
            let _ = Shape::of("x", bytes);
        }
    }
}
