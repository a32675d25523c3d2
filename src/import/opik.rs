//! Opik exports: a trace with its spans in each file.

use serde_json::Value;

use super::shape::text;
use super::spans::{self, Seen};
use super::{About, Desk, Format, Source, Trouble, desk, document, said, time, usage};
use crate::trace::{Source as From, Timestamp};

pub const FORMAT: Format =
    Format { name: "opik", about: "Opik traces with their spans", fits: |shape| shape.all(&["trace", "spans"]), read };

const WHY: &str = "a span keeps inputs and outputs, not the request that was sent";

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let whole = document(source.from)?;
    let trace = &whole["trace"];
    let spans: Vec<Seen> =
        whole["spans"].as_array().into_iter().flatten().map(|span| seen(span, source.modified)).collect();
    let began = time::read(&trace["start_time"])
        .or_else(|| spans.iter().map(|seen| seen.start).min())
        .unwrap_or(source.modified);
    let mut tags: Vec<(String, String)> = Vec::new();
    for (key, value) in [("project", text(&whole, "project_name")), ("thread", text(trace, "thread_id"))] {
        if !value.is_empty() {
            tags.push((key.to_owned(), value.to_owned()));
        }
    }
    tags.extend(desk::tags(trace));
    let id = desk.begin(About {
        key: text(trace, "id").to_owned(),
        name: Some(text(trace, "name")).filter(|name| !name.is_empty()).map(str::to_owned),
        at: began,
        tags,
        why_not: WHY,
        fields: &[("usage", From::Imported), ("cost_usd", From::Imported), ("times", From::Imported)],
        ..About::default()
    })?;
    let last = spans::tell_all(desk, id, spans)?;
    let mut scored = |of: &Value, span: Option<&str>| -> Result<(), Trouble> {
        for score in of["feedback_scores"].as_array().into_iter().flatten() {
            let label = Some(text(score, "category_name")).filter(|label| !label.is_empty());
            let comment = Some(text(score, "reason")).filter(|reason| !reason.is_empty());
            desk.score(id, last, spans::score(id, span, text(score, "name"), &score["value"], label, comment))?;
        }
        Ok(())
    };
    scored(trace, None)?;
    for span in whole["spans"].as_array().into_iter().flatten() {
        scored(span, Some(text(span, "id")))?;
    }
    let failed = &trace["error_info"];
    let failed = failed.is_object().then(|| format!("{}: {}", text(failed, "exception_type"), text(failed, "message")));
    desk.end(id, time::read(&trace["end_time"]).unwrap_or(last).max(began), failed)
}

fn seen(span: &Value, otherwise: Timestamp) -> Seen {
    let (input, output) = (spans::json_of(&span["input"]), spans::json_of(&span["output"]));
    let failed = &span["error_info"];
    let start = time::read(&span["start_time"]).unwrap_or(otherwise);
    let first =
        span["ttft"].as_f64().filter(|ms| (0.0..1e9).contains(ms)).map(|ms| Timestamp(start.0 + (ms * 1000.0) as i64));
    Seen {
        id: text(span, "id").to_owned(),
        parent: text(span, "parent_span_id").to_owned(),
        name: text(span, "name").to_owned(),
        kind: text(span, "type").to_owned(),
        is_call: text(span, "type") == "llm",
        start,
        end: time::read(&span["end_time"]),
        first_token: first,
        model: text(span, "model").to_owned(),
        provider: text(span, "provider").to_owned(),
        tools: said::tools(&input["tools"]),
        finish: text(&output["choices"][0], "finish_reason").to_owned(),
        response_id: text(&output, "id").to_owned(),
        usage: usage::read(&span["usage"], usage::Cached::Inside),
        cost: span["total_estimated_cost"].as_f64(),
        error: failed.is_object().then(|| format!("{}: {}", text(failed, "exception_type"), text(failed, "message"))),
        input,
        output,
        raw: span.clone(),
        ..Seen::default()
    }
}
