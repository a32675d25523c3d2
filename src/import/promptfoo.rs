//! promptfoo's result JSON: a row for each test, prompt and provider. Rows of the same test are attempts at it.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::desk::digest;
use super::shape::text;
use super::{About, Desk, Format, Source, Told, Trouble, chat, document, results, said, time, usage};
use crate::trace::{Message, Response, Role, Source as From, Stop, Timestamp, TraceId, Usage};
use crate::trial::{Ending, RunRecord, Trial};

pub const FORMAT: Format = Format {
    name: "promptfoo",
    about: "results of promptfoo",
    fits: |shape| {
        shape.all(&["evalId", "results"])
            || shape.all(&["results.results[].testCase"])
            || shape.all(&["results.version", "results.results"])
    },
    read,
};

const WHY: &str = "a result keeps the prompt and the answer, not the request that was sent";

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let whole = document(source.from)?;
    let all = &whole["results"];
    let rows = all["results"].as_array().or_else(|| all.as_array());
    let Some(rows) = rows else { return Err(Trouble::Bad("it has no list results.results".to_owned())) };
    let started = time::read(&all["timestamp"])
        .or_else(|| time::read(&whole["metadata"]["evaluationCreatedAt"]))
        .unwrap_or(source.modified);
    let id = text(&whole, "evalId");
    let key = if id.is_empty() { format!("{:x?}", digest(&[&all.to_string()])) } else { id.to_owned() };
    let suite = Some(text(&whole["config"], "description")).filter(|text| !text.is_empty()).unwrap_or("promptfoo");
    let mut run = results::run("promptfoo", &key, suite, started);
    run.name = (!id.is_empty()).then(|| id.to_owned());
    let prompts = rows.iter().map(|row| row["promptIdx"].as_u64()).collect::<std::collections::HashSet<_>>().len();
    let mut names: HashMap<String, String> = HashMap::new();
    for row in rows {
        one(desk, &mut run, row, prompts > 1, &mut names, started)?;
        desk.used();
    }
    desk.run(run)
}

/// The name of a row's test: its description, its number, whatever makes it that test.
fn task_of(row: &Value, names: &mut HashMap<String, String>) -> String {
    let case = &row["testCase"];
    let told = [text(case, "description"), text(row, "description")].into_iter().find(|name| !name.is_empty());
    let what =
        format!("{} {} {}", told.unwrap_or_default(), case["vars"], if row["vars"].is_null() { "" } else { "v" });
    let what = if case["vars"].is_null() { format!("{what} {}", row["vars"]) } else { what };
    if let Some(name) = names.get(&what) {
        return name.clone();
    }
    let base = told
        .map_or_else(|| format!("test {}", row["testIdx"].as_u64().map_or(names.len() as u64, |at| at)), str::to_owned);
    let taken = names.values().filter(|name| **name == base || name.starts_with(&format!("{base} #"))).count();
    let name = if taken == 0 { base } else { format!("{base} #{}", taken + 1) };
    names.insert(what, name.clone());
    name
}

fn one(
    desk: &mut Desk<'_>,
    run: &mut RunRecord,
    row: &Value,
    many: bool,
    names: &mut HashMap<String, String>,
    started: Timestamp,
) -> Result<(), Trouble> {
    let task = task_of(row, names);
    let provider = row["provider"].as_str().or_else(|| row["provider"]["id"].as_str()).unwrap_or_default();
    let label = text(&row["provider"], "label");
    let prompt = &row["prompt"];
    let which = if many { format!("prompt {}", row["promptIdx"]) } else { String::new() };
    let what =
        [label, &which].into_iter().filter(|word| !word.is_empty() && *word != provider).collect::<Vec<_>>().join(" ");
    let variant = results::variant(run, &provider.replacen(':', "/", 1), &what, BTreeMap::new());
    let mut trial = results::trial(run, text(row, "id"), &task, &variant, None);
    trial.started = started;
    trial.duration_us =
        row["latencyMs"].as_f64().filter(|ms| (0.0..1e10).contains(ms)).map_or(0, |ms| (ms * 1e3) as u64);
    let response = &row["response"];
    trial.cost_usd = row["cost"].as_f64().or_else(|| response["cost"].as_f64());
    trial.usage = used(&response["tokenUsage"]);
    let graded = &row["gradingResult"];
    let pass = row["success"].as_bool().or_else(|| graded["pass"].as_bool());
    let error =
        [text(row, "error"), text(response, "error")].into_iter().find(|error| !error.is_empty()).unwrap_or_default();
    // 2 is how promptfoo writes that the provider failed, not the answer.
    if row["failureReason"].as_u64() == Some(2) {
        trial.ending = Ending::Broken { reason: error.chars().take(300).collect() };
    }
    let score = row["score"].as_f64().or_else(|| graded["score"].as_f64());
    trial.grades.push(match pass {
        Some(pass) => {
            results::scored("promptfoo", score.unwrap_or(f64::from(u8::from(pass))), pass, text(graded, "reason"))
        }
        None => results::silent("promptfoo", "there is no result"),
    });
    for (number, part) in graded["componentResults"].as_array().into_iter().flatten().enumerate() {
        let kind = [text(&part["assertion"], "metric"), text(&part["assertion"], "type")]
            .into_iter()
            .find(|kind| !kind.is_empty());
        let name = format!("{} {}", kind.unwrap_or("assert"), number + 1);
        let mut grade = results::scored(
            &name,
            part["score"].as_f64().unwrap_or(f64::NAN),
            part["pass"] == Value::Bool(true),
            text(part, "reason"),
        );
        // The row's own result is made of them already.
        (grade.required, grade.weight) = (false, 0.0);
        trial.grades.push(grade);
    }
    trial.trace = Some(conversation(desk, prompt, response, provider, &mut trial, error)?);
    results::finish(run, trial);
    Ok(())
}

/// Counts. `cached` is what promptfoo answered out of its own cache: nobody was asked, nothing was spent.
fn used(told: &Value) -> Usage {
    let mut own = told.clone();
    if let Some(own) = own.as_object_mut() {
        own.remove("cached");
    }
    let mut used = usage::read(&own, usage::Cached::Beside);
    let more = usage::read(&told["completionDetails"], usage::Cached::Beside);
    (used.cache_read, used.cache_write) = (more.cache_read, more.cache_write);
    used.reasoning = more.reasoning;
    used
}

fn conversation(
    desk: &mut Desk<'_>,
    prompt: &Value,
    response: &Value,
    provider: &str,
    trial: &mut Trial,
    error: &str,
) -> Result<TraceId, Trouble> {
    let trace = desk.begin(About {
        key: trial.id.clone(),
        name: Some(trial.task.clone()),
        agent: Some("promptfoo".to_owned()),
        at: trial.started,
        why_not: WHY,
        fields: &[("usage", From::Imported), ("cost_usd", From::Imported), ("times", From::Derived)],
        ..About::default()
    })?;
    let raw = prompt.as_str().or_else(|| prompt["raw"].as_str()).unwrap_or_default();
    let messages = said::messages(&Value::from(raw), Role::User);
    let output = said::as_text(&response["output"]);
    let model = provider.split(':').next_back().unwrap_or(provider);
    let answer = Response {
        model: model.to_owned(),
        message: (!output.is_empty()).then(|| Message::text(Role::Assistant, output)),
        stop: Some(Stop::End),
        usage: trial.usage,
        complete: error.is_empty(),
        ..Response::default()
    };
    let mut told = desk.answered(&answer, model);
    told.summary.usage = trial.usage;
    told.summary.cost_usd = trial.cost_usd.or(told.summary.cost_usd);
    told.summary.error = (!error.is_empty()).then(|| error.chars().take(300).collect());
    let end = Timestamp(trial.started.0.saturating_add(i64::try_from(trial.duration_us).unwrap_or(0)));
    let request = chat::request(model, &messages, &[], &Map::new());
    let told = Told {
        key: "1".to_owned(),
        at: trial.started,
        end_at: Some(end),
        upstream: provider.split(':').next().unwrap_or_default().to_owned(),
        request,
        ..told
    };
    desk.call(trace, told)?;
    trial.calls = 1;
    desk.end(trace, end, (!error.is_empty()).then(|| error.to_owned()))?;
    Ok(trace)
}
