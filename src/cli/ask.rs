//! `holdback ask`: recorded calls asked again one by one, of another model or with another prompt, and compared.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;

use super::models::{self, Change, Changed};
use super::record::environment;
use super::recording::{Limits, Recording};
use super::{Exit, Global, Misuse, answers, out, tapes, traces};
use crate::capture::{Begin, Mocks, Proxy, ProxyConfig, Upstream, clock, ids};
use crate::eval::{COMPARISON, Question, Reanswer, Reask, reask};
use crate::provider;
use crate::store::log::{Reader, Store};
use crate::trace::{CallEnd, CallId, Source, TraceEnded, TraceId, TraceOutcome, TraceStarted, Wire};

/// The kind of record that says what was asked, so that an ask that was cut off can be gone on with.
const ASK: &str = "ask";

#[derive(Debug, Args)]
#[command(
    after_help = "Every call is asked with its recorded history, so a step that comes out differently doesn't spoil those after \
                  it. Nothing is run: tools are not called.\n\nExamples:\n  \
                  holdback ask last --model anthropic/claude-haiku-4-5\n  \
                  holdback ask nightly-1 nightly-2 --model openai/gpt-5-mini -k 3 -j 8\n  \
                  holdback ask last --prompt-patch shorter.diff --json\n  \
                  holdback ask nightly-1 nightly-2 --model openai/gpt-5-mini --resume 3f2a91c0"
)]
pub struct AskArgs {
    /// Ids, beginnings of ids, names, or `last`
    #[arg(required = true)]
    traces: Vec<String>,
    #[command(flatten)]
    change: Change,
    /// How often each call is asked
    #[arg(short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    k: u32,
    /// How many are asked at once
    #[arg(short, long, value_name = "N", default_value_t = 4)]
    jobs: usize,
    /// Only this call, by its number; any number of them
    #[arg(long, value_name = "N")]
    call: Vec<usize>,
    /// How long one try may take
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Go on with an ask that was cut off, by the trace of its answers: what is answered there isn't asked again. The rest of the
    /// command stays as it was
    #[arg(long, value_name = "TRACE")]
    resume: Option<String>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    recording: Recording,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What was asked.
#[derive(Debug, Serialize, Deserialize)]
struct AskRecord {
    /// Names the same traces, change and attempts.
    same: String,
    /// The trace of the first part, which all comparisons name.
    first: TraceId,
}

/// What an ask that is gone on with has already.
struct Before {
    first: TraceId,
    answers: Vec<Reanswer>,
}

/// Asks, compares, and tells.
pub fn run(global: &Global, args: &AskArgs) -> anyhow::Result<Exit> {
    if args.change.is_empty() {
        return Err(
            Misuse("what is to be different? Give --model, --set, --system or --prompt-patch".to_owned()).into()
        );
    }
    let store = global.existing_store()?;
    let reader = Arc::new(store.reader()?);
    let of = args.traces.iter().map(|word| traces::resolve(&reader, word)).collect::<anyhow::Result<Vec<_>>>()?;
    let environment = environment();
    let Changed { edits, upstream, keys: own } = args.change.read(&environment)?;
    let same = ids::trace_named(ASK, &format!("{edits:?} {upstream:?} {of:?} {:?} {}", args.call, args.k)).to_string();
    let before = args.resume.as_deref().map(|word| before(&reader, word, &same)).transpose()?;
    let settings = args.recording.settings(&store, args.limits.clone())?;
    let keys = move |name: &str| if own.is_empty() { models::keys(name, &environment) } else { own.clone() };
    let mut proxy = settings.proxy;
    if proxy.upstreams.get("mock").is_none() {
        proxy.upstreams.set("mock", Upstream::Local(Arc::new(Mocks)));
    }
    let how = Reask {
        edits,
        upstream,
        keys: Box::new(keys),
        prices: args.recording.table()?,
        jobs: args.jobs,
        patience: Duration::from_secs(args.timeout),
        redactor: proxy.redactor.clone(),
    };
    let started = TraceStarted {
        name: Some(format!("ask {}", args.traces.join(" "))),
        tags: vec![(ASK.to_owned(), args.change.model.clone().unwrap_or_else(|| "changed".to_owned()))],
        source: Source::Derived,
        content: proxy.content,
        parent: of.first().map(|trace| (*trace, None)),
        ..TraceStarted::default()
    };
    let begin = Begin { started, brakes: settings.brakes, ..Begin::default() };
    let Some(asked) = all(&store, &reader, proxy, begin, &Asking { args, of: &of, same, before, how })? else {
        eprintln!("holdback: none of these traces has a call that was answered and whose text was kept");
        return Ok(Exit::Undecided);
    };
    tell(args, &asked)
}

/// The answers that an earlier ask of the very same has.
fn before(reader: &Reader, word: &str, same: &str) -> anyhow::Result<Before> {
    let trace = traces::resolve(reader, word)?;
    let record = reader.record(ASK, &trace.to_string())?;
    let record: Option<AskRecord> = record.and_then(|record| serde_json::from_value(record.data).ok());
    let Some(record) = record else {
        return Err(Misuse(format!("--resume {word:?}: trace {trace} has no answers of `holdback ask`")).into());
    };
    if record.same != same {
        return Err(Misuse(format!(
            "--resume {word:?}: that ask was another one; give the same traces, model, changes, --call and -k as then"
        ))
        .into());
    }
    let kept = reader.records_of::<Reanswer>(COMPARISON, &record.first.to_string())?;
    let answers = kept.found.into_iter().filter(|answer| answer.error.is_none()).collect();
    Ok(Before { first: record.first, answers })
}

/// Everything that asking needs to know.
struct Asking<'a> {
    args: &'a AskArgs,
    of: &'a [TraceId],
    same: String,
    before: Option<Before>,
    how: Reask,
}

/// What came of it.
struct Asked {
    trace: TraceId,
    answers: Vec<Reanswer>,
    /// Nobody answered, so not all were asked.
    gave_up: bool,
}

/// Asks everything; `None` when there is nothing to ask.
fn all(
    store: &Store,
    reader: &Arc<Reader>,
    config: ProxyConfig,
    begin: Begin,
    asking: &Asking<'_>,
) -> anyhow::Result<Option<Asked>> {
    let Asking { args, of, same, before, how } = asking;
    let mut answers = before.as_ref().map_or_else(Vec::new, |before| before.answers.clone());
    let done: HashSet<(CallId, u32)> = answers.iter().map(|answer| (answer.call, answer.attempt)).collect();
    let broken: RefCell<Option<anyhow::Error>> = RefCell::default();
    // Traces are read one after the other, calls put together when their turn comes: 2,000 of them never stand in memory at once.
    let mut questions = of
        .iter()
        .flat_map(|trace| of_trace(reader, *trace, &args.call).unwrap_or_else(|error| stopped(&broken, error)))
        .flat_map(|question| (1..=args.k).map(move |attempt| (question.clone(), attempt)))
        .filter(|(question, attempt)| !done.contains(&(question.call, *attempt)))
        .peekable();
    if questions.peek().is_none() && answers.is_empty() {
        return broken.into_inner().map_or(Ok(None), Err);
    }
    let trace = ids::trace();
    let first = before.as_ref().map_or(trace, |before| before.first);
    let (mut writer, events) = (store.writer()?, store.writer()?);
    writer.record(ASK, &trace.to_string(), clock::now(), &json!({ "same": same, "first": first }))?;
    let calls: u64 = of.iter().filter_map(|trace| reader.trace(*trace).ok()).map(|trace| trace.calls).sum();
    let bar = out::progress(Some((calls * u64::from(args.k)).max(1)), "asking");
    bar.inc(answers.len() as u64);
    let short = &trace.to_string()[..8];
    eprintln!("holdback: asking; the answers go to trace {short} (if this is cut off, --resume {short} goes on)");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let gave_up = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listening on 127.0.0.1")?;
        let proxy = Proxy::start(config, listener, events)?;
        proxy.begin(trace, begin);
        let mut unkept = None;
        let gave_up = reask(&proxy, trace, questions, how, |answer| {
            bar.inc(1);
            unkept = unkept.take().or(keep(&mut writer, trace, first, &answer).err());
            answers.push(answer);
        })
        .await;
        bar.finish_and_clear();
        let ended =
            TraceEnded { outcome: TraceOutcome::Ok, exit_code: None, signal: None, reason: None, lost_calls: 0 };
        proxy.finish(trace, ended, Duration::from_millis(500)).await;
        unkept.map_or(Ok(gave_up), Err)
    })?;
    if let Some(error) = broken.into_inner() {
        return Err(error);
    }
    let order: HashMap<TraceId, usize> = of.iter().copied().zip(0..).collect();
    answers.sort_by_key(|answer| (order.get(&answer.trace).copied(), answer.number, answer.attempt));
    Ok(Some(Asked { trace, answers, gave_up }))
}

/// A trace that can't be read ends the asking, and is told at the end.
fn stopped(broken: &RefCell<Option<anyhow::Error>>, error: anyhow::Error) -> Box<dyn Iterator<Item = Question>> {
    broken.borrow_mut().get_or_insert(error);
    Box::new(std::iter::empty())
}

/// The calls of a trace that were answered with words or tools.
fn of_trace<'a>(
    reader: &Arc<Reader>,
    trace: TraceId,
    only: &'a [usize],
) -> anyhow::Result<Box<dyn Iterator<Item = Question> + 'a>> {
    let reel = tapes::read_plain(reader, trace)?.reel;
    let bodies = reel.bodies;
    let question = move |(recorded, number): (crate::replay::Recorded, usize)| {
        let ended = recorded.ended.filter(|ended| ended.end == CallEnd::Complete && ended.status == Some(200))?;
        let request = recorded.request;
        if !(only.is_empty() || only.contains(&number)) || matches!(request.wire, Wire::Raw | Wire::Embeddings) {
            return None;
        }
        let response = provider::response(request.wire, 200, &ended.headers, &ended.body);
        let body = bodies(recorded.call).filter(|_| response.message.is_some())?;
        Some(Question {
            trace,
            call: recorded.call,
            number,
            wire: request.wire,
            upstream: request.upstream,
            target: request.target,
            headers: request.headers,
            body,
            recorded: response,
            cost_usd: ended.summary.cost_usd,
            latency_us: ended.chunks.last().map(|chunk| chunk.at),
        })
    };
    Ok(Box::new(reel.calls.into_iter().zip(1..).filter_map(question)))
}

/// Comparisons are kept as they come, so that they can be asked for later and an ask that is cut off loses none.
fn keep(
    writer: &mut crate::store::log::Writer,
    trace: TraceId,
    first: TraceId,
    answer: &Reanswer,
) -> anyhow::Result<()> {
    let id = format!("{first}-{}-{}-{}", answer.trace, answer.number, answer.attempt);
    let mut data = serde_json::to_value(answer)?;
    data["asked_in"] = json!(trace);
    data["run"] = json!(first);
    Ok(writer.record(COMPARISON, &id, clock::now(), &data)?)
}

fn tell(args: &AskArgs, asked: &Asked) -> anyhow::Result<Exit> {
    let summary = answers::summary(&asked.answers);
    if args.json {
        out::json(
            &json!({ "trace": asked.trace, "gave_up": asked.gave_up, "summary": summary, "steps": asked.answers }),
        )?;
    } else {
        out::print_table(&answers::table(&asked.answers, args.k > 1))?;
        out::text(answers::words(&summary))?;
        eprintln!("holdback: the answers are in trace {}", &asked.trace.to_string()[..8]);
    }
    let why = || {
        let last = asked.answers.iter().rev().find_map(|answer| answer.error.as_deref()).unwrap_or_default();
        out::printable(last)
    };
    if summary.answered == 0 {
        eprintln!("holdback: no call was answered: {}", why());
    } else if asked.gave_up {
        let short = &asked.trace.to_string()[..8];
        eprintln!("holdback: stopped, too many calls in a row got no answer: {} (--resume {short} goes on)", why());
    }
    Ok(if summary.answered == 0 || asked.gave_up { Exit::Infrastructure } else { Exit::Pass })
}
