//! Bodies that pass through, and leave a copy (no copy of bytes: a second reference) for the recorder.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use super::call::{Closing, Opening};
use crate::trace::CallEnd;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request body on its way up.
pub(super) enum Up {
    /// As it comes from the client.
    Stream(Incoming, Opening),
    /// Read before, because someone had to look at it.
    Whole(Option<Bytes>),
    /// Not recorded.
    Through(Incoming),
}

impl Up {
    pub(super) fn stream(body: Incoming, mut opening: Opening) -> Self {
        // Nobody asks an empty body for its end.
        if body.is_end_stream() {
            opening.finish();
        }
        Up::Stream(body, opening)
    }
}

impl Body for Up {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Up::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Up::Through(body) => Pin::new(body).poll_frame(cx).map_err(BoxError::from),
            Up::Stream(body, opening) => {
                let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
                match &frame {
                    Some(Ok(frame)) => {
                        if let Some(data) = frame.data_ref() {
                            opening.push(data);
                        }
                        // Told before the last piece leaves, so that the recorder hears of the request before its answer.
                        if body.is_end_stream() {
                            opening.finish();
                        }
                    }
                    Some(Err(_)) | None => opening.finish(),
                }
                Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Up::Whole(body) => body.as_ref().is_none_or(Bytes::is_empty),
            Up::Stream(body, _) | Up::Through(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Up::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, Bytes::len) as u64),
            Up::Stream(body, _) | Up::Through(body) => body.size_hint(),
        }
    }
}

/// An answer made here: pieces, each after its wait.
pub(super) struct Made {
    pieces: VecDeque<(Duration, Bytes)>,
    waiting: Option<Pin<Box<Sleep>>>,
    /// Whether the connection breaks after the last piece.
    breaks: bool,
}

impl Made {
    pub(super) fn new(pieces: Vec<(Duration, Bytes)>, breaks: bool) -> Self {
        Made { pieces: pieces.into(), waiting: None, breaks }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        let Some((wait, _)) = self.pieces.front() else {
            return Poll::Ready(self.breaks.then(|| Err("the recorded answer breaks off here".into())));
        };
        if !wait.is_zero() {
            let wait = *wait;
            ready!(self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait))).as_mut().poll(cx));
            self.waiting = None;
        }
        Poll::Ready(self.pieces.pop_front().map(|(_, piece)| Ok(piece)))
    }
}

/// Where an answer comes from.
pub(super) enum Source {
    Live(Incoming),
    Made(Made),
}

/// An answer on its way down.
pub(super) struct Down {
    source: Source,
    /// `None` when nothing of it is recorded.
    closing: Option<Closing>,
    /// The length its headers promise.
    promised: Option<u64>,
    got: u64,
    /// How it is to be recorded when it has come whole.
    good_end: CallEnd,
}

impl Down {
    pub(super) fn live(body: Incoming, closing: Option<Closing>) -> Self {
        let promised = body.size_hint().exact();
        Self::new(Source::Live(body), closing, promised, CallEnd::Complete)
    }

    pub(super) fn made(made: Made, closing: Option<Closing>, good_end: CallEnd) -> Self {
        let promised = (!made.breaks).then(|| made.pieces.iter().map(|(_, piece)| piece.len() as u64).sum());
        Self::new(Source::Made(made), closing, promised, good_end)
    }

    /// A short text of our own that nobody records.
    pub(super) fn text(text: impl Into<Bytes>) -> Self {
        Self::made(Made::new(vec![(Duration::ZERO, text.into())], false), None, CallEnd::Complete)
    }

    fn new(source: Source, closing: Option<Closing>, promised: Option<u64>, good_end: CallEnd) -> Self {
        let mut down = Down { source, closing, promised, got: 0, good_end };
        if down.is_end_stream() {
            down.finish(good_end, None);
        }
        down
    }

    fn finish(&mut self, end: CallEnd, error: Option<String>) {
        if let Some(mut closing) = self.closing.take() {
            closing.finish(end, error);
        }
    }
}

impl Body for Down {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = match &mut this.source {
            Source::Live(body) => ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(BoxError::from)),
            Source::Made(made) => ready!(made.poll_piece(cx)).map(|piece| piece.map(Frame::data)),
        };
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.got += data.len() as u64;
                    if let Some(closing) = &mut this.closing {
                        closing.push(data);
                    }
                }
                // Told before the last piece leaves: the client's next call is then always behind it in the queue.
                if this.is_end_stream() {
                    this.finish(this.good_end, None);
                }
            }
            None => this.finish(this.good_end, None),
            Some(Err(error)) => {
                let error = chain(&**error);
                this.finish(CallEnd::Cut, Some(error));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Live(body) => body.is_end_stream() || self.promised == Some(self.got),
            Source::Made(made) => made.pieces.is_empty() && !made.breaks,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Live(body) => body.size_hint(),
            Source::Made(_) => {
                self.promised.map_or_else(SizeHint::new, |promised| SizeHint::with_exact(promised - self.got))
            }
        }
    }
}

/// An error and what lies behind it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut behind = error.source();
    while let Some(error) = behind {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        behind = error.source();
    }
    text
}
