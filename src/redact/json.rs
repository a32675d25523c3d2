//! Where the strings of a JSON text are, without building the value: positions are what redaction needs, and a body may
//! be cut off in the middle.

use std::ops::Range;

/// A string value and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Between the quotes, escapes as they are.
    pub range: Range<usize>,
    /// The object or array it stands in: an index into [`Document::nodes`].
    pub parent: usize,
    /// Its key, where it stands in an object.
    pub key: Option<Range<usize>>,
}

/// An object or array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The one it stands in; the outermost is its own.
    pub parent: usize,
    pub key: Option<Range<usize>>,
    /// Its place, where it stands in an array.
    pub place: usize,
    pub is_object: bool,
    /// Children so far.
    len: usize,
}

/// A number, `true`, `false` or `null` in an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    pub parent: usize,
    pub key: Range<usize>,
    pub range: Range<usize>,
}

/// One JSON value, or as much of it as there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    pub nodes: Vec<Node>,
    pub texts: Vec<Text>,
    pub plains: Vec<Plain>,
    /// Where it ends.
    pub end: usize,
    /// Whether it was well formed up to its end.
    pub whole: bool,
}

/// Reads the object or array that begins at `at`. `None` when there is none.
pub fn read(bytes: &[u8], at: usize) -> Option<Document> {
    let mut reader = Reader { bytes, at, document: Document::default(), open: Vec::new() };
    matches!(bytes.get(at), Some(b'{' | b'[')).then(|| {
        reader.run();
        reader.document.end = reader.at;
        reader.document
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    document: Document,
    open: Vec<usize>,
}

impl Reader<'_> {
    fn run(&mut self) {
        let mut key: Option<Range<usize>> = None;
        while let Some(byte) = self.bytes.get(self.at).copied() {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' | b',' | b':' => self.at += 1,
                b'{' | b'[' => {
                    self.begin(byte == b'{', key.take());
                    self.at += 1;
                }
                b'}' | b']' => {
                    self.open.pop();
                    self.at += 1;
                    key = None;
                    if self.open.is_empty() {
                        self.document.whole = true;
                        return;
                    }
                }
                b'"' => {
                    let Some(range) = self.string() else { return };
                    if self.is_key() && key.is_none() {
                        key = Some(range);
                    } else {
                        self.text(range, key.take());
                    }
                }
                _ => {
                    let len =
                        self.bytes[self.at..].iter().take_while(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
                    let range = self.at..self.at + len.count();
                    if range.is_empty() {
                        return;
                    }
                    self.at = range.end;
                    self.count();
                    if let (Some(key), Some(parent)) = (key.take(), self.open.last()) {
                        self.document.plains.push(Plain { parent: *parent, key, range });
                    }
                }
            }
        }
    }

    fn is_key(&self) -> bool {
        self.open.last().is_some_and(|node| self.document.nodes[*node].is_object)
    }

    fn begin(&mut self, is_object: bool, key: Option<Range<usize>>) {
        let index = self.document.nodes.len();
        let place = self.count();
        let parent = self.open.last().copied().unwrap_or(index);
        self.document.nodes.push(Node { parent, key, place, is_object, len: 0 });
        self.open.push(index);
    }

    /// Counts a child of the innermost node and gives its place.
    fn count(&mut self) -> usize {
        let Some(node) = self.open.last() else { return 0 };
        let len = &mut self.document.nodes[*node].len;
        *len += 1;
        *len - 1
    }

    fn text(&mut self, range: Range<usize>, key: Option<Range<usize>>) {
        self.count();
        if let Some(parent) = self.open.last() {
            self.document.texts.push(Text { range, parent: *parent, key });
        }
    }

    /// The inside of the string that begins here; one that never ends goes to the end of the bytes, and no further.
    fn string(&mut self) -> Option<Range<usize>> {
        let start = self.at + 1;
        let mut at = start;
        loop {
            match memchr::memchr2(b'"', b'\\', &self.bytes[at.min(self.bytes.len())..]) {
                Some(found) if self.bytes[at + found] == b'"' => {
                    self.at = at + found + 1;
                    return Some(start..at + found);
                }
                Some(found) => at += found + 2,
                None => {
                    self.at = self.bytes.len();
                    self.text(start..self.bytes.len(), None);
                    return None;
                }
            }
        }
    }
}

/// A string with its escapes resolved, and where each piece of it came from.
#[derive(Debug)]
pub struct Decoded {
    pub text: Vec<u8>,
    /// Runs of plain bytes and escapes, in order.
    runs: Vec<Run>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    /// Where it begins in the text and in the raw bytes.
    text: usize,
    raw: usize,
    is_escape: bool,
}

/// Resolves the escapes of a raw string that stands at `range`.
pub fn decode(bytes: &[u8], range: Range<usize>) -> Decoded {
    let raw = &bytes[range.clone()];
    let mut text = Vec::with_capacity(raw.len());
    let mut runs = vec![Run { text: 0, raw: range.start, is_escape: false }];
    let mut at = 0;
    while let Some(len) = memchr::memchr(b'\\', &raw[at..]) {
        text.extend_from_slice(&raw[at..at + len]);
        at += len;
        runs.push(Run { text: text.len(), raw: range.start + at, is_escape: true });
        at += escape(&raw[at..], &mut text);
        runs.push(Run { text: text.len(), raw: range.start + at, is_escape: false });
    }
    text.extend_from_slice(&raw[at..]);
    Decoded { text, runs }
}

/// Resolves the escapes of a raw string and appends what it says.
pub fn decode_into(raw: &[u8], text: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(len) = memchr::memchr(b'\\', &raw[at..]) {
        text.extend_from_slice(&raw[at..at + len]);
        at += len;
        at += escape(&raw[at..], text);
    }
    text.extend_from_slice(&raw[at..]);
}

/// Resolves one escape; how many raw bytes it takes.
fn escape(raw: &[u8], text: &mut Vec<u8>) -> usize {
    let plain = match raw.get(1) {
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'b') => 8,
        Some(b'f') => 12,
        Some(b'u') => return unicode(raw, text),
        Some(other) => *other,
        None => return 1,
    };
    text.push(plain);
    2
}

fn unicode(raw: &[u8], text: &mut Vec<u8>) -> usize {
    let unit =
        |at: usize| raw.get(at..at + 4).and_then(|hex| u32::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
    let Some(first) = unit(2) else { return raw.len().min(2) };
    let pair = (0xD800..0xDC00).contains(&first) && raw.get(6..8) == Some(b"\\u");
    let second = if pair { unit(8).filter(|low| (0xDC00..0xE000).contains(low)) } else { None };
    let (code, used) = match second {
        Some(low) => (0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00), 12),
        None => (first, 6),
    };
    let letter = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    used
}

impl Decoded {
    /// Where a piece of the text stands in the raw bytes; escapes are taken whole.
    pub fn raw(&self, piece: Range<usize>) -> Range<usize> {
        self.raw_at(piece.start, false)..self.raw_at(piece.end, true)
    }

    fn raw_at(&self, at: usize, is_end: bool) -> usize {
        let next = self.runs.partition_point(|run| run.text <= at);
        let run = self.runs[next - 1];
        match (run.is_escape, at == run.text) {
            (false, _) => run.raw + (at - run.text),
            (true, true) => run.raw,
            // An escape is always followed by a run, if only an empty one.
            (true, false) => {
                if is_end {
                    self.runs[next].raw
                } else {
                    run.raw
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(json: &str) -> Vec<(String, String)> {
        let document = read(json.as_bytes(), 0).unwrap();
        let key = |text: &Text| text.key.clone().map_or(String::new(), |key| json[key].to_owned());
        document.texts.iter().map(|t| (key(t), json[t.range.clone()].to_owned())).collect()
    }

    #[test]
    fn strings_are_found_with_their_keys_and_keys_are_not_strings() {
        let json = r#"{"a": "x", "b": ["y", {"c": "z\"w"}], "n": 1, "e": "", "t": true}"#;
        let expected = [("a", "x"), ("", "y"), ("c", r#"z\"w"#), ("e", "")];
        assert_eq!(texts(json), expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        let document = read(json.as_bytes(), 0).unwrap();
        assert!(document.whole && document.end == json.len());
        assert_eq!(document.plains.len(), 2);
    }

    #[test]
    fn a_text_that_is_cut_off_is_read_as_far_as_it_goes() {
        assert_eq!(texts(r#"{"a": "x", "b": "half of i"#).last().unwrap().1, "half of i");
        for cut in 0..40 {
            let json = r#"{"a": [1, "\u0041b\\"], "b": {"c": nul"#;
            let document = read(&json.as_bytes()[..cut.min(json.len())], 0);
            assert!(document.is_none_or(|d| !d.whole));
        }
    }

    #[test]
    fn places_in_decoded_text_lead_back_to_the_raw_bytes() {
        let raw = r"a\u0026key\/\nx\ud83d\ude00é";
        let decoded = decode(raw.as_bytes(), 0..raw.len());
        assert_eq!(decoded.text, "a&key/\nx😀é".as_bytes());
        let back = |from: &str| {
            let at = memchr::memmem::find(&decoded.text, from.as_bytes()).unwrap();
            &raw[decoded.raw(at..at + from.len())]
        };
        assert_eq!(back("a&"), r"a\u0026");
        assert_eq!(back("key/"), r"key\/");
        assert_eq!(back("key"), "key");
        assert_eq!(back("x😀"), r"x\ud83d\ude00");
        assert_eq!(back("é"), "é");
    }
}
