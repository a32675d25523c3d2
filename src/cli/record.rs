//! `holdback record` and `holdback attach`: two words before the command of a loop.

use std::fmt::Write as _;

use clap::Args;

use super::recording::{Limits, Recording};
use super::{Exit, Global, Misuse, out};
use crate::capture::InterceptError;
use crate::capture::record::{self, RecordError, Recorded};
use crate::capture::{Live, Upstreams};
use crate::store::log::Store;
use crate::trace::TraceOutcome;

#[derive(Debug, Args)]
#[command(
    after_help = "The command runs as it always does: same terminal, same signals, same exit code. Its calls pass through a \
                  proxy on this machine, unchanged, and are kept in the store.\n\nExamples:\n  \
                  holdback record -- claude -p 'fix the failing test'\n  \
                  holdback record --name nightly --tag team=shop -- python agent.py\n  \
                  holdback record --max-calls 50 --stop-on stuck -- codex exec 'tidy up'\n  \
                  holdback record --tls-intercept --hosts api.example.com -- ./closed-agent"
)]
pub struct Record {
    /// A name to find the trace by
    #[arg(long)]
    name: Option<String>,
    /// Words to find the trace by, any number of them
    #[arg(long, value_name = "KEY=VALUE")]
    tag: Vec<String>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    recording: Recording,
    /// Don't note which files each call changed (it is done in git work trees, with git's own objects)
    #[arg(long)]
    no_workspace: bool,
    /// Also read what the command says over TLS to these hosts, for agents with an address compiled in. A certificate authority
    /// made for this run is trusted by the command only, through its environment; other hosts are tunnelled unread
    #[arg(long)]
    tls_intercept: bool,
    /// Hosts to intercept: api.example.com, api.example.com:8443, *.example.com [default: the upstreams behind TLS]
    #[arg(long, value_name = "HOST,...", value_delimiter = ',', requires = "tls_intercept")]
    hosts: Vec<String>,
    /// A tool behind HTTP (an MCP server, a service): what it answers is kept for `replay --tape-tools`. The command finds its address
    /// in HOLDBACK_TOOL_NAME; any number of them
    #[arg(long, value_name = "NAME=URL")]
    tool_url: Vec<String>,
    /// Print nothing of our own
    #[arg(short, long)]
    quiet: bool,
    /// The command to run, after `--`
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Runs the command and records it. Exits with the command's own code.
pub fn run(global: &Global, args: Record) -> anyhow::Result<Exit> {
    let tags = args.tag.iter().map(|tag| parse_tag(tag)).collect::<anyhow::Result<Vec<_>>>()?;
    let store = global.store()?;
    let job = Job {
        name: args.name,
        tags,
        command: args.command,
        cwd: std::env::current_dir()?,
        workspace: !args.no_workspace,
        intercept: args.tls_intercept.then_some(args.hosts),
        tools: tool_urls(&args.tool_url)?,
    };
    let recorded = record(&store, &args.recording, args.limits, job)?;
    if !args.quiet {
        eprintln!("{}", summary(&recorded, global.paint()));
    }
    Ok(Exit::Child(recorded.exit_code()))
}

/// `k=v`, taken apart.
pub fn parse_tag(tag: &str) -> anyhow::Result<(String, String)> {
    match tag.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Misuse(format!("--tag {tag:?}: expected KEY=VALUE")).into()),
    }
}

/// A command to record.
pub struct Job {
    pub name: Option<String>,
    pub tags: Vec<(String, String)>,
    pub command: Vec<String>,
    pub cwd: std::path::PathBuf,
    /// Whether to note which files each call changed.
    pub workspace: bool,
    /// Hosts whose TLS is intercepted, if any is.
    pub intercept: Option<Vec<String>>,
    /// Tools behind HTTP.
    pub tools: Vec<ToolUrl>,
}

/// A tool behind HTTP: its name, and the address as it was given and as it is used.
#[derive(Debug, Clone)]
pub struct ToolUrl {
    pub name: String,
    pub given: String,
    pub live: Live,
}

/// Under this name a trace keeps the tools behind HTTP that it was recorded with.
pub const TOOL_URL: &str = "tool_url";

/// Reads `NAME=URL`.
pub fn tool_urls<'a>(given: impl IntoIterator<Item = &'a String>) -> anyhow::Result<Vec<ToolUrl>> {
    let mut tools: Vec<ToolUrl> = Vec::new();
    for given in given {
        let bad = |why: String| Misuse(format!("--tool-url {given:?}: {why}"));
        let (name, url) = given
            .split_once('=')
            .filter(|(name, _)| !name.is_empty() && !name.contains(['/', '?', '#', '%']))
            .ok_or_else(|| bad("expected NAME=URL, like shop=http://127.0.0.1:9000/mcp".to_owned()))?;
        let live = Live::parse(url).map_err(|error| bad(error.to_string()))?;
        if Upstreams::known().get(name).is_some() || tools.iter().any(|tool| tool.name == name) {
            return Err(bad(format!("{name} is taken: give the tool another name")).into());
        }
        tools.push(ToolUrl { name: name.to_owned(), given: given.clone(), live });
    }
    Ok(tools)
}

/// Records a command into a store.
pub fn record(store: &Store, recording: &Recording, limits: Limits, job: Job) -> anyhow::Result<Recorded> {
    let settings = recording.settings(store, limits)?;
    let writer = store.writer()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut tags = job.tags;
    let redactor = settings.proxy.redactor.clone();
    tags.extend(job.tools.iter().map(|tool| (TOOL_URL.to_owned(), redactor.text(&tool.given).0.into_owned())));
    let record = record::Record {
        command: job.command,
        name: job.name,
        tags,
        tools: job.tools.into_iter().map(|tool| (tool.name, tool.live)).collect(),
        cwd: job.cwd,
        environment: environment(),
        brakes: settings.brakes,
        proxy: settings.proxy,
        workspace: job.workspace,
        intercept: job.intercept,
        leave_out: Some(store.dir().to_owned()),
        played: None,
    };
    runtime.block_on(record::record(record, writer)).map_err(|error| match error {
        RecordError::Intercept(InterceptError::Chained { .. }) => Misuse(error.to_string()).into(),
        other => anyhow::Error::from(other),
    })
}

/// The environment, as far as it is text.
pub fn environment() -> Vec<(String, String)> {
    #[expect(clippy::disallowed_methods, reason = "the environment is read in cli")]
    let all = std::env::vars_os();
    all.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// The one line that says what was recorded.
pub fn summary(recorded: &Recorded, paint: out::Paint) -> String {
    let totals = &recorded.totals;
    let mut facts = vec![match totals.calls {
        1 => "1 call".to_owned(),
        calls => format!("{calls} calls"),
    }];
    if totals.agents > 0 {
        facts.push(format!("{} sub-agents", totals.agents));
    }
    if totals.usage.is_known() {
        facts.push(format!("{} tokens", out::count(totals.usage.total())));
    }
    facts.push(match totals.unpriced_calls {
        0 => out::dollars(totals.cost_usd),
        unpriced => format!("{} + {unpriced} calls without a price", out::dollars(totals.cost_usd)),
    });
    facts.push(out::duration(u64::try_from(recorded.duration.as_micros()).unwrap_or(u64::MAX)));
    let outcome = match recorded.outcome {
        TraceOutcome::Ok => paint.good("ok"),
        outcome => paint.bad(outcome.as_str()),
    };
    facts.push(match (recorded.exit.code, recorded.exit.signal) {
        (Some(0), _) => outcome,
        (Some(code), _) => format!("{outcome} (exit {code})"),
        (None, Some(signal)) => format!("{outcome} (signal {signal})"),
        (None, None) => outcome,
    });
    facts.push(format!("trace {}", paint.name(&recorded.trace.to_string()[..8])));
    let mut line = format!("holdback: {}", facts.join(" · "));
    if totals.calls == 0 {
        let _ =
            write!(line, "\nholdback: no model call came by: is {} told another address somewhere?", recorded.agent);
    }
    if totals.errors > 0 {
        let _ = write!(line, "\nholdback: {} calls failed, {} were retries", totals.errors, totals.retries);
    }
    if let Some(pulled) = &totals.pulled {
        let _ = write!(
            line,
            "\nholdback: brake {}: {}; {} calls refused, {} in flight went on",
            pulled.brake, pulled.why, totals.refused, totals.overshoot_calls
        );
    }
    if totals.lost_calls > 0 {
        let why = totals.sink_error.as_deref().unwrap_or("the recorder could not keep up");
        let _ =
            write!(line, "\nholdback: {}", paint.bad(&format!("{} calls were NOT recorded: {why}", totals.lost_calls)));
    }
    line
}

#[derive(Debug, Args)]
#[command(after_help = "Example: eval \"$(holdback attach --to http://127.0.0.1:4141)\"")]
pub struct Attach {
    /// The address of a running `holdback proxy`, as the agent's machine sees it
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4141")]
    to: String,
    /// Put everything the agent asks into this trace (32 hex digits); otherwise the proxy tells traces apart
    #[arg(long, value_name = "ID")]
    trace: Option<String>,
    /// Print one JSON object instead of shell lines
    #[arg(long)]
    json: bool,
}

/// Prints what to export for an agent that runs elsewhere.
pub fn attach(args: &Attach) -> anyhow::Result<Exit> {
    let mut base = args.to.trim_end_matches('/').to_owned();
    if let Some(trace) = &args.trace {
        let trace: crate::trace::TraceId = trace.parse().map_err(|error| Misuse(format!("--trace: {error}")))?;
        let _ = write!(base, "/hb/{trace}");
    }
    let variables = crate::capture::attach(&base);
    if args.json {
        let object: serde_json::Map<_, _> = variables.into_iter().map(|(name, value)| (name, value.into())).collect();
        out::json(&object)?;
        return Ok(Exit::Pass);
    }
    let mut lines = String::new();
    for (name, value) in variables {
        let _ = writeln!(lines, "export {name}='{}'", value.replace('\'', "'\\''"));
    }
    out::text(lines)?;
    Ok(Exit::Pass)
}
