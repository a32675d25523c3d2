//! LangSmith runs, as its SDK and its bulk export write them: JSON, or JSON lines, a run each.

use serde_json::Value;

use super::shape::text;
use super::spans::{self, Seen};
use super::{About, Desk, Format, Shape, Source, Trouble, desk, records, said, time, usage};
use crate::trace::{Source as From, Timestamp};

pub const FORMAT: Format = Format { name: "langsmith", about: "LangSmith runs, JSON and JSON lines", fits, read };

/// Runs inside of runs.
const DEEPEST: usize = 64;
const WHY: &str = "a run keeps inputs and outputs, not the request that was sent";

fn fits(shape: &Shape<'_>) -> bool {
    let run = |line: &Value| {
        line.get("run_type").is_some() && (line.get("inputs").is_some() || line.get("dotted_order").is_some())
    };
    shape.line(run)
        || shape.all(&["[].run_type", "[].id"])
        || shape.all(&["runs[].run_type"])
        || shape.all(&["run_type", "trace_id", "inputs"])
}

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let mut runs = Vec::new();
    records::each(source.from, desk, &["runs"], &mut |_, run| {
        family(run, 0, &mut runs);
        Ok(())
    })?;
    let mut traces: indexmap::IndexMap<String, Vec<Value>> = indexmap::IndexMap::new();
    for run in runs {
        let id = [text(&run, "trace_id"), text(&run, "id")]
            .into_iter()
            .find(|id| !id.is_empty())
            .unwrap_or_default()
            .to_owned();
        traces.entry(id).or_default().push(run);
    }
    for (id, runs) in traces {
        one(desk, &id, &runs, source.modified)?;
    }
    Ok(())
}

/// A run and those inside of it: a run tree holds its children.
fn family(mut run: Value, depth: usize, into: &mut Vec<Value>) {
    let children = run.as_object_mut().and_then(|run| run.remove("child_runs"));
    let id = text(&run, "id").to_owned();
    let trace = [text(&run, "trace_id"), &id].into_iter().find(|id| !id.is_empty()).unwrap_or_default().to_owned();
    into.push(run);
    let Some(Value::Array(children)) = children.filter(|_| depth < DEEPEST) else { return };
    for mut child in children {
        if let Some(child) = child.as_object_mut() {
            child.entry("parent_run_id").or_insert_with(|| id.as_str().into());
            child.entry("trace_id").or_insert_with(|| trace.as_str().into());
        }
        family(child, depth + 1, into);
    }
}

fn one(desk: &mut Desk<'_>, id: &str, runs: &[Value], otherwise: Timestamp) -> Result<(), Trouble> {
    let root = runs.iter().find(|run| text(run, "parent_run_id").is_empty()).or(runs.first());
    let all: Vec<Seen> = runs.iter().map(|run| seen(run, otherwise)).collect();
    let began = all.iter().map(|seen| seen.start).min().unwrap_or(otherwise);
    let name = root.map(|root| text(root, "name")).filter(|name| !name.is_empty()).map(str::to_owned);
    let trace = desk.begin(About {
        key: id.to_owned(),
        name,
        at: began,
        tags: root.into_iter().flat_map(desk::tags).collect(),
        why_not: WHY,
        fields: &[("usage", From::Imported), ("cost_usd", From::Imported), ("times", From::Imported)],
        ..About::default()
    })?;
    let failed = root.and_then(|root| root["error"].as_str()).filter(|error| !error.is_empty()).map(str::to_owned);
    let last = spans::tell_all(desk, trace, all)?;
    for run in runs {
        for (name, stats) in run["feedback_stats"].as_object().into_iter().flatten() {
            let value = if stats.is_object() { &stats["avg"] } else { stats };
            let span = (!text(run, "parent_run_id").is_empty()).then(|| text(run, "id"));
            desk.score(trace, last, spans::score(trace, span, name, value, None, None))?;
        }
    }
    desk.end(trace, last.max(began), failed)
}

fn seen(run: &Value, otherwise: Timestamp) -> Seen {
    let extra = &run["extra"];
    let (params, about) = (&extra["invocation_params"], &extra["metadata"]);
    let (inputs, outputs) = (spans::json_of(&run["inputs"]), spans::json_of(&run["outputs"]));
    // What a provider's answer says of itself stands with the message, or beside it.
    let message = &outputs["generations"][0][0]["message"]["kwargs"];
    let told = [
        &outputs["llm_output"]["token_usage"],
        &outputs["usage_metadata"],
        &message["usage_metadata"],
        &outputs["usage"],
    ];
    let told = told.into_iter().find(|told| told.is_object());
    let own = usage::read(run, usage::Cached::Inside);
    let mut used = told.map_or(own, |told| usage::read(told, usage::Cached::Inside));
    if own.is_known() {
        let count = |value: &Value| value.as_u64();
        let cached = count(&run["prompt_token_details"]["cache_read"]).or(used.cache_read);
        let whole = count(&run["prompt_tokens"]);
        used.cache_read = cached;
        used.input = whole.map(|whole| whole.saturating_sub(cached.unwrap_or(0))).or(used.input);
        used.output = own.output.or(used.output);
    }
    let models = [text(about, "ls_model_name"), text(params, "model"), text(params, "model_name")];
    let finish = [
        &message["response_metadata"]["finish_reason"],
        &outputs["generations"][0][0]["generation_info"]["finish_reason"],
        &outputs["choices"][0]["finish_reason"],
    ];
    let finish = finish.into_iter().find_map(Value::as_str).unwrap_or_default().to_owned();
    Seen {
        id: text(run, "id").to_owned(),
        parent: text(run, "parent_run_id").to_owned(),
        name: text(run, "name").to_owned(),
        kind: text(run, "run_type").to_owned(),
        is_call: text(run, "run_type") == "llm",
        start: time::read(&run["start_time"]).unwrap_or(otherwise),
        end: time::read(&run["end_time"]),
        first_token: time::read(&run["first_token_time"]),
        model: models.into_iter().find(|model| !model.is_empty()).unwrap_or_default().to_owned(),
        provider: text(about, "ls_provider").to_owned(),
        params: params
            .as_object()
            .cloned()
            .unwrap_or_default()
            .into_iter()
            .filter(|(key, _)| !matches!(key.as_str(), "tools" | "model" | "messages"))
            .collect(),
        tools: said::tools(&params["tools"]),
        finish,
        usage: used,
        cost: run["total_cost"].as_f64().or_else(|| run["total_cost"].as_str()?.parse().ok()),
        error: run["error"].as_str().filter(|error| !error.is_empty()).map(str::to_owned),
        input: inputs,
        output: outputs,
        raw: run.clone(),
        ..Seen::default()
    }
}
