//! The work happens in another folder than when it was recorded: paths are turned round on their way in and out.

use bytes::Bytes;
use memchr::memmem;

use crate::provider;
use crate::trace::{CallEnded, Wire};

/// Folders that stand for each other: where it was recorded, and where it runs now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roots(Vec<(String, String)>);

impl Roots {
    /// No folder has moved.
    pub fn none() -> Self {
        Self::default()
    }

    /// The work was in `then` and is in `now`. Folders too short to be recognised in a text, like `/`, stay.
    pub fn moved(then: &str, now: &str) -> Self {
        let mut roots = Self::none();
        roots.add(then, now);
        roots
    }

    /// One more folder that has moved.
    pub fn add(&mut self, then: &str, now: &str) {
        let (then, now) = (then.trim_end_matches('/'), now.trim_end_matches('/'));
        if then.len() > 2 && now.len() > 2 && then != now {
            self.0.push((then.to_owned(), now.to_owned()));
        }
    }

    /// What the loop says now, as it would have said it then.
    pub fn back(&self, body: Bytes) -> Bytes {
        self.0.iter().fold(body, |body, (then, now)| turn(body, now, then))
    }

    /// A recorded text, as it has to be now.
    pub fn forth(&self, body: Bytes) -> Bytes {
        self.0.iter().fold(body, |body, (then, now)| turn(body, then, now))
    }

    /// Whether a recorded text names a folder that has moved.
    pub fn concern(&self, body: &[u8]) -> bool {
        self.0.iter().any(|(then, _)| finds(body, then).next().is_some())
    }

    /// A recorded answer as it has to be now; `None` where it names no folder that has moved. A name may be spread over many
    /// events of a stream: then the answer is written anew.
    pub fn concern_answer(&self, wire: Wire, ended: &CallEnded) -> Option<Bytes> {
        if self.0.is_empty() {
            return None;
        }
        let mut body = None;
        if self.concern(&ended.body) {
            body = Some(self.forth(ended.body.clone()));
        }
        let status = ended.status.unwrap_or(200);
        let mut read = provider::response(wire, status, &ended.headers, body.as_ref().unwrap_or(&ended.body));
        let Some(message) = read.message.as_mut() else { return body };
        let spread = serde_json::to_vec(&message).map(Bytes::from).unwrap_or_default();
        if !self.concern(&spread) {
            return body;
        }
        if let Ok(turned) = serde_json::from_slice(&self.forth(spread)) {
            *message = turned;
        }
        let stream = ended
            .headers
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case("content-type") && value.contains("event-stream"));
        let (_, pieces) = provider::answer(wire, stream, &read);
        Some(pieces.concat().into())
    }

    /// A word of a command line, as it has to be now.
    pub fn word(&self, word: &str) -> String {
        let turned = self.forth(Bytes::copy_from_slice(word.as_bytes()));
        String::from_utf8_lossy(&turned).into_owned()
    }
}

/// Where a folder's name stands as a whole: `/work` is not in `/workshop`.
fn finds<'a>(body: &'a [u8], path: &'a str) -> impl Iterator<Item = usize> + 'a {
    memmem::find_iter(body, path).filter(move |at| {
        let goes_on = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let next = body.get(at + path.len());
        // A full stop ends a sentence more often than it goes on in a name.
        let dotted = next == Some(&b'.') && !body.get(at + path.len() + 1).is_some_and(u8::is_ascii_alphanumeric);
        let byte_before = |by: usize| at.checked_sub(by).and_then(|at| body.get(at));
        // Inside JSON a line break is written `\n`, which is no letter of a longer name.
        let joined =
            byte_before(1).is_some_and(|byte| goes_on(byte) || *byte == b'/') && byte_before(2) != Some(&b'\\');
        (dotted || !next.is_some_and(goes_on)) && !joined
    })
}

fn turn(body: Bytes, from: &str, to: &str) -> Bytes {
    let found: Vec<usize> = finds(&body, from).collect();
    if found.is_empty() {
        return body;
    }
    let mut out = Vec::with_capacity(body.len() + 64);
    let mut at = 0;
    for start in found {
        out.extend_from_slice(&body[at..start]);
        out.extend_from_slice(to.as_bytes());
        at = start + from.len();
    }
    out.extend_from_slice(&body[at..]);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_turned_round_where_they_stand_as_a_whole() {
        let roots = Roots::moved("/home/dev/shop/", "/tmp/hb1/w");
        let there = Bytes::from_static(
            br#"{"cmd":"cd /home/dev/shop && ls /home/dev/shop/a /home/dev/shopping. In /home/dev/shop."}"#,
        );
        let here = roots.forth(there.clone());
        assert_eq!(&here[..], br#"{"cmd":"cd /tmp/hb1/w && ls /tmp/hb1/w/a /home/dev/shopping. In /tmp/hb1/w."}"#);
        assert_eq!(roots.back(here), there);
        assert!(roots.concern(&there) && !roots.concern(b"/home/dev/shopping"));
        assert_eq!(Roots::moved("/", "/x/y").forth(there.clone()), there);
    }
}
