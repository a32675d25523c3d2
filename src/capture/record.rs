//! The story of `holdback record`: a proxy on a free port, a child pointed at it, its terminal untouched, and at the end what
//! came of it.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::adapter::{self, AdapterError, Pointed, Setting};
use super::brake::Brakes;
use super::child::{self, ChildError, Env, Exit, Input, Killer, Output, Spec};
use super::intercept::{Intercept, InterceptError};
use super::proxy::{Begin, Proxy, ProxyConfig, ProxyError, Totals};
use super::tools;
use super::upstream::{Answers, Live, Upstream};
use super::workspace::{self, Snapshots, Watch};
use super::{clock, ids};
use crate::redact::Redactor;
use crate::trace::{CallId, Content, Sink, Source, TraceEnded, TraceId, TraceOutcome, TraceStarted};

/// How long connections that the child left open may take to close.
const GRACE: Duration = Duration::from_millis(500);

/// Why a command could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error(transparent)]
    Intercept(#[from] InterceptError),
    #[error("cannot open a port on this machine: {0}")]
    Listen(std::io::Error),
    #[error("cannot make a temporary folder: {0}")]
    Scratch(std::io::Error),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
}

/// What to record, and how.
pub struct Record {
    /// The user's command, program first.
    pub command: Vec<String>,
    pub name: Option<String>,
    pub tags: Vec<(String, String)>,
    pub cwd: PathBuf,
    /// The environment the command will have, as far as it is text; base-URL variables in it name upstreams.
    pub environment: Vec<(String, String)>,
    pub brakes: Brakes,
    pub proxy: ProxyConfig,
    /// Whether to note which files each call changed, where the command runs in a git work tree.
    pub workspace: bool,
    /// A folder that is none of the work, wherever it is: the store.
    pub leave_out: Option<PathBuf>,
    /// Hosts whose TLS is intercepted; none listed means those of the upstreams behind TLS. `None`: no interception.
    pub intercept: Option<Vec<String>>,
    /// Tools behind HTTP, by name: what they answer is kept, or given back from the tape.
    pub tools: Vec<(String, Live)>,
    /// What stands for the models, where it isn't the models themselves.
    pub played: Option<Played>,
}

/// A run that is made from another trace.
pub struct Played {
    pub answers: Arc<dyn Answers>,
    /// The trace it is made from, and the call it leaves it at.
    pub parent: (TraceId, Option<CallId>),
    /// The child's stdout goes to our stderr.
    pub aside: bool,
    /// Whether tools are answered from the tape too.
    pub tools: bool,
    /// More variables for the child.
    pub variables: Vec<(String, String)>,
    /// Ends the child once it is true: it asks on and on though nobody answers.
    pub enough: watch::Receiver<bool>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub trace: TraceId,
    pub agent: &'static str,
    pub exit: Exit,
    pub outcome: TraceOutcome,
    pub duration: Duration,
    pub totals: Totals,
}

impl Recorded {
    /// The code a shell would give for how the child ended.
    pub fn exit_code(&self) -> u8 {
        let code = match (self.exit.code, self.exit.signal) {
            (Some(code), _) => code & 0xff,
            (None, Some(signal)) => 128 + signal,
            (None, None) => 1,
        };
        u8::try_from(code).unwrap_or(1)
    }
}

/// Runs a command and records every model call it makes.
///
/// # Errors
/// When it cannot be started, or what it needs for being recorded cannot be made. A command that fails is no error.
pub async fn record<S: Sink + 'static>(record: Record, sink: S) -> Result<Recorded, RecordError> {
    let trace = ids::trace();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(RecordError::Listen)?;
    let address = listener.local_addr().map_err(RecordError::Listen)?;
    let scratch = tempfile::Builder::new().prefix("holdback-").tempdir().map_err(RecordError::Scratch)?;
    let base = format!("http://{address}/hb/{trace}");
    let (agent, agent_at) = adapter::find(&record.command);
    let setting = Setting {
        base: &base,
        command: &record.command,
        environment: &record.environment,
        cwd: &record.cwd,
        scratch: scratch.path(),
    };
    let pointed = agent.point(&setting)?;
    let command = with_arguments(&record.command, agent_at, &pointed.arguments);
    let mut variables = variables(&record.environment, &pointed, &base, trace);
    variables.extend(moved(&record));
    variables.extend(record.played.iter().flat_map(|played| played.variables.iter().cloned()));
    let played = record.played;
    let mut config = record.proxy;
    for (name, live) in pointed.upstreams {
        config.upstreams.set(&name, Upstream::Live(live));
    }
    variables.extend(beside(record.tools, played.as_ref(), &base, &mut config));
    if let Some(hosts) = record.intercept {
        let hosts = if hosts.is_empty() { config.upstreams.hosts() } else { hosts };
        let intercept = Intercept::new(trace, &hosts)?;
        variables.extend(intercept.variables(&record.environment, scratch.path(), address)?);
        config.intercept = Some(Arc::new(intercept));
    }
    let content = config.content;
    let redactor = config.redactor.clone();
    let (sink, line) = workspace::watch(sink, record.workspace);
    let proxy = Proxy::start(config, listener, sink)?;
    let started = TraceStarted {
        name: record.name,
        tags: record.tags,
        source: if played.is_some() { Source::Derived } else { Source::Recorded },
        content,
        agent: Some(agent.name().to_owned()),
        command: kept_command(&record.command, content, &redactor),
        parent: played.as_ref().map(|played| played.parent),
        ..place(&record.cwd).await
    };
    let answers = played.as_ref().map(|played| played.answers.clone());
    proxy.begin(trace, Begin { started, brakes: record.brakes, answers: answers.clone(), ..Begin::default() });
    let watch = Watch {
        cwd: record.cwd.clone(),
        scratch: scratch.path().to_owned(),
        leave_out: record.leave_out,
        content,
        redactor,
        notes: proxy.notes(trace),
    };
    let snapshots = Snapshots::begin(line, watch).await;
    let begun = clock::tick();
    let (aside, enough) = played.as_ref().map_or((false, None), |played| (played.aside, Some(played.enough.clone())));
    let spec = spec(command, record.cwd, variables, aside);
    let exit = match run(&spec, enough).await {
        Ok(exit) => exit,
        Err(error) => {
            proxy.finish(trace, never_ran(&error), GRACE).await;
            return Err(error);
        }
    };
    let duration = Duration::from_micros(clock::micros_since(begun));
    let (outcome, totals) = finish(proxy, trace, &exit, snapshots, answers).await;
    Ok(Recorded { trace, agent: agent.name(), exit, outcome, duration, totals })
}

/// Tools beside the models: where they are found, and what their stand-ins shall do.
fn beside(
    tools: Vec<(String, Live)>,
    played: Option<&Played>,
    base: &str,
    config: &mut ProxyConfig,
) -> Vec<(String, String)> {
    let mode = played.map_or("record", |played| if played.tools { "replay" } else { "" });
    let mut variables = vec![(tools::MODE.to_owned(), mode.to_owned())];
    for (name, live) in tools {
        variables.push((tools::variable(&name), format!("{base}/up/{name}{}", live.prefix())));
        config.upstreams.set(&name, Upstream::Live(live.without_prefix()));
        config.tools.push(name);
    }
    variables
}

/// Where the work is, when that may be another folder than the one we were started in.
fn moved(record: &Record) -> Option<(String, String)> {
    record.played.is_some().then(|| ("PWD".to_owned(), record.cwd.to_string_lossy().into_owned()))
}

/// Ends the trace once all that belongs to it is kept.
async fn finish(
    proxy: Proxy,
    trace: TraceId,
    exit: &Exit,
    snapshots: Snapshots,
    answers: Option<Arc<dyn Answers>>,
) -> (TraceOutcome, Totals) {
    // Its last calls first, so that what they changed is said to be theirs.
    proxy.flush().await;
    snapshots.finish().await;
    let outcome = outcome_of(exit);
    for note in answers.iter().flat_map(|answers| answers.notes(trace)) {
        proxy.note(trace, note);
    }
    let ended = TraceEnded { outcome, exit_code: exit.code, signal: exit.signal, reason: None, lost_calls: 0 };
    let totals = proxy.finish(trace, ended, GRACE).await;
    let outcome = if totals.pulled.is_some() && totals.refused > 0 { TraceOutcome::Braked } else { outcome };
    (outcome, totals)
}

/// The command as it may be kept: keys on a command line are secrets too, and what an agent is told there is text.
fn kept_command(command: &[String], content: Content, redactor: &Redactor) -> Vec<String> {
    let kept = |(at, word): (usize, &String)| match content {
        Content::Full => word.clone(),
        Content::Redacted => redactor.text(word).0.into_owned(),
        Content::None if at == 0 => redactor.text(word).0.into_owned(),
        Content::None => match word.strip_prefix('-') {
            Some(_) => word.split_once('=').map_or_else(|| word.clone(), |(flag, _)| format!("{flag}=…")),
            None => "…".to_owned(),
        },
    };
    command.iter().enumerate().map(kept).collect()
}

/// What there is to know of the folder that a command runs in.
async fn place(cwd: &Path) -> TraceStarted {
    let (git_commit, git_dirty) = git_state(cwd.to_owned()).await;
    let cwd = Some(cwd.to_string_lossy().into_owned());
    TraceStarted { source: Source::Recorded, cwd, git_commit, git_dirty, ..TraceStarted::default() }
}

/// A child with our own terminal.
fn spec(command: Vec<String>, cwd: PathBuf, variables: Vec<(String, String)>, aside: bool) -> Spec {
    Spec {
        command,
        cwd: Some(cwd),
        env: Env::Inherit {
            set: variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            remove: Vec::new(),
        },
        stdin: Input::Inherit,
        stdout: if aside { Output::Aside } else { Output::Inherit },
        stderr: Output::Inherit,
        group: false,
    }
}

fn never_ran(error: &RecordError) -> TraceEnded {
    let reason = Some(error.to_string());
    TraceEnded { outcome: TraceOutcome::Failed, exit_code: None, signal: None, reason, lost_calls: 0 }
}

fn outcome_of(exit: &Exit) -> TraceOutcome {
    match (exit.code, exit.signal) {
        (Some(0), _) => TraceOutcome::Ok,
        (_, Some(_)) => TraceOutcome::Killed,
        _ => TraceOutcome::Failed,
    }
}

fn with_arguments(command: &[String], agent_at: usize, arguments: &[String]) -> Vec<String> {
    let mut command = command.to_vec();
    let at = (agent_at + 1).min(command.len());
    command.splice(at..at, arguments.iter().cloned());
    command
}

/// The child's variables: its adapter's, ours, and a way past any HTTP proxy for what comes to us.
fn variables(environment: &[(String, String)], pointed: &Pointed, base: &str, trace: TraceId) -> Vec<(String, String)> {
    let mut variables = pointed.variables.clone();
    variables.push(("HOLDBACK_TRACE".to_owned(), trace.to_string()));
    variables.push(("HOLDBACK_URL".to_owned(), base.to_owned()));
    let get = |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let proxied = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    if proxied.iter().any(|name| get(name).is_some_and(|value| !value.is_empty())) {
        for name in ["NO_PROXY", "no_proxy"] {
            let others =
                get(name).or_else(|| get("NO_PROXY")).or_else(|| get("no_proxy")).filter(|value| !value.is_empty());
            let all = others.map_or_else(|| "127.0.0.1".to_owned(), |others| format!("{others},127.0.0.1"));
            variables.push((name.to_owned(), all));
        }
    }
    variables
}

/// Runs the child to its end. Signals that reach us and not it are passed on.
async fn run(spec: &Spec, enough: Option<watch::Receiver<bool>>) -> Result<Exit, RecordError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RecordError::Signals)?;
    let mut quit = signal(SignalKind::quit()).map_err(RecordError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(RecordError::Signals)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(RecordError::Signals)?;
    let running = child::spawn(spec)?;
    let killer = running.killer();
    let mut waiting = tokio::task::spawn_blocking(move || running.wait(None));
    let mut patience = pin!(patience(enough, killer));
    loop {
        tokio::select! {
            () = &mut patience => {}
            ended = &mut waiting => {
                let gone = |error: tokio::task::JoinError| ChildError::Wait(std::io::Error::other(error));
                return Ok(ended.map_err(gone)??);
            }
            _ = interrupt.recv() => unless_shared(killer, Signal::INT),
            _ = quit.recv() => unless_shared(killer, Signal::QUIT),
            _ = terminate.recv() => killer.send(Signal::TERM),
            _ = hang_up.recv() => killer.send(Signal::HUP),
        }
    }
}

/// How long a child may take to end politely.
const POLITE: Duration = Duration::from_secs(3);

/// Ends a child that has had enough refusals. Never returns otherwise.
async fn patience(enough: Option<watch::Receiver<bool>>, killer: Killer) {
    if let Some(mut enough) = enough
        && enough.wait_for(|enough| *enough).await.is_ok()
    {
        killer.send(Signal::TERM);
        tokio::time::sleep(POLITE).await;
        killer.send(Signal::KILL);
    }
    std::future::pending::<()>().await;
}

/// Ctrl-C at a terminal reaches every process in the foreground, the child too. Sent by `kill` it reaches only us.
fn unless_shared(killer: Killer, signal: Signal) {
    let foreground = rustix::termios::tcgetpgrp(rustix::stdio::stdin()).ok();
    if foreground != Some(rustix::process::getpgrp()) {
        killer.send(signal);
    }
}

/// The commit a folder is at and whether anything in it differs; nothing where there is no repository or no git.
pub async fn git_state(cwd: PathBuf) -> (Option<String>, Option<bool>) {
    tokio::task::spawn_blocking(move || {
        let commit = git(&cwd, &["rev-parse", "HEAD"]).map(|text| text.trim().to_owned());
        let dirty =
            git(&cwd, &["status", "--porcelain", "--untracked-files=normal"]).map(|text| !text.trim().is_empty());
        (commit, dirty)
    })
    .await
    .unwrap_or_default()
}

/// The commit a folder is at.
pub async fn git_commit(cwd: PathBuf) -> Option<String> {
    tokio::task::spawn_blocking(move || git(&cwd, &["rev-parse", "HEAD"]).map(|text| text.trim().to_owned()))
        .await
        .unwrap_or_default()
}

fn git(cwd: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = vec!["git".to_owned(), "--no-optional-locks".to_owned()];
    command.extend(arguments.iter().map(|word| (*word).to_owned()));
    let spec = Spec {
        command,
        cwd: Some(cwd.to_owned()),
        env: Env::Inherit { set: Vec::new(), remove: Vec::new() },
        stdin: Input::Null,
        stdout: Output::Memory(1 << 20),
        stderr: Output::Null,
        group: true,
    };
    let exit = child::spawn(&spec).ok()?.wait(Some(Duration::from_secs(3))).ok()?;
    exit.success().then(|| String::from_utf8_lossy(&exit.stdout.bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn arguments_go_behind_the_agents_own_name() {
        let command = text(&["npx", "codex", "exec", "x"]);
        assert_eq!(
            with_arguments(&command, 1, &text(&["-c", "a=1"])),
            text(&["npx", "codex", "-c", "a=1", "exec", "x"])
        );
        assert_eq!(with_arguments(&[], 0, &[]), Vec::<String>::new());
    }

    #[test]
    fn a_command_is_kept_without_its_keys_and_without_text_where_none_is_kept() {
        let redactor = Redactor::new(&crate::redact::Rules::default()).unwrap();
        let key = format!("ghp_{}", "0123456789abcdefghijABCDEFGHIJ012345");
        let command = text(&["agent", "--token", &key, "--model=gpt-x", "-p", "our secret plan"]);
        assert_eq!(kept_command(&command, Content::Full, &redactor), command);
        let redacted = kept_command(&command, Content::Redacted, &redactor);
        assert!(redacted[2].starts_with("[redacted:") && redacted[5] == command[5], "{redacted:?}");
        let none = kept_command(&command, Content::None, &redactor);
        assert_eq!(none, text(&["agent", "--token", "…", "--model=…", "-p", "…"]));
    }

    #[test]
    fn an_http_proxy_is_told_to_leave_our_calls_alone() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let with =
            |environment: &[(String, String)]| variables(environment, &Pointed::default(), "http://b", TraceId(1));
        let all = with(&[pair("HTTPS_PROXY", "http://corp:3128"), pair("NO_PROXY", "corp.example")]);
        assert!(
            all.contains(&pair("NO_PROXY", "corp.example,127.0.0.1"))
                && all.contains(&pair("no_proxy", "corp.example,127.0.0.1"))
        );
        assert!(!with(&[]).iter().any(|(name, _)| name == "NO_PROXY"));
    }
}
