//! Rows of results, one a line, as nearly every home-made harness writes them: a task, whether it passed, maybe the model, the
//! attempt, the answer, tokens and cost. And what Aider and SWE-bench leave behind.

use std::collections::BTreeMap;

use serde_json::Value;

use super::desk::digest;
use super::lines::{Line, Lines};
use super::shape::text;
use super::{About, Desk, Format, Shape, Source, Trouble, document, results, said, time, trace_id, usage};
use crate::trace::Timestamp;
use crate::trial::{Ending, RunRecord};

pub const ROWS: Format =
    Format { name: "rows", about: "rows of results: a task and `pass`, one a line", fits: fits_rows, read: read_rows };

pub const AIDER: Format = Format {
    name: "aider",
    about: "results of Aider's benchmark, one file a case",
    // A case that threw an exception has nothing else in it.
    fits: |shape| {
        shape.all(&["testcase", "tests_outcomes"]) || (shape.name() == ".aider.results.json" && shape.has("exception"))
    },
    read: read_aider,
};

pub const REPORTS: Format = Format {
    name: "swe-bench",
    about: "SWE-bench reports and predictions",
    fits: fits_swe_bench,
    read: read_swe_bench,
};

const PASS: &[&str] = &["pass", "passed", "success", "correct", "resolved", "is_correct"];
const TASK: &[&str] = &["task", "task_id", "case", "q", "question_id", "test", "id", "name", "instance_id", "question"];
const MODEL: &[&str] = &["model", "model_name", "variant", "provider"];
const ATTEMPT: &[&str] = &["attempt", "trial", "repeat", "epoch", "run", "seed"];

fn passed(row: &Value) -> Option<bool> {
    PASS.iter().find_map(|key| row.get(*key)?.as_bool())
}

fn task(row: &Value) -> Option<String> {
    TASK.iter().find_map(|key| row.get(*key).filter(|value| value.is_string() || value.is_number())).map(said::as_text)
}

fn fits_rows(shape: &Shape<'_>) -> bool {
    shape.lines.first().is_some_and(|row| passed(row).is_some() && task(row).is_some())
}

fn read_rows(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let file = source.path.rsplit('/').next().unwrap_or(source.path);
    let suite = file.split('.').next().unwrap_or(file);
    let (path, modified) = (source.path, source.modified);
    let mut run: Option<RunRecord> = None;
    let mut lines = Lines::new(&mut *source.from);
    while let Some(line) = lines.next()? {
        let Line::Whole { bytes, last } = line else {
            desk.skipped("a line that is too long");
            continue;
        };
        let Ok(row) = serde_json::from_slice::<Value>(bytes) else {
            if last {
                desk.skipped("a last line that was cut off");
            } else {
                desk.damaged();
            }
            continue;
        };
        let (Some(pass), Some(task)) = (passed(&row), task(&row)) else {
            desk.skipped("lines without a task or a result");
            continue;
        };
        let run = run.get_or_insert_with(|| {
            let key = format!("{path} {:x?}", digest(&[&row.to_string()]));
            let mut run = results::run("rows", &key, suite, modified);
            run.name = Some(suite.to_owned());
            run
        });
        let params: BTreeMap<String, Value> = ["temperature", "top_p"]
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), row.get(*key)?.clone())))
            .collect();
        let what: Vec<String> = params.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let model = MODEL.iter().map(|key| text(&row, key)).find(|model| !model.is_empty()).unwrap_or_default();
        let variant = results::variant(run, model, &what.join(" "), params);
        let attempt: Vec<String> = ATTEMPT.iter().filter_map(|key| Some(row.get(*key)?.to_string())).collect();
        let mut trial = results::trial(run, &attempt.join(" "), &task, &variant, None);
        trial.started =
            ["timestamp", "started_at", "time"].iter().find_map(|key| time::read(&row[*key])).unwrap_or(modified);
        trial.seed = row["seed"].as_u64();
        let seconds =
            ["secs", "seconds", "duration", "duration_s"].iter().find_map(|key| row.get(*key)?.as_f64()).unwrap_or(0.0);
        trial.duration_us = (seconds.clamp(0.0, 1e8) * 1e6) as u64;
        trial.cost_usd = row["cost"].as_f64().or_else(|| row["cost_usd"].as_f64());
        trial.usage = usage::read(&row["usage"], usage::Cached::Inside);
        let answer = ["answer", "output", "response"].iter().find_map(|key| row.get(*key)?.as_str());
        trial.answer_hash =
            answer.map(|answer| digest(&[answer])[..8].iter().map(|byte| format!("{byte:02x}")).collect());
        let score = row["score"].as_f64().unwrap_or(f64::from(u8::from(pass)));
        let why = ["why", "reason", "error"]
            .iter()
            .map(|key| text(&row, key))
            .find(|why| !why.is_empty())
            .unwrap_or_default();
        trial.grades.push(results::scored("pass", score, pass, why));
        results::finish(run, trial);
        desk.used();
    }
    run.map_or(Ok(()), |run| desk.run(run))
}

fn read_aider(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let case = document(source.from)?;
    // DATE-NAME/LANGUAGE/exercises/practice/CASE/.aider.results.json
    let folders: Vec<&str> = source.path.split('/').collect();
    let dated = |folder: &&&str| {
        folder.len() > 11
            && folder.as_bytes()[..10]
                .iter()
                .enumerate()
                .all(|(at, b)| if at == 4 || at == 7 { *b == b'-' } else { b.is_ascii_digit() })
    };
    let name =
        folders.iter().rev().skip(1).find(dated).or_else(|| folders.iter().rev().nth(2)).copied().unwrap_or("aider");
    let mut run = results::run("aider", name, "aider polyglot", source.modified);
    run.name = Some(name.to_owned());
    let language = folders.iter().rev().nth(4).copied().filter(|_| source.path.contains("/exercises/"));
    let folder = folders.iter().rev().nth(1).copied().unwrap_or_default();
    let name = Some(text(&case, "testcase")).filter(|name| !name.is_empty()).unwrap_or(folder);
    let task = language.map_or_else(|| name.to_owned(), |language| format!("{language}/{name}"));
    let params = BTreeMap::from([("edit_format".to_owned(), case["edit_format"].clone())]);
    let variant = results::variant(&mut run, text(&case, "model"), text(&case, "edit_format"), params);
    let mut trial = results::trial(&run, "", &task, &variant, None);
    trial.duration_us = (case["duration"].as_f64().unwrap_or(0.0).clamp(0.0, 1e8) * 1e6) as u64;
    trial.cost_usd = case["cost"].as_f64();
    // Its thinking_tokens are a setting, not a count.
    (trial.usage.input, trial.usage.output) = (case["prompt_tokens"].as_u64(), case["completion_tokens"].as_u64());
    let tries: Vec<bool> = case["tests_outcomes"].as_array().into_iter().flatten().filter_map(Value::as_bool).collect();
    trial.calls = u32::try_from(tries.len()).unwrap_or(0);
    trial.grades.push(match tries.last() {
        Some(pass) => results::scored(
            "tests",
            f64::from(u8::from(*pass)),
            *pass,
            if *pass { "" } else { "the tests fail after the last try" },
        ),
        None => results::silent("tests", "no try was tested"),
    });
    if let Some(first) = tries.first() {
        let mut grade = results::scored("first try", f64::from(u8::from(*first)), *first, "");
        (grade.required, grade.weight) = (false, 0.0);
        trial.grades.push(grade);
    }
    if !text(&case, "exception").is_empty() {
        trial.ending = Ending::Broken { reason: text(&case, "exception").chars().take(300).collect() };
    }
    results::finish(&mut run, trial);
    desk.used();
    desk.run(run)
}

fn fits_swe_bench(shape: &Shape<'_>) -> bool {
    let prediction = |line: &Value| line.get("instance_id").is_some() && line.get("model_patch").is_some();
    shape.line(prediction)
        || shape.all(&["[].instance_id", "[].model_patch"])
        || (shape.has("resolved_ids") && shape.has("submitted_instances"))
        || memchr::memmem::find(&shape.head[..shape.head.len().min(4096)], b"\"patch_successfully_applied\"").is_some()
}

fn read_swe_bench(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let bytes = super::whole(source.from)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let whole: Option<Value> = serde_json::from_slice(bytes).ok();
    match whole {
        Some(Value::Array(list)) => list.iter().try_for_each(|one| prediction(desk, one, source.modified)),
        Some(one) if one.get("model_patch").is_some() => prediction(desk, &one, source.modified),
        Some(summary) if summary.get("resolved_ids").is_some() => of_summary(desk, source, &summary),
        Some(report) => of_report(desk, source, &report),
        None => {
            for line in bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
                match serde_json::from_slice(line) {
                    Ok(one) => prediction(desk, &one, source.modified)?,
                    Err(_) => desk.damaged(),
                }
            }
            Ok(())
        }
    }
}

fn patch_key(model: &str, instance: &str) -> String {
    format!("{} {instance}", model.replace('/', "__"))
}

/// A prediction is a trace with nothing in it but the patch; its verdict stands in a report.
fn prediction(desk: &mut Desk<'_>, one: &Value, at: Timestamp) -> Result<(), Trouble> {
    let (model, instance) = (text(one, "model_name_or_path"), text(one, "instance_id"));
    if instance.is_empty() {
        desk.skipped("lines without an instance");
        return Ok(());
    }
    desk.used();
    let trace = desk.begin(About {
        key: patch_key(model, instance),
        name: Some(instance.to_owned()),
        agent: Some(model.to_owned()),
        at,
        why_not: "a prediction is a patch, without the calls that made it",
        ..About::default()
    })?;
    desk.note(trace, at, "swe-bench.prediction", None, one.clone())?;
    desk.end(trace, at, None)
}

fn swe_trial(run: &mut RunRecord, model: &str, instance: &str, resolved: Option<bool>, why: &str) {
    let variant = results::variant(run, &model.replace("__", "/"), "", BTreeMap::new());
    let mut trial = results::trial(run, "", instance, &variant, Some(1));
    trial.trace = Some(trace_id("swe-bench", &patch_key(model, instance)));
    match resolved {
        Some(pass) => trial.grades.push(results::scored("resolved", f64::from(u8::from(pass)), pass, why)),
        None => {
            trial.grades.push(results::silent("resolved", why));
            trial.ending = Ending::Broken { reason: why.to_owned() };
        }
    }
    results::finish(run, trial);
}

fn of_report(desk: &mut Desk<'_>, source: &Source<'_>, report: &Value) -> Result<(), Trouble> {
    // run_evaluation/RUN/MODEL/INSTANCE/report.json
    let folders: Vec<&str> = source.path.rsplit('/').collect();
    let model = folders.get(2).copied().unwrap_or("unknown");
    let id = folders.get(3).copied().unwrap_or("swe-bench");
    let mut run = results::run("swe-bench", id, "swe-bench", source.modified);
    run.name = Some(id.to_owned());
    for (instance, told) in report.as_object().into_iter().flatten().filter(|(_, told)| told.is_object()) {
        desk.used();
        let failures = |list: &str| told["tests_status"][list]["failure"].as_array().map_or(0, Vec::len);
        let why = match told["resolved"].as_bool() {
            Some(true) => String::new(),
            _ if told["patch_is_None"] == Value::Bool(true) => "there is no patch".to_owned(),
            _ if told["patch_successfully_applied"] == Value::Bool(false) => "the patch does not apply".to_owned(),
            _ => format!("{} tests still fail, {} broke", failures("FAIL_TO_PASS"), failures("PASS_TO_PASS")),
        };
        let broken = told["infra_failure"] == Value::Bool(true);
        let resolved = told["resolved"].as_bool().filter(|_| !broken);
        swe_trial(&mut run, model, instance, resolved, if broken { "the evaluation itself failed" } else { &why });
    }
    if run.trials.is_empty() {
        return Err(Trouble::Bad("there is no instance in the report".to_owned()));
    }
    desk.run(run)
}

fn of_summary(desk: &mut Desk<'_>, source: &Source<'_>, summary: &Value) -> Result<(), Trouble> {
    // MODEL.RUN.json
    let file = source.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
    let (model, id) = file.rsplit_once('.').unwrap_or((file, "swe-bench"));
    let mut run = results::run("swe-bench", id, "swe-bench", source.modified);
    run.name = Some(id.to_owned());
    let lists = [
        ("resolved_ids", Some(true), ""),
        ("unresolved_ids", Some(false), "not resolved"),
        ("empty_patch_ids", Some(false), "there is no patch"),
        ("error_ids", None, "the evaluation itself failed"),
    ];
    for (key, resolved, why) in lists {
        for instance in summary[key].as_array().into_iter().flatten().filter_map(Value::as_str) {
            desk.used();
            swe_trial(&mut run, model, instance, resolved, why);
        }
    }
    desk.run(run)
}
