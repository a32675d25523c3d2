//! The story of `holdback record`: a proxy on a free port, a child pointed at it, its terminal untouched, and at the end what
//! came of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::adapter::{self, AdapterError, Pointed, Setting};
use super::brake::Brakes;
use super::child::{self, ChildError, Env, Exit, Input, Killer, Output, Spec};
use super::proxy::{Begin, Proxy, ProxyConfig, ProxyError, Totals};
use super::upstream::Upstream;
use super::workspace::{self, Snapshots, Watch};
use super::{clock, ids};
use crate::trace::{Sink, Source, TraceEnded, TraceId, TraceOutcome, TraceStarted};

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
    let variables = variables(&record.environment, &pointed, &base, trace);
    let mut config = record.proxy;
    for (name, live) in pointed.upstreams {
        config.upstreams.set(&name, Upstream::Live(live));
    }
    let content = config.content;
    let redactor = config.redactor.clone();
    let (sink, line) = workspace::watch(sink, record.workspace);
    let proxy = Proxy::start(config, listener, sink)?;
    let (git_commit, git_dirty) = git_state(record.cwd.clone()).await;
    let started = TraceStarted {
        name: record.name,
        tags: record.tags,
        source: Source::Recorded,
        content,
        agent: Some(agent.name().to_owned()),
        command: record.command,
        cwd: Some(record.cwd.to_string_lossy().into_owned()),
        git_commit,
        git_dirty,
        parent: None,
    };
    proxy.begin(trace, Begin { started, brakes: record.brakes, ..Begin::default() });
    let snapshots = match line {
        Some(line) => {
            let (cwd, scratch) = (record.cwd.clone(), scratch.path().to_owned());
            let watch =
                Watch { cwd, scratch, leave_out: record.leave_out, content, redactor, notes: proxy.notes(trace) };
            Some(Snapshots::begin(line, watch).await)
        }
        None => None,
    };
    let begun = clock::tick();
    let spec = spec(command, record.cwd, variables);
    let exit = match run(&spec).await {
        Ok(exit) => exit,
        Err(error) => {
            proxy.finish(trace, never_ran(&error), GRACE).await;
            return Err(error);
        }
    };
    let duration = Duration::from_micros(clock::micros_since(begun));
    if let Some(snapshots) = snapshots {
        // Its last calls first, so that what they changed is said to be theirs.
        proxy.flush().await;
        snapshots.finish().await;
    }
    let outcome = outcome_of(&exit);
    let ended = TraceEnded { outcome, exit_code: exit.code, signal: exit.signal, reason: None, lost_calls: 0 };
    let totals = proxy.finish(trace, ended, GRACE).await;
    let outcome = if totals.pulled.is_some() && totals.refused > 0 { TraceOutcome::Braked } else { outcome };
    Ok(Recorded { trace, agent: agent.name(), exit, outcome, duration, totals })
}

/// A child with our own terminal.
fn spec(command: Vec<String>, cwd: PathBuf, variables: Vec<(String, String)>) -> Spec {
    Spec {
        command,
        cwd: Some(cwd),
        env: Env::Inherit {
            set: variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            remove: Vec::new(),
        },
        stdin: Input::Inherit,
        stdout: Output::Inherit,
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
async fn run(spec: &Spec) -> Result<Exit, RecordError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RecordError::Signals)?;
    let mut quit = signal(SignalKind::quit()).map_err(RecordError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(RecordError::Signals)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(RecordError::Signals)?;
    let running = child::spawn(spec)?;
    let killer = running.killer();
    let mut waiting = tokio::task::spawn_blocking(move || running.wait(None));
    loop {
        tokio::select! {
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
