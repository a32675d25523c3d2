//! Cuts a response body into the JSON texts it is made of: server-sent events, one JSON, or a JSON array that streams its
//! elements. Every byte is looked at once, however the body is cut into pieces.

/// Something whole came out of the body.
pub enum Frame<'a> {
    /// An event with its name (empty when it had none) and its data.
    Event { name: &'a [u8], data: &'a [u8] },
    /// A JSON text: the whole body, or an element of the array that the body is.
    Json(&'a [u8]),
    /// The outermost JSON value is closed.
    Closed,
}

/// Where a body is and what of it is pending.
pub struct Framer {
    mode: Mode,
    /// Whether an array's elements are handed out one by one.
    split_arrays: bool,
    offset: usize,
}

enum Mode {
    /// Nothing but white space so far.
    Start,
    Events(Events),
    Json(Json),
}

#[derive(Default)]
struct Events {
    /// The beginning of a line whose end hasn't come.
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
}

#[derive(Default)]
struct Json {
    /// What the value that is open began with.
    pending: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
    array: bool,
    closed: bool,
}

impl Framer {
    pub fn new(split_arrays: bool) -> Self {
        Framer { mode: Mode::Start, split_arrays, offset: 0 }
    }

    /// Takes bytes and hands on what got whole by them, with the offset in the body at which each ends.
    pub fn feed(&mut self, mut bytes: &[u8], take: &mut dyn FnMut(Frame<'_>, usize)) {
        if let Mode::Start = self.mode {
            // A byte order mark counts as white space.
            let skip = bytes.iter().take_while(|b| b.is_ascii_whitespace() || matches!(b, 0xef | 0xbb | 0xbf)).count();
            self.offset += skip;
            bytes = &bytes[skip..];
            match bytes.first() {
                None => return,
                Some(b'{') => self.mode = Mode::Json(Json::default()),
                Some(b'[') => self.mode = Mode::Json(Json { array: self.split_arrays, ..Json::default() }),
                Some(_) => self.mode = Mode::Events(Events::default()),
            }
        }
        match &mut self.mode {
            Mode::Start => {}
            Mode::Events(events) => events.feed(bytes, self.offset, take),
            Mode::Json(json) => json.feed(bytes, self.offset, take),
        }
        self.offset += bytes.len();
    }

    /// Counts bytes that came past the framing; the offset after them.
    pub fn skip(&mut self, len: usize) -> usize {
        self.offset += len;
        self.offset
    }

    /// The body has ended: an event that only lacks its last empty line still counts.
    pub fn finish(&mut self, take: &mut dyn FnMut(Frame<'_>, usize)) {
        if let Mode::Events(events) = &mut self.mode {
            let line = std::mem::take(&mut events.line);
            events.line(&line, self.offset, take);
            events.line(b"", self.offset, take);
        }
    }
}

impl Events {
    fn feed(&mut self, bytes: &[u8], offset: usize, take: &mut dyn FnMut(Frame<'_>, usize)) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            if self.line.is_empty() {
                self.line(&bytes[start..end], offset + end + 1, take);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&bytes[start..end]);
                self.line(&line, offset + end + 1, take);
                line.clear();
                self.line = line;
            }
            start = end + 1;
        }
        self.line.extend_from_slice(&bytes[start..]);
    }

    fn line(&mut self, line: &[u8], offset: usize, take: &mut dyn FnMut(Frame<'_>, usize)) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            if self.has_data {
                take(Frame::Event { name: &self.name, data: &self.data }, offset);
            }
            self.name.clear();
            self.data.clear();
            self.has_data = false;
        } else if let Some(value) = field(line, b"data") {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
            self.has_data = true;
        } else if let Some(value) = field(line, b"event") {
            self.name.clear();
            self.name.extend_from_slice(value);
        }
    }
}

/// The value of a line of that name: one space after the colon belongs to the syntax.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(name)?;
    if rest.is_empty() {
        return Some(rest);
    }
    let value = rest.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

impl Json {
    fn feed(&mut self, bytes: &[u8], offset: usize, take: &mut dyn FnMut(Frame<'_>, usize)) {
        // From where on the bytes at hand belong to a value that is still open.
        let mut start = (!self.pending.is_empty() || self.in_value()).then_some(0);
        let mut at = 0;
        while at < bytes.len() {
            if self.in_string {
                if self.escaped {
                    self.escaped = false;
                    at += 1;
                    continue;
                }
                let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at..]) else { break };
                at += found + 1;
                match bytes[at - 1] {
                    b'"' => self.in_string = false,
                    _ => self.escaped = true,
                }
                continue;
            }
            match bytes[at] {
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    if self.depth == usize::from(self.array) {
                        start = Some(at);
                    }
                    self.depth += 1;
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == usize::from(self.array)
                        && let Some(from) = start.take()
                    {
                        self.pending.extend_from_slice(&bytes[from..=at]);
                        take(Frame::Json(&self.pending), offset + at + 1);
                        self.pending.clear();
                    }
                    if self.depth == 0 && !self.closed {
                        self.closed = true;
                        take(Frame::Closed, offset + at + 1);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        if let Some(from) = start {
            self.pending.extend_from_slice(&bytes[from..]);
        }
    }

    fn in_value(&self) -> bool {
        self.depth > usize::from(self.array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(body: &[u8], step: usize) -> Vec<(String, usize)> {
        let mut framer = Framer::new(true);
        let mut all = Vec::new();
        let mut take = |frame: Frame<'_>, at: usize| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            all.push(match frame {
                Frame::Event { name, data } => (format!("{}|{}", text(name), text(data)), at),
                Frame::Json(data) => (text(data), at),
                Frame::Closed => ("closed".to_owned(), at),
            });
        };
        for piece in body.chunks(step.max(1)) {
            framer.feed(piece, &mut take);
        }
        framer.finish(&mut take);
        all
    }

    #[test]
    fn bodies_are_cut_the_same_way_however_they_come() {
        let cases: &[(&str, &[(&str, usize)])] = &[
            ("", &[]),
            (" \n", &[]),
            ("data: a\n\n", &[("|a", 9)]),
            ("data: a", &[("|a", 7)]),
            ("data:a\ndata\ndata:  b\r\n\r\n", &[("|a\n\n b", 24)]),
            (": hi\n\nevent: x\nid: 3\ndata: {}\n\nevent: y\n\ndata: z\n\n", &[("x|{}", 31), ("|z", 50)]),
            ("\u{feff}data: a\n\n", &[("|a", 12)]),
            (" {\"a\":\"}\\\"\",\"b\":[{}]} ", &[("{\"a\":\"}\\\"\",\"b\":[{}]}", 21), ("closed", 21)]),
            ("[{\"a\":[1]}\n, {\"b\":\"]\"}]", &[("{\"a\":[1]}", 10), ("{\"b\":\"]\"}", 22), ("closed", 23)]),
            ("[]", &[("closed", 2)]),
            ("{\"a\":", &[]),
            ("}]{\"a\":1}", &[]),
        ];
        for (body, expected) in cases {
            for step in 1..=body.len().max(1) {
                let expected: Vec<_> = expected.iter().map(|(text, at)| ((*text).to_owned(), *at)).collect();
                assert_eq!(frames(body.as_bytes(), step), expected, "{body:?} in pieces of {step}");
            }
        }
    }

    #[test]
    fn fifty_megabytes_in_one_event_take_linear_time() {
        let mut body = b"data: \"".to_vec();
        body.resize(50_000_000, b'x');
        body.extend_from_slice(b"\"\n\n");
        assert_eq!(frames(&body, 4096)[0].1, body.len());
    }
}
