//! Answers without their requests: a saved stream of chat completion chunks, and scripts of Gemini answers.

use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::{Value, json};

use super::desk::digest;
use super::lines::{Line, Lines};
use super::raw::{self, Exchange};
use super::shape::text;
use super::{About, Desk, Format, Shape, Source, Trouble, time};
use crate::trace::{Source as From, Timestamp};

pub const CHUNKS: Format = Format {
    name: "openai-chunks",
    about: "saved streams of chat.completion.chunk, one a line",
    fits: |shape| shape.lines.first().is_some_and(|line| text(line, "object") == "chat.completion.chunk"),
    read: chunks,
};

pub const SCRIPT: Format = Format {
    name: "gemini-script",
    about: "scripts of Gemini answers: method and response, one a line",
    fits: fits_script,
    read: script,
};

const WHY: &str = "only answers are in the file, no requests";

fn fits_script(shape: &Shape<'_>) -> bool {
    shape.line(|line| text(line, "method").contains("enerateContent") && line.get("response").is_some())
}

fn about(source: &Source<'_>, key: &[u8], at: Timestamp) -> About {
    About {
        key: format!("{:x?}", digest(&[&String::from_utf8_lossy(key)])),
        name: source.path.rsplit('/').next().map(str::to_owned),
        at,
        why_not: WHY,
        fields: &[("usage", From::Imported), ("cost_usd", From::Derived), ("times", From::Derived)],
        ..About::default()
    }
}

/// Chunks with the same id are one answer.
fn chunks(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let mut answers: indexmap::IndexMap<String, (Timestamp, String, String)> = indexmap::IndexMap::new();
    let mut first = Vec::new();
    {
        let mut lines = Lines::new(&mut *source.from);
        while let Some(line) = lines.next()? {
            let Line::Whole { bytes, .. } = line else {
                desk.skipped("a line that is too long");
                continue;
            };
            let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
                desk.damaged();
                continue;
            };
            if first.is_empty() {
                first = bytes.to_vec();
            }
            let at = time::read(&value["created"]).unwrap_or(source.modified);
            let (_, model, events) =
                answers.entry(text(&value, "id").to_owned()).or_insert_with(|| (at, String::new(), String::new()));
            text(&value, "model").clone_into(model);
            let _ = write!(events, "data: {value}\n\n");
            desk.used();
        }
    }
    let Some(began) = answers.values().map(|(at, ..)| *at).min() else { return Ok(()) };
    let trace = desk.begin(about(source, &first, began))?;
    let mut last = began;
    for (id, (at, model, events)) in answers {
        last = last.max(at);
        let request = json!({ "messages": [], "model": model, "stream": true }).to_string();
        raw::tell(desk, trace, stream(&id, at, "/v1/chat/completions", request, events))?;
    }
    desk.end(trace, last, None)
}

fn stream(key: &str, at: Timestamp, url: &str, request: String, events: String) -> Exchange {
    Exchange {
        key: key.to_owned(),
        at,
        method: "POST".to_owned(),
        url: url.to_owned(),
        request: Bytes::from(request),
        status: Some(200),
        response_headers: vec![("content-type".to_owned(), "text/event-stream".to_owned())],
        response: Bytes::from(events),
        ..Exchange::default()
    }
}

fn script(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let mut trace = None;
    let path = source.path;
    let began = source.modified;
    let mut number = 0_i64;
    let mut lines = Lines::new(&mut *source.from);
    while let Some(line) = lines.next()? {
        let Line::Whole { bytes, last } = line else {
            desk.skipped("a line that is too long");
            continue;
        };
        let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
            if last {
                desk.skipped("a last line that was cut off");
            } else {
                desk.damaged();
            }
            continue;
        };
        let id = match trace {
            Some(id) => id,
            None => {
                let source = Source { path, modified: began, from: &mut std::io::empty(), file: None, beside: None };
                *trace.insert(desk.begin(about(&source, bytes, began))?)
            }
        };
        number += 1;
        let answers = match &value["response"] {
            Value::Array(list) => list.clone(),
            Value::Null => Vec::new(),
            one => vec![one.clone()],
        };
        let generates = text(&value, "method").contains("enerateContent");
        let at = Timestamp(began.0 + number);
        if !generates || answers.is_empty() {
            desk.unknown(id, at, text(&value, "method"), value.clone())?;
            continue;
        }
        let model =
            answers.iter().map(|one| text(one, "modelVersion")).find(|model| !model.is_empty()).unwrap_or("unknown");
        let url = format!("/v1beta/models/{model}:streamGenerateContent?alt=sse");
        let events = answers.iter().fold(String::new(), |mut events, one| {
            let _ = write!(events, "data: {one}\n\n");
            events
        });
        raw::tell(desk, id, stream(&number.to_string(), at, &url, json!({ "contents": [] }).to_string(), events))?;
        desk.used();
    }
    trace.map_or(Ok(()), |trace| desk.end(trace, Timestamp(began.0 + number), None))
}
