//! Langfuse exports: a trace with its observations, whose inputs and outputs are JSON inside of texts. Scores come along.

use serde_json::{Value, json};

use super::shape::text;
use super::spans::{self, Seen};
use super::{About, Desk, Format, Source, Trouble, desk, records, said, time, usage};
use crate::trace::{Source as From, Timestamp};

pub const FORMAT: Format = Format {
    name: "langfuse",
    about: "Langfuse traces with their observations",
    fits: |shape| {
        shape.all(&["trace", "observations"])
            || shape.all(&["observations[].traceId"])
            || shape.all(&["id", "projectId", "observations"])
            || shape.all(&["[].traceId", "[].type", "[].startTime"])
            || shape.all(&["[].trace_id", "[].type", "[].start_time", "[].parent_observation_id"])
            || shape.all(&["data[].traceId", "data[].type", "data[].startTime"])
            || shape.line(is_row)
    },
    read,
};

/// An observation, in a line of its own.
fn is_row(line: &Value) -> bool {
    let any = |keys: [&str; 2]| keys.iter().any(|key| line.get(*key).is_some());
    let known = ["GENERATION", "SPAN", "EVENT", "AGENT", "TOOL", "CHAIN", "RETRIEVER", "EMBEDDING", "EVALUATOR"];
    any(["traceId", "trace_id"]) && any(["startTime", "start_time"]) && known.contains(&text(line, "type"))
}

const WHY: &str = "an observation keeps messages and parameters, not the request that was sent";

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let mut loose: indexmap::IndexMap<String, Vec<Value>> = indexmap::IndexMap::new();
    let otherwise = source.modified;
    records::each(source.from, desk, &["data"], &mut |desk, record| {
        if record.get("observations").is_some() || record.get("trace").is_some() {
            let (trace, observations) = parts(&record);
            return one(desk, &trace, &observations, otherwise);
        }
        // An observation by itself, of whatever trace it is.
        let observation = camel(record);
        if text(&observation, "traceId").is_empty() {
            desk.skipped("records that are neither traces with observations nor observations");
        } else {
            loose.entry(text(&observation, "traceId").to_owned()).or_default().push(observation);
        }
        Ok(())
    })?;
    for (id, observations) in loose {
        // Newer exports say of the trace what they know in each row.
        let first = |key: &str| observations.iter().map(|one| &one[key]).find(|value| !value.is_null());
        let trace = json!({ "id": id, "name": first("traceName"), "userId": first("userId"),
            "sessionId": first("sessionId"), "environment": first("environment"), "release": first("release") });
        one(desk, &trace, &observations, source.modified)?;
    }
    Ok(())
}

/// A row of a table export has its columns in snake_case, and some under another name.
fn camel(record: Value) -> Value {
    let Value::Object(columns) = record else { return record };
    if !columns.contains_key("trace_id") {
        return Value::Object(columns);
    }
    let name = |column: &str| match column {
        "provided_model_name" => "model".to_owned(),
        _ => {
            let mut words = column.split('_');
            let first = words.next().unwrap_or_default().to_owned();
            words.fold(first, |name, word| {
                let (head, tail) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
                name + &head.to_uppercase() + tail
            })
        }
    };
    Value::Object(columns.into_iter().map(|(column, value)| (name(&column), value)).collect())
}

/// The trace itself and what was observed in it.
fn parts(whole: &Value) -> (Value, Vec<Value>) {
    let trace = whole.get("trace").unwrap_or(whole).clone();
    let lists = [&whole["observations"], &trace["observations"]];
    let observations = lists.into_iter().find_map(Value::as_array).cloned().unwrap_or_default();
    (trace, observations)
}

fn one(desk: &mut Desk<'_>, trace: &Value, observations: &[Value], otherwise: Timestamp) -> Result<(), Trouble> {
    let all: Vec<Seen> = observations.iter().map(|observation| seen(observation, otherwise)).collect();
    let began =
        time::read(&trace["timestamp"]).or_else(|| all.iter().map(|seen| seen.start).min()).unwrap_or(otherwise);
    let optional = |key: &str| Some(text(trace, key)).filter(|text| !text.is_empty()).map(str::to_owned);
    let mut tags: Vec<(String, String)> = ["sessionId", "userId", "environment", "release"]
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), optional(key)?)))
        .collect();
    tags.extend(desk::tags(trace));
    let id = desk.begin(About {
        key: text(trace, "id").to_owned(),
        name: optional("name"),
        at: began,
        tags,
        why_not: WHY,
        fields: &[("usage", From::Imported), ("cost_usd", From::Imported), ("times", From::Imported)],
        ..About::default()
    })?;
    let failed =
        all.iter().find(|seen| seen.parent.is_empty() && seen.error.is_some()).and_then(|seen| seen.error.clone());
    let last = spans::tell_all(desk, id, all)?;
    for score in trace["scores"].as_array().into_iter().flatten() {
        let label = [text(score, "stringValue"), text(score, "value")].into_iter().find(|label| !label.is_empty());
        let span = Some(text(score, "observationId")).filter(|span| !span.is_empty());
        let comment = Some(text(score, "comment")).filter(|comment| !comment.is_empty());
        let at = time::read(&score["timestamp"]).unwrap_or(last);
        desk.score(id, at, spans::score(id, span, text(score, "name"), &score["value"], label, comment))?;
    }
    desk.end(id, last.max(began), failed)
}

fn seen(observation: &Value, otherwise: Timestamp) -> Seen {
    let kind = text(observation, "type");
    let told = match &observation["usageDetails"] {
        Value::Object(details) if !details.is_empty() => &observation["usageDetails"],
        _ => &observation["usage"],
    };
    let (input, output) = (spans::json_of(&observation["input"]), spans::json_of(&observation["output"]));
    let mut used = usage::read(told, usage::Cached::Beside);
    // Counted by Langfuse's own integrations the input is what was read fresh; told by OpenTelemetry it holds the cache too.
    let inside = told.get("prompt_details.cache_read").is_some()
        || told.get("total").and_then(Value::as_u64) == Some(used.input.unwrap_or(0) + used.output.unwrap_or(0));
    if inside {
        used = usage::read(told, usage::Cached::Inside);
    }
    let tools = said::tools(&observation["toolDefinitions"]);
    let params = spans::json_of(&observation["modelParameters"]).as_object().cloned().unwrap_or_default();
    let failed = text(observation, "level") == "ERROR";
    let message = Some(text(observation, "statusMessage")).filter(|message| !message.is_empty()).unwrap_or("failed");
    Seen {
        id: text(observation, "id").to_owned(),
        parent: text(observation, "parentObservationId").to_owned(),
        name: text(observation, "name").to_owned(),
        kind: kind.to_owned(),
        is_call: kind == "GENERATION",
        start: time::read(&observation["startTime"]).unwrap_or(otherwise),
        end: time::read(&observation["endTime"]),
        first_token: time::read(&observation["completionStartTime"]),
        model: text(observation, "model").to_owned(),
        finish: text(&output, "finish_reason").to_owned(),
        response_id: text(&output, "id").to_owned(),
        params,
        tools,
        usage: used,
        cost: observation["costDetails"]["total"].as_f64().or_else(|| observation["totalCost"].as_f64()),
        error: failed.then(|| message.to_owned()),
        input,
        output,
        raw: observation.clone(),
        ..Seen::default()
    }
}
