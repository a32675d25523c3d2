//! Runs what a suite asks: a loop, a prompt, a service. Each comes back with how it ended and what it left.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::ask::{self, Question};
use super::recorded::Frozen;
use super::sandbox::{self, Kept, Rules};
use super::workspace::Workspace;
use crate::capture::child::{Exit, Input, Killer, Output, Spec};
use crate::capture::{Ask, Fetcher, Proxy};
use crate::grade::Path;
use crate::provider;
use crate::replay::Edits;
use crate::suite::{HttpTarget, LoopTarget, PromptTarget, Speaker, Unknown, render, render_value};
use crate::trace::{Headers, Message, Part, Role, Stop, ToolDef, ToolResult, TraceId, Wire};
use crate::trial::Ending;

/// What is kept of a loop's output.
const MOST_OUTPUT: u64 = 1 << 20;
/// How long a loop may go on after a brake was pulled.
const AFTER_BRAKE: Duration = Duration::from_secs(5);
/// Room that must stay free on the disk, in bytes.
const MUST_STAY_FREE: u64 = 256 << 20;

/// How a target ended and what it left beside its workspace.
#[derive(Debug)]
pub struct Ended {
    pub ending: Ending,
    pub stdout: String,
    pub stderr: String,
    /// The answer, where it isn't simply what the model said last.
    pub answer: Option<String>,
}

impl Ended {
    fn as_ending(ending: Ending) -> Self {
        Ended { ending, stdout: String::new(), stderr: String::new(), answer: None }
    }

    /// The harness's or the provider's fault.
    pub fn broken(reason: impl Into<String>) -> Self {
        Ended::as_ending(Ending::Broken { reason: reason.into() })
    }
}

/// What a trial's target is run with.
pub struct Run<'a> {
    pub proxy: &'a Proxy,
    pub trace: TraceId,
    pub vars: &'a BTreeMap<String, Value>,
    /// Seconds the trial may take.
    pub seconds: Option<f64>,
    /// Set when the whole run is called off.
    pub interrupt: tokio::sync::watch::Receiver<bool>,
    /// Set once the loop asks on and on for what its tape does not have.
    pub enough: Option<tokio::sync::watch::Receiver<bool>>,
}

impl Run<'_> {
    fn render(&self, text: &str) -> Result<String, Unknown> {
        render(text, self.vars)
    }

    fn limit(&self) -> Duration {
        // A year stands for no limit at all: tokio's clock can't count much further.
        Duration::from_secs_f64(self.seconds.unwrap_or(31_536_000.0).min(31_536_000.0))
    }

    fn timed_out(&self) -> Ending {
        Ending::TimedOut { seconds: self.seconds.unwrap_or_default() }
    }

    fn braked(&self) -> Option<Ending> {
        self.proxy
            .pulled(self.trace)
            .map(|pulled| Ending::Braked { brake: format!("{}: {}", pulled.brake, pulled.why) })
    }
}

fn unknown(Unknown(name): Unknown) -> Ended {
    Ended::broken(format!("the variable {{{{{name}}}}} has no value in this trial"))
}

/// Runs a loop in its workspace.
pub async fn run_loop(
    run: &Run<'_>,
    target: &LoopTarget,
    workspace: &Workspace,
    env: Vec<(OsString, OsString)>,
    kept: Kept,
    rules: Rules,
) -> Ended {
    let spec = match loop_spec(run, target, workspace, env) {
        Ok(spec) => spec,
        Err(name) => return unknown(name),
    };
    let program = spec.command[0].clone();
    let limit = run.seconds.map(Duration::from_secs_f64);
    let (tell, started) = tokio::sync::oneshot::channel();
    let mut child = tokio::task::spawn_blocking(move || {
        let running = sandbox::spawn(kept, &rules, spec)?;
        let _ = tell.send(running.killer());
        running.wait(limit)
    });
    let mut brake = None;
    let exited = match started.await {
        Ok(killer) => loop {
            tokio::select! {
                exited = &mut child => break exited,
                why = watch_loop(run, workspace, &brake) => stop(killer, why, &mut brake).await,
            }
        },
        Err(_) => child.await,
    };
    let exit = match exited {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => return Ended::broken(format!("the loop {program:?} could not be run: {error}")),
        Err(_) => return Ended::broken("the loop could not be watched"),
    };
    let ending = loop_ending(run, &exit, brake);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ended { ending, stdout: text(exit.stdout.bytes), stderr: text(exit.stderr.bytes), answer: None }
}

fn loop_spec(
    run: &Run<'_>,
    target: &LoopTarget,
    workspace: &Workspace,
    mut env: Vec<(OsString, OsString)>,
) -> Result<Spec, Unknown> {
    let command = target.command.0.iter().map(|word| run.render(word)).collect::<Result<Vec<_>, _>>()?;
    for (name, value) in &target.env {
        env.push((name.into(), run.render(value)?.into()));
    }
    let mut spec = Spec::new(command, env);
    spec.cwd = Some(workspace.dir.clone());
    spec.stdin = match &target.stdin {
        Some(text) => Input::Bytes(run.render(text)?.into_bytes()),
        None => Input::Null,
    };
    spec.stdout = Output::Memory(MOST_OUTPUT);
    spec.stderr = Output::Memory(MOST_OUTPUT);
    Ok(spec)
}

/// Why a loop must be stopped before its time.
#[derive(Debug, Clone, PartialEq)]
enum Must {
    End(Ending),
    Kill,
}

/// Returns when the loop must be stopped: a brake was pulled and it goes on, the disk is full, the run is called off.
async fn watch_loop(run: &Run<'_>, workspace: &Workspace, already: &Option<Ending>) -> Must {
    if already.is_some() {
        // It was asked to end and has not.
        tokio::time::sleep(Duration::from_secs(2)).await;
        return Must::Kill;
    }
    let mut interrupt = run.interrupt.clone();
    loop {
        tokio::select! {
            () = called_off(&mut interrupt) => {
                return Must::End(Ending::Broken { reason: "the run was called off".to_owned() });
            }
            () = tokio::time::sleep(Duration::from_millis(200)) => {
                if let Some(ending) = run.braked() {
                    tokio::time::sleep(AFTER_BRAKE).await;
                    return Must::End(ending);
                }
                if run.enough.as_ref().is_some_and(|enough| *enough.borrow()) {
                    let brake = "tape: the loop asked on and on for what is not on its tape".to_owned();
                    return Must::End(Ending::Braked { brake });
                }
                if free(&workspace.dir).is_some_and(|free| free < MUST_STAY_FREE) {
                    return Must::End(Ending::Braked { brake: "disk: the loop has nearly filled the disk".to_owned() });
                }
            }
        }
    }
}

#[cfg(unix)]
fn free(dir: &std::path::Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(not(unix))]
fn free(_: &std::path::Path) -> Option<u64> {
    None
}

async fn stop(killer: Killer, why: Must, brake: &mut Option<Ending>) {
    match why {
        Must::End(ending) => {
            *brake = Some(ending);
            killer.send(rustix::process::Signal::TERM);
        }
        Must::Kill => killer.send(rustix::process::Signal::KILL),
    }
}

fn loop_ending(run: &Run<'_>, exit: &Exit, brake: Option<Ending>) -> Ending {
    if let Some(ending) = brake {
        return ending;
    }
    if exit.timed_out {
        return run.timed_out();
    }
    // A loop that ended because a brake answered it was stopped by the brake, however politely it ended.
    if let Some(ending) = run.braked() {
        return ending;
    }
    match (exit.code, exit.signal) {
        (Some(code), _) => Ending::Exited { code },
        (None, Some(signal)) => Ending::Signalled { signal },
        (None, None) => Ending::Broken { reason: "the system doesn't say how the loop ended".to_owned() },
    }
}

/// What a prompt needs beside its target.
pub struct PromptRun<'a> {
    pub model: &'a str,
    pub system: &'a str,
    pub params: &'a BTreeMap<String, Value>,
    pub seed: u64,
    /// Headers with the provider's key.
    pub keys: &'a Headers,
}

/// Asks a model, and goes on as long as it wants tools that have answers.
pub async fn run_prompt(run: &Run<'_>, target: &PromptTarget, prompt: &PromptRun<'_>) -> Ended {
    let mut interrupt = run.interrupt.clone();
    tokio::select! {
        ended = tokio::time::timeout(run.limit(), turns(run, target, prompt)) => {
            ended.unwrap_or_else(|_| Ended::as_ending(run.timed_out()))
        }
        _ = called_off(&mut interrupt) => Ended::broken("the run was called off"),
    }
}

/// Asks a frozen request again, of another model where one is named. The answer is the trial.
pub async fn run_frozen(run: &Run<'_>, frozen: &Frozen, prompt: &PromptRun<'_>) -> Ended {
    let address = ask::address(prompt.model);
    let mock = provider::mock::is_mock(prompt.model);
    let edits = Edits {
        model: Some((address.model, if mock { Wire::Raw } else { address.wire })),
        set: prompt.params.clone().into_iter().collect(),
        system: (!prompt.system.is_empty()).then(|| prompt.system.to_owned()),
        patch: None,
    };
    let edited = match edits.apply(frozen.wire, &frozen.target, &frozen.body) {
        Ok(edited) => edited,
        Err(error) => return Ended::broken(format!("the frozen request can't be asked: {error}")),
    };
    let mut headers = edited.headers.unwrap_or_else(|| frozen.headers.clone());
    headers.extend(prompt.keys.iter().cloned());
    let ask = Ask { trace: run.trace, upstream: address.upstream, target: edited.target, headers, body: edited.body };
    let mut interrupt = run.interrupt.clone();
    let told = tokio::select! {
        told = tokio::time::timeout(run.limit(), run.proxy.ask(ask)) => match told {
            Ok(told) => told,
            Err(_) => return Ended::as_ending(run.timed_out()),
        },
        () = called_off(&mut interrupt) => return Ended::broken("the run was called off"),
    };
    match told {
        Err(error) => Ended::broken(error.to_string()),
        Ok(told) => {
            let response = provider::response(edited.wire, told.status, &told.headers, &told.body);
            match response.error.filter(|_| told.status >= 400) {
                Some(error) => {
                    let stderr = format!("{} {}", error.kind, error.message);
                    Ended { stderr, ..Ended::as_ending(Ending::Exited { code: 1 }) }
                }
                None => Ended::as_ending(Ending::Exited { code: 0 }),
            }
        }
    }
}

/// Returns when the run is called off; never, once nobody can any more.
pub(super) async fn called_off(interrupt: &mut tokio::sync::watch::Receiver<bool>) {
    if interrupt.wait_for(|called| *called).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn turns(run: &Run<'_>, target: &PromptTarget, prompt: &PromptRun<'_>) -> Ended {
    let (system, mut messages) = match opening(run, target, prompt) {
        Ok(opening) => opening,
        Err(name) => return unknown(name),
    };
    let tools: Vec<ToolDef> = target
        .tools
        .iter()
        .map(|tool| ToolDef {
            name: tool.name.clone(),
            description: tool.description.clone(),
            parameters: tool.parameters.clone(),
        })
        .collect();
    let address = ask::address(prompt.model);
    let params: Map<String, Value> = prompt.params.clone().into_iter().collect();
    for _ in 0..target.max_turns {
        let question = Question {
            system: &system,
            messages: &messages,
            tools: &tools,
            params: params.clone(),
            seed: Some(prompt.seed),
        };
        let (mut headers, body) = ask::encode(&address, &question);
        headers.extend(prompt.keys.iter().cloned());
        let (upstream, path) = (address.upstream.clone(), address.target.clone());
        let told = match run.proxy.ask(Ask { trace: run.trace, upstream, target: path, headers, body }).await {
            Ok(told) => told,
            Err(error) => return Ended::broken(error.to_string()),
        };
        let response = provider::response(address.wire, told.status, &told.headers, &told.body);
        if let Some(ending) = run.braked() {
            return Ended::as_ending(ending);
        }
        if told.status >= 400 || response.error.is_some() {
            let why = response.error.map(|error| format!("{} {}", error.kind, error.message));
            let why = why.unwrap_or_else(|| format!("the provider answered {}", told.status));
            // Whether it was the provider's fault the recorder's witness knows; what is left is a request it will not take.
            let ended = Ended::as_ending(Ending::Exited { code: 1 });
            return Ended { stderr: why.trim().to_owned(), ..ended };
        }
        let Some(message) = response.message else { return Ended::broken("the provider's answer holds no message") };
        let results = match answers(run, target, &message) {
            Ok(results) => results,
            Err(name) => return unknown(name),
        };
        if results.is_empty() || response.stop == Some(Stop::Length) {
            return Ended::as_ending(Ending::Exited { code: 0 });
        }
        messages.push(message);
        messages.push(Message { role: Role::Tool, parts: results });
    }
    Ended::as_ending(Ending::Braked {
        brake: format!("max_turns: the model still asks for tools after {} calls", target.max_turns),
    })
}

fn opening(run: &Run<'_>, target: &PromptTarget, prompt: &PromptRun<'_>) -> Result<(String, Vec<Message>), Unknown> {
    let system = run.render(prompt.system)?;
    if target.messages.is_empty() {
        return Ok((system, vec![Message::text(Role::User, run.render("{{prompt}}")?)]));
    }
    let message = |message: &crate::suite::PromptMessage| {
        let role = if message.role == Speaker::User { Role::User } else { Role::Assistant };
        Ok(Message::text(role, run.render(&message.text)?))
    };
    Ok((system, target.messages.iter().map(message).collect::<Result<_, Unknown>>()?))
}

/// The results of the tools a message asks for; none when it asks for none, or for one that has no answer here.
fn answers(run: &Run<'_>, target: &PromptTarget, message: &Message) -> Result<Vec<Part>, Unknown> {
    let mut results = Vec::new();
    for call in message.tool_calls() {
        let known = target.tools.iter().find(|tool| tool.name == call.name);
        let (text, is_error) = match known.map(|tool| &tool.answer) {
            Some(Some(answer)) => (run.render(answer)?, false),
            Some(None) => return Ok(Vec::new()),
            None => (format!("there is no tool {:?}", call.name), true),
        };
        let (id, name) = (call.id.clone(), call.name.clone());
        results.push(Part::ToolResult(ToolResult { id, name, text, is_error }));
    }
    Ok(results)
}

/// Asks a service. It is told the trace in headers, so that it can name it in its own model calls.
pub async fn run_http(run: &Run<'_>, target: &HttpTarget, fetcher: &Fetcher) -> Ended {
    let prepared = run.render(&target.url).and_then(|url| {
        let headers = target.headers.iter().map(|(name, value)| Ok((name.clone(), run.render(value)?)));
        Ok((url, headers.collect::<Result<Headers, Unknown>>()?, render_value(&target.body, run.vars)?))
    });
    let (url, mut headers, body) = match prepared {
        Ok(prepared) => prepared,
        Err(name) => return unknown(name),
    };
    let mut add = |name: &str, value: String| {
        if !headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            headers.push((name.to_owned(), value));
        }
    };
    add("content-type", "application/json".to_owned());
    add(crate::capture::TRACE_HEADER, run.trace.to_string());
    let span = format!("{:016x}", run.trace.0 as u64 | 1);
    add("traceparent", format!("00-{}-{span}-01", run.trace));
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let mut interrupt = run.interrupt.clone();
    let told = tokio::select! {
        told = fetcher.fetch(&target.method, &url, &headers, body, run.limit()) => told,
        () = called_off(&mut interrupt) => return Ended::broken("the run was called off"),
    };
    let told = match told {
        Ok(told) => told,
        Err(error) if run.seconds.is_some() && error.to_string().contains("no answer within") => {
            return Ended::as_ending(run.timed_out());
        }
        Err(error) => return Ended::broken(error.to_string()),
    };
    let text = String::from_utf8_lossy(&told.body).into_owned();
    match told.status {
        429 | 502..=504 => Ended::broken(format!("{url} answered {}", told.status)),
        status if status >= 400 => {
            let stderr = format!("{url} answered {status}");
            Ended { stdout: text, stderr, ..Ended::as_ending(Ending::Exited { code: 1 }) }
        }
        _ => {
            let answer = http_answer(target, &text);
            Ended { answer: Some(answer), stdout: text, ..Ended::as_ending(Ending::Exited { code: 0 }) }
        }
    }
}

fn http_answer(target: &HttpTarget, text: &str) -> String {
    let Some(path) = target.answer.as_deref().and_then(|path| path.parse::<Path>().ok()) else {
        return text.to_owned();
    };
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    match path.find(&value).first() {
        Some(Value::String(answer)) => answer.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// Folders a loop may write to.
pub fn writable(workspace: &Workspace, more: &[String], suite_dir: &std::path::Path) -> Vec<PathBuf> {
    let own = [workspace.dir.clone(), workspace.tmp.clone(), workspace.home.join("home")];
    own.into_iter().chain(more.iter().map(|dir| suite_dir.join(dir))).collect()
}
