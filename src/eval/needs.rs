//! Goes and gets what graders ask for: files, commands in the trial's workspace, services. Anything can hang or break here;
//! then the need is unmet, which is never the loop's fault.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use super::judge::{Judges, Sitting};
use super::sandbox::{self, Kept, Rules};
use super::workspace::read_inside;
use crate::capture::child::{Input, Output, Spec};
use crate::capture::{Fetcher, Proxy};
use crate::grade::{Bound, Evidence, Got, Need};
use crate::suite::Rubric;

/// What is kept of a grader command's output.
const MOST_OUTPUT: u64 = 256 << 10;

/// Where needs are met.
pub struct Source {
    /// The trial's folder; `None` when it is gone.
    pub workspace: Option<PathBuf>,
    pub suite_dir: PathBuf,
    /// The environment of grader commands.
    pub env: Vec<(OsString, OsString)>,
    pub kept: Kept,
    pub rules: Rules,
    pub fetcher: Fetcher,
}

/// Judges, and what they are asked for.
#[derive(Clone, Copy)]
pub struct Court<'a> {
    pub proxy: &'a Proxy,
    pub judges: &'a Judges,
    /// Rubrics by the file that graders name.
    pub rubrics: &'a BTreeMap<String, Rubric>,
    /// What the trial is called, and what it belongs to.
    pub name: &'a str,
    pub tags: &'a [(String, String)],
}

/// Meets everything the graders ask for, files before commands, each need once. Two rounds, because what a grader needs may
/// follow from what it got.
pub async fn fulfil(graders: &[Bound], evidence: &mut Evidence, source: &Source, court: Option<Court<'_>>) {
    for _ in 0..2 {
        let mut open: Vec<Need> = Vec::new();
        for need in graders.iter().flat_map(|grader| grader.needs(evidence)) {
            if evidence.got(&need).is_none() && !open.contains(&need) {
                open.push(need);
            }
        }
        if open.is_empty() {
            return;
        }
        open.sort_by_key(|need| matches!(need, Need::Command { .. }));
        for need in open {
            let got = match (&need, court) {
                (Need::Judge { rubric }, Some(court)) => Some(judged(rubric, evidence, source, court).await),
                _ => meet(&need, source).await,
            };
            evidence.got.extend(got.map(|got| (need, got)));
        }
    }
}

async fn judged(file: &str, evidence: &Evidence, source: &Source, court: Court<'_>) -> Got {
    let Some(rubric) = court.rubrics.get(file) else {
        return Got::Unmet { reason: format!("the rubric {file:?} is not there") };
    };
    let path = source.suite_dir.join(file);
    let dir = path.parent().unwrap_or(&source.suite_dir);
    let sitting = Sitting { rubric, dir, evidence, name: court.name, tags: court.tags, swapped: false };
    Got::Judge { reading: Box::new(court.judges.read(court.proxy, sitting).await) }
}

async fn meet(need: &Need, source: &Source) -> Option<Got> {
    Some(match need {
        Need::File { path } => file(source.workspace.as_deref()?, path),
        Need::Fixture { path } => file(&source.suite_dir, path),
        Need::Command { run, env, stdin, seconds, collect } => {
            let spec = spec(source, run, env, stdin.as_deref())?;
            let (kept, rules, limit) = (source.kept, source.rules.clone(), Duration::from_secs_f64(*seconds));
            let (dir, collect) = (source.workspace.clone()?, collect.clone());
            let ran = tokio::task::spawn_blocking(move || command(kept, &rules, spec, limit, &dir, &collect));
            ran.await.unwrap_or_else(|_| Got::Unmet { reason: "the grader's command could not be watched".to_owned() })
        }
        Need::Http { url, headers, body, seconds } => {
            let mut headers: Vec<(String, String)> = headers.clone().into_iter().collect();
            if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                headers.push(("content-type".to_owned(), "application/json".to_owned()));
            }
            let body = Bytes::from(body.to_string());
            let limit = Duration::from_secs_f64(*seconds);
            match source.fetcher.fetch("POST", url, &headers, body, limit).await {
                Ok(told) => Got::Http { status: told.status, body: String::from_utf8_lossy(&told.body).into_owned() },
                Err(error) => Got::Unmet { reason: error.to_string() },
            }
        }
        Need::Judge { .. } => return None,
    })
}

fn file(dir: &Path, path: &str) -> Got {
    match read_inside(dir, path) {
        Ok(Some(text)) => Got::Text { text },
        Ok(None) => Got::Missing,
        Err(reason) => Got::Unmet { reason },
    }
}

fn spec(source: &Source, run: &[String], env: &BTreeMap<String, String>, stdin: Option<&str>) -> Option<Spec> {
    let mut variables = source.env.clone();
    variables.extend(env.iter().map(|(name, value)| (name.into(), value.into())));
    let mut spec = Spec::new(run.to_vec(), variables);
    spec.cwd = Some(source.workspace.clone()?);
    spec.stdin = stdin.map_or(Input::Null, |text| Input::Bytes(text.as_bytes().to_vec()));
    spec.stdout = Output::Memory(MOST_OUTPUT);
    spec.stderr = Output::Memory(MOST_OUTPUT);
    Some(spec)
}

fn command(kept: Kept, rules: &Rules, spec: Spec, limit: Duration, dir: &Path, collect: &[String]) -> Got {
    let program = spec.command.first().cloned().unwrap_or_default();
    let exit = match sandbox::spawn(kept, rules, spec).and_then(|running| running.wait(Some(limit))) {
        Ok(exit) => exit,
        Err(error) => {
            return Got::Unmet { reason: format!("the grader's command {program:?} could not be run: {error}") };
        }
    };
    let read = |path: &String| read_inside(dir, path).ok().flatten().map(|text| (path.clone(), text));
    Got::Command {
        exit: exit.code,
        timed_out: exit.timed_out,
        stdout: String::from_utf8_lossy(&exit.stdout.bytes).into_owned(),
        stderr: String::from_utf8_lossy(&exit.stderr.bytes).into_owned(),
        files: collect.iter().filter_map(read).collect(),
    }
}
