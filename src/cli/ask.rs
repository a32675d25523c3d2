//! `holdback ask`: recorded calls asked again one by one, of another model or with another prompt, and compared.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use tokio::net::TcpListener;

use super::models::{self, Change, Changed};
use super::record::environment;
use super::recording::{Limits, Recording};
use super::{Exit, Global, Misuse, out, tapes, traces};
use crate::capture::{Begin, Mocks, Proxy, Upstream, clock, ids};
use crate::eval::{Question, Reanswer, Reask, reask};
use crate::provider;
use crate::stats::Interval;
use crate::stats::basic::mean;
use crate::stats::gaffke::Bounded;
use crate::store::log::{Reader, Store};
use crate::trace::{CallEnd, Source, TraceEnded, TraceId, TraceOutcome, TraceStarted, Wire};

/// From so many traces on, intervals are over traces: the steps of one trace hang together.
const MANY_TRACES: usize = 8;
/// Two-sided level of the intervals.
const ALPHA: f64 = 0.05;

#[derive(Debug, Args)]
#[command(
    after_help = "Every call is asked with its recorded history, so a step that comes out differently doesn't spoil those after \
                  it. Nothing is run: tools are not called.\n\nExamples:\n  \
                  holdback ask last --model anthropic/claude-haiku-4-5\n  \
                  holdback ask nightly-1 nightly-2 --model openai/gpt-5-mini -k 3 -j 8\n  \
                  holdback ask last --prompt-patch shorter.diff --json"
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
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    recording: Recording,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// A share with what stands behind it.
#[derive(Debug, Clone, Serialize)]
struct Share {
    value: f64,
    interval: Option<Interval>,
    n: usize,
}

/// All steps together.
#[derive(Debug, Clone, Serialize)]
struct Summary {
    asked: usize,
    answered: usize,
    same_decision: Option<Share>,
    same_arguments: Option<Share>,
    similarity: Option<Share>,
    /// `trace` or `step`: what the intervals count as independent.
    unit: &'static str,
    recorded_tokens: u64,
    tokens: u64,
    recorded_cost_usd: Option<f64>,
    cost_usd: Option<f64>,
    recorded_latency_us: Option<u64>,
    latency_us: Option<u64>,
    not_carried: Vec<String>,
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
    let mut questions = Vec::new();
    let mut parent = None;
    for word in &args.traces {
        let trace = traces::resolve(&reader, word)?;
        parent = parent.or(Some((trace, None)));
        questions.extend(of_trace(&reader, trace, &args.call)?);
    }
    if questions.is_empty() {
        eprintln!("holdback: none of these traces has a call that was answered and whose text was kept");
        return Ok(Exit::Undecided);
    }
    let environment = environment();
    let Changed { edits, upstream, keys: own } = args.change.read(&environment)?;
    let settings = args.recording.settings(&store, args.limits.clone())?;
    let keys = move |name: &str| if own.is_empty() { models::keys(name, &environment) } else { own.clone() };
    let how =
        Reask { edits, upstream, keys: Box::new(keys), prices: args.recording.table()?, k: args.k, jobs: args.jobs };
    let mut proxy = settings.proxy;
    if proxy.upstreams.get("mock").is_none() {
        proxy.upstreams.set("mock", Upstream::Local(Arc::new(Mocks)));
    }
    let started = TraceStarted {
        name: Some(format!("ask {}", args.traces.join(" "))),
        tags: vec![("ask".to_owned(), args.change.model.clone().unwrap_or_else(|| "changed".to_owned()))],
        source: Source::Derived,
        content: proxy.content,
        parent,
        ..TraceStarted::default()
    };
    let begin = Begin { started, brakes: settings.brakes, ..Begin::default() };
    let (trace, answers) = all(&store, proxy, begin, &questions, &how)?;
    keep(&store, trace, &answers)?;
    tell(args, trace, &answers)
}

fn all(
    store: &Store,
    config: crate::capture::ProxyConfig,
    begin: Begin,
    questions: &[Question],
    how: &Reask,
) -> anyhow::Result<(TraceId, Vec<Reanswer>)> {
    let writer = store.writer()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listening on 127.0.0.1")?;
        let proxy = Proxy::start(config, listener, writer)?;
        let trace = ids::trace();
        proxy.begin(trace, begin);
        let bar = out::progress(Some(questions.len() as u64 * u64::from(how.k)), "asking");
        let answers = reask(&proxy, trace, questions, how, || bar.inc(1)).await;
        bar.finish_and_clear();
        let ended =
            TraceEnded { outcome: TraceOutcome::Ok, exit_code: None, signal: None, reason: None, lost_calls: 0 };
        proxy.finish(trace, ended, Duration::from_millis(500)).await;
        Ok((trace, answers))
    })
}

/// The calls of a trace that were answered with words or tools.
fn of_trace(reader: &Arc<Reader>, trace: TraceId, only: &[usize]) -> anyhow::Result<Vec<Question>> {
    let reel = tapes::read(reader, trace)?.reel;
    let mut questions = Vec::new();
    for (recorded, number) in reel.calls.into_iter().zip(1..) {
        let Some(ended) = recorded.ended.filter(|ended| ended.end == CallEnd::Complete && ended.status == Some(200))
        else {
            continue;
        };
        let request = recorded.request;
        if !(only.is_empty() || only.contains(&number)) || matches!(request.wire, Wire::Raw | Wire::Embeddings) {
            continue;
        }
        let response = provider::response(request.wire, 200, &ended.headers, &ended.body);
        let Some(body) = (reel.bodies)(recorded.call).filter(|_| response.message.is_some()) else { continue };
        questions.push(Question {
            trace,
            number,
            wire: request.wire,
            upstream: request.upstream,
            target: request.target,
            headers: request.headers,
            body,
            recorded: response,
            cost_usd: ended.summary.cost_usd,
            latency_us: ended.chunks.last().map(|chunk| chunk.at),
        });
    }
    Ok(questions)
}

/// Comparisons are kept, so that they can be asked for later.
fn keep(store: &Store, trace: TraceId, answers: &[Reanswer]) -> anyhow::Result<()> {
    let mut writer = store.writer()?;
    for answer in answers {
        let id = format!("{trace}-{}-{}-{}", answer.trace, answer.number, answer.attempt);
        let mut data = serde_json::to_value(answer)?;
        data["asked_in"] = serde_json::json!(trace);
        writer.record("comparison", &id, clock::now(), &data)?;
    }
    Ok(())
}

fn tell(args: &AskArgs, trace: TraceId, answers: &[Reanswer]) -> anyhow::Result<Exit> {
    let summary = summary(answers);
    if args.json {
        out::json(&serde_json::json!({ "trace": trace, "summary": summary, "steps": answers }))?;
    } else {
        out::print_table(&table(answers, args))?;
        out::text(words(&summary))?;
        eprintln!("holdback: the answers are in trace {}", &trace.to_string()[..8]);
    }
    if summary.answered == 0 {
        let why = answers.iter().find_map(|answer| answer.error.clone()).unwrap_or_default();
        eprintln!("holdback: no call was answered: {}", out::printable(&why));
        return Ok(Exit::Infrastructure);
    }
    Ok(Exit::Pass)
}

fn table(answers: &[Reanswer], args: &AskArgs) -> comfy_table::Table {
    let mut table =
        out::table(&["trace", "call", "recorded", "now", "move", "arguments", "alike", "tokens", "cost", "took"]);
    for answer in answers {
        let short = answer.trace.to_string()[..8].to_owned();
        let call =
            if args.k > 1 { format!("{} #{}", answer.number, answer.attempt) } else { answer.number.to_string() };
        let Some(compared) = &answer.compared else {
            let why = out::printable(&out::shorten(answer.error.as_deref().unwrap_or("no answer"), 60));
            table.add_row(vec![short, call, "-".to_owned(), why]);
            continue;
        };
        let said = |decision: crate::replay::Decision, tools: &[String]| match tools {
            [] => format!("{decision:?}").to_lowercase(),
            tools => out::printable(&out::shorten(&tools.join(", "), 30)),
        };
        let arrow = |before: String, after: String| format!("{before} → {after}");
        table.add_row(vec![
            short,
            call,
            said(compared.recorded, &compared.recorded_tools),
            said(compared.new, &compared.new_tools),
            if compared.same_decision { "same" } else { "other" }.to_owned(),
            match compared.same_arguments {
                Some(true) => "same",
                Some(false) => "other",
                None => "-",
            }
            .to_owned(),
            compared.similarity.map_or_else(|| "-".to_owned(), |ratio| format!("{:.0} %", 100.0 * ratio)),
            arrow(out::count(answer.recorded_usage.total()), out::count(answer.usage.total())),
            arrow(out::dollars(answer.recorded_cost_usd), out::dollars(answer.cost_usd)),
            arrow(
                answer.recorded_latency_us.map_or_else(|| "-".to_owned(), out::duration),
                out::duration(answer.latency_us),
            ),
        ]);
    }
    table
}

/// The mean of what was seen, over its units, with an exact interval for means between 0 and 1.
fn share(answers: &[Reanswer], by_trace: bool, value: impl Fn(&Reanswer) -> Option<f64>) -> Option<Share> {
    let mut units: indexmap::IndexMap<(TraceId, usize), Vec<f64>> = indexmap::IndexMap::new();
    let mut n = 0;
    for answer in answers {
        if let Some(value) = value(answer) {
            n += 1;
            units.entry((answer.trace, if by_trace { 0 } else { answer.number })).or_default().push(value);
        }
    }
    let means: Vec<f64> = units.values().map(|values| mean(values)).collect();
    let bounded = Bounded::unit(&means).ok()?;
    let interval = (means.len() > 1).then(|| bounded.interval(ALPHA));
    Some(Share { value: bounded.mean(), interval, n })
}

fn summary(answers: &[Reanswer]) -> Summary {
    let traces: std::collections::BTreeSet<TraceId> = answers.iter().map(|answer| answer.trace).collect();
    let by_trace = traces.len() >= MANY_TRACES;
    let yes = |yes: bool| if yes { 1.0 } else { 0.0 };
    let compared = |answer: &Reanswer| answer.compared.clone();
    let answered: Vec<&Reanswer> = answers.iter().filter(|answer| answer.compared.is_some()).collect();
    let total =
        |cost: &dyn Fn(&Reanswer) -> Option<f64>| answered.iter().map(|answer| cost(answer)).sum::<Option<f64>>();
    let middle = |times: Vec<u64>| {
        let mut times = times;
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    };
    let mut not_carried: Vec<String> = answers.iter().flat_map(|answer| answer.not_carried.clone()).collect();
    not_carried.sort();
    not_carried.dedup();
    Summary {
        asked: answers.len(),
        answered: answered.len(),
        same_decision: share(answers, by_trace, |answer| compared(answer).map(|c| yes(c.same_decision))),
        same_arguments: share(answers, by_trace, |answer| compared(answer)?.same_arguments.map(yes)),
        similarity: share(answers, by_trace, |answer| compared(answer)?.similarity.map(|ratio| ratio.clamp(0.0, 1.0))),
        unit: if by_trace { "trace" } else { "step" },
        recorded_tokens: answered.iter().map(|answer| answer.recorded_usage.total()).sum(),
        tokens: answered.iter().map(|answer| answer.usage.total()).sum(),
        recorded_cost_usd: total(&|answer| answer.recorded_cost_usd),
        cost_usd: total(&|answer| answer.cost_usd),
        recorded_latency_us: middle(answered.iter().filter_map(|answer| answer.recorded_latency_us).collect()),
        latency_us: middle(answered.iter().map(|answer| answer.latency_us).collect()),
        not_carried,
    }
}

fn words(summary: &Summary) -> String {
    let mut text = format!("\n{} of {} calls answered\n", summary.answered, summary.asked);
    let mut line = |what: &str, share: &Option<Share>| {
        if let Some(Share { value, interval, n }) = share {
            let interval =
                interval.map_or_else(String::new, |i| format!(" [{:.1}, {:.1}]", 100.0 * i.lower, 100.0 * i.upper));
            text.push_str(&format!("{what:<16} {:.1} %{interval} of {n}\n", 100.0 * value));
        }
    };
    line("same move", &summary.same_decision);
    line("same arguments", &summary.same_arguments);
    line("words alike", &summary.similarity);
    let took = |took: Option<u64>| took.map_or_else(|| "-".to_owned(), out::duration);
    text.push_str(&format!(
        "tokens           {} → {}\ncost             {} → {}\ntook, middle     {} → {}\n",
        out::count(summary.recorded_tokens),
        out::count(summary.tokens),
        out::dollars(summary.recorded_cost_usd),
        out::dollars(summary.cost_usd),
        took(summary.recorded_latency_us),
        took(summary.latency_us),
    ));
    text.push_str(&format!("intervals are 95 %, exact, each {} counting once\n", summary.unit));
    for lost in &summary.not_carried {
        text.push_str(&format!("not carried over: {}\n", out::printable(lost)));
    }
    text
}
