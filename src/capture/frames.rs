//! WebSocket frames: taken apart as they pass, put together for a word of our own.

/// A message longer than this is passed on and not read.
const LONGEST: usize = 256 << 20;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const CONTROL: u8 = 8;

/// What one direction of a WebSocket says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// The frames of it as they came.
    pub(super) raw: Vec<u8>,
    /// The text, when these frames complete one.
    pub(super) text: Option<String>,
}

/// Takes frames apart.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pending: Vec<u8>,
    message: Message,
    /// What comes cannot be read (or is too long); it passes all the same.
    unreadable: bool,
}

/// A message that has begun: its frames as they came, and what they said.
#[derive(Debug, Default)]
struct Message {
    raw: Vec<u8>,
    said: Vec<u8>,
    is_text: bool,
}

impl Message {
    /// Takes a frame; gives the message when it was the last one.
    fn take(&mut self, frame: &[u8], head: &Head) -> Option<Passed> {
        if head.opcode != CONTINUATION {
            self.is_text = head.opcode == TEXT;
        }
        self.raw.extend_from_slice(frame);
        let from = self.said.len();
        self.said.extend_from_slice(&frame[head.at..]);
        if let Some(mask) = head.mask {
            self.said[from..].iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        }
        if !head.last {
            return None;
        }
        let (raw, said) = (std::mem::take(&mut self.raw), std::mem::take(&mut self.said));
        Some(Passed { raw, text: self.is_text.then(|| String::from_utf8_lossy(&said).into_owned()) })
    }
}

struct Head {
    last: bool,
    packed: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    at: usize,
    len: usize,
}

impl Frames {
    /// Takes the next bytes; gives what is ready to be passed on. A message passes when it is whole; ping, pong and close at once.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Passed> {
        if self.unreadable {
            return vec![Passed { raw: bytes.to_vec(), text: None }];
        }
        self.pending.extend_from_slice(bytes);
        let mut passed = Vec::new();
        let mut start = 0;
        while let Some(head) = head(&self.pending[start..]) {
            let end = start.saturating_add(head.at).saturating_add(head.len);
            if head.packed || head.len > LONGEST || self.message.said.len() > LONGEST {
                self.unreadable = true;
                let mut raw = std::mem::take(&mut self.message.raw);
                raw.extend_from_slice(&self.pending[start..]);
                self.pending.clear();
                passed.push(Passed { raw, text: None });
                return passed;
            }
            if self.pending.len() < end {
                break;
            }
            let frame = &self.pending[start..end];
            if head.opcode >= CONTROL {
                passed.push(Passed { raw: frame.to_vec(), text: None });
            } else {
                passed.extend(self.message.take(frame, &head));
            }
            start = end;
        }
        self.pending.drain(..start);
        passed
    }
}

fn head(bytes: &[u8]) -> Option<Head> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (len, mut at) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
        short => (u64::from(short), 2),
    };
    let mut mask = None;
    if second & 0x80 != 0 {
        mask = Some(bytes.get(at..at + 4)?.try_into().ok()?);
        at += 4;
    }
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    Some(Head { last: first & 0x80 != 0, packed: first & 0x70 != 0, opcode: first & 0x0f, mask, at, len })
}

/// A text from a server, as one frame.
pub(super) fn text(text: &str) -> Vec<u8> {
    let mut frame = vec![0x80 | TEXT];
    let len = text.len();
    match (u8::try_from(len).ok().filter(|len| *len < 126), u16::try_from(len)) {
        (Some(len), _) => frame.push(len),
        (None, Ok(len)) => {
            frame.push(126);
            frame.extend_from_slice(&len.to_be_bytes());
        }
        (None, Err(_)) => {
            frame.push(127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(text.as_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(opcode: u8, last: bool, said: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![if last { 0x80 | opcode } else { opcode }, 0x80 | u8::try_from(said.len()).unwrap()];
        frame.extend_from_slice(&mask);
        frame.extend(said.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    #[test]
    fn messages_come_out_whole_however_they_are_cut() {
        let long = "x".repeat(70_000);
        let mut all = masked(TEXT, false, b"hel");
        all.extend(masked(9, true, b"ping"));
        all.extend(masked(CONTINUATION, true, b"lo"));
        all.extend(text("short"));
        all.extend(text(&long[..200]));
        all.extend(text(&long));
        all.extend(masked(2, true, b"bin"));
        for size in [1, 3, 1000, all.len()] {
            let mut frames = Frames::default();
            let passed: Vec<Passed> = all.chunks(size).flat_map(|piece| frames.push(piece)).collect();
            let texts: Vec<&str> = passed.iter().filter_map(|passed| passed.text.as_deref()).collect();
            assert_eq!(texts, ["hello", "short", &long[..200], &long]);
            let mut raw: Vec<u8> = passed.iter().flat_map(|passed| passed.raw.clone()).collect();
            assert_eq!(raw.len(), all.len());
            raw.sort_unstable();
            let mut sorted = all.clone();
            sorted.sort_unstable();
            assert_eq!(raw, sorted);
        }
    }

    #[test]
    fn what_cannot_be_read_passes_as_it_is() {
        let mut frames = Frames::default();
        let packed = [0xc1, 2, 1, 2, 3, 4];
        assert_eq!(frames.push(&packed), [Passed { raw: packed.to_vec(), text: None }]);
        assert_eq!(frames.push(b"more"), [Passed { raw: b"more".to_vec(), text: None }]);
        let mut frames = Frames::default();
        let huge = [0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(frames.push(&huge)[0].raw, huge);
    }
}
