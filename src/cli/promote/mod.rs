//! `holdback promote`: a failed trace becomes a regression case, frozen, small, without personal data, and proven red.

pub mod cases;
pub mod failures;
mod suite_text;
pub mod tape_file;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use self::cases::Case;
use self::tape_file::Frost;
use super::{Exit, Global, Misuse, out, tapes, traces};
use crate::capture::clock;
use crate::promote::{self, Hint, Minimised, Personal, Picked, Proof, Reason, Told, Turn};
use crate::provider::{self, mock};
use crate::replay::is_per_run;
use crate::stats::proportion::clopper_pearson;
use crate::store::log::{Reader, Store};
use crate::trace::{Content, Request, Response, TraceId, TraceStarted};

/// How often minimising may ask whether the failure is still there, without a model or with one that costs nothing.
const MOST_ASKS: usize = 2_000;
/// How often a model that costs nothing is asked whether the failure comes back.
const FREE_ASKS: u32 = 5;

#[derive(Debug, Args)]
#[command(
    after_help = "Without --yes nothing is added: what would be is written beside the suite for a person to read.\n\nExamples:\n  \
                  holdback failures\n  holdback promote last-failed --yes\n  \
                  holdback promote 3f2a91c0 --never delete_order --fixed openai/gpt-5-mini --yes"
)]
pub struct PromoteArgs {
    /// Traces (id, beginning of one, name, `last`), groups of `holdback failures`, or `last-failed`
    #[arg(required = true)]
    what: Vec<String>,
    /// The suite that the case goes into
    #[arg(long, value_name = "FILE", default_value = "suites/regressions.yaml")]
    suite: PathBuf,
    /// Add the case without asking anybody
    #[arg(long)]
    yes: bool,
    /// The tool that must not have been called: its first call is the failure
    #[arg(long, value_name = "TOOL")]
    never: Option<String>,
    /// The call that failed, by its number in `traces show`
    #[arg(long, value_name = "N")]
    call: Option<usize>,
    /// A trace or a mock model that does it right: the case must be green there
    #[arg(long, value_name = "TRACE|MODEL")]
    fixed: Option<String>,
    /// Leave names, addresses, numbers and the like as they are
    #[arg(long)]
    keep_personal: bool,
    /// Leave the conversation as long as it is
    #[arg(long)]
    whole: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// A case, ready to be written.
struct Made {
    case: Case,
    task: String,
    graders: Vec<Value>,
    tape: PathBuf,
    size: Minimised,
    personal: usize,
    red: String,
    besides: Vec<String>,
    /// Failed, asked.
    rate: Option<(u32, u32)>,
}

/// Promotes what is named.
pub fn run(global: &Global, args: &PromoteArgs) -> anyhow::Result<Exit> {
    let store = global.existing_store()?;
    let reader = Arc::new(store.reader()?);
    let mut done = Vec::new();
    let mut refused = 0;
    for word in &args.what {
        match one(&store, &reader, args, word) {
            Ok(document) => done.push(document),
            Err(error) if error.is::<Misuse>() => return Err(error),
            Err(error) => {
                refused += 1;
                eprintln!("holdback: {word}: {}", out::printable(&format!("{error:#}")));
                done.push(json!({ "what": word, "refused": format!("{error:#}") }));
            }
        }
    }
    if args.json {
        out::json(&json!({ "cases": done }))?;
    }
    Ok(if refused == 0 { Exit::Pass } else { Exit::Regression })
}

fn one(store: &Store, reader: &Arc<Reader>, args: &PromoteArgs, word: &str) -> anyhow::Result<Value> {
    let (trace, group) = which(reader, word)?;
    let stored = tapes::read(reader, trace)?;
    if stored.reel.content == Content::None {
        bail!("trace {trace} was recorded with `--content none`: there is no text in it to make a case of");
    }
    let about = stored.about.clone();
    let told = tapes::told(stored);
    let made = make(reader, args, &told, &about, group)?;
    let known = cases::read(reader)?.into_iter().any(|case| case.id == made.case.id && case.suite == made.case.suite);
    if known && suite_text::has(&args.suite, &made.case.id)? {
        say(args, &format!("{} is in {} already: one case, not two\n", made.case.id, args.suite.display()))?;
        return Ok(json!({ "case": made.case.id, "added": false, "present": true }));
    }
    tell(args, &made)?;
    let mut document = json!({
        "case": made.case.id, "proven_red": made.red, "before": made.size.before, "after": made.size.after,
        "personal": made.personal, "graders": made.graders, "added": args.yes, "rate": made.rate,
    });
    if !args.yes {
        let review = args.suite.with_extension("review.yaml");
        out::publish(&review, |file| Ok(std::io::Write::write_all(file, made.task.as_bytes())?))?;
        say(args, &format!("nothing was added: read {}, then say --yes\n", review.display()))?;
        document["review"] = json!(review);
        return Ok(document);
    }
    let tape = write(&told, &about, &made)?;
    suite_text::add(&args.suite, &made.task, &made.case.model)?;
    let mut writer = store.writer()?;
    writer.record("case", &made.case.id, clock::now(), &serde_json::to_value(&made.case)?)?;
    say(args, &format!("added to {}, tape {} ({})\n", args.suite.display(), made.tape.display(), out::size(tape)))?;
    document["tape"] = json!(made.tape);
    document["suite"] = json!(args.suite);
    Ok(document)
}

fn say(args: &PromoteArgs, text: &str) -> anyhow::Result<()> {
    if args.json { Ok(()) } else { out::text(out::printable(text)) }
}

/// The trace meant by a word, and the group it is in.
fn which(reader: &Arc<Reader>, word: &str) -> anyhow::Result<(TraceId, Option<String>)> {
    let found = failures::find(reader, None, false)?;
    if word == "last-failed" {
        let last = found.failed.last().copied();
        let last = last.ok_or_else(|| Misuse("no trace failed: `holdback failures` would show it".to_owned()))?;
        return Ok((last, found.of.get(&last).cloned()));
    }
    if let Some(group) = found.groups.iter().find(|group| group.id == word) {
        return Ok((group.newest, Some(group.id.clone())));
    }
    let trace = traces::resolve(reader, word)?;
    Ok((trace, found.of.get(&trace).cloned()))
}

fn make(
    reader: &Arc<Reader>,
    args: &PromoteArgs,
    told: &Told,
    about: &TraceStarted,
    group: Option<String>,
) -> anyhow::Result<Made> {
    let hint = Hint { never: args.never.clone(), call: args.call };
    let mut picked = promote::pick(told, Some(&hint))?;
    let turn = &told.turns[picked.at];
    if turn.response.message.is_none() {
        bail!("call {} has no whole answer: there is nothing to freeze", turn.number);
    }
    let mut body: Value = serde_json::from_slice(&turn.body).context("the request is not JSON")?;
    if let Value::Object(body) = &mut body {
        body.retain(|name, _| !is_per_run(name));
    }
    let wire = turn.asked.wire;
    let mut graders = promote::graders(&picked);
    red(&graders, turn, &body, &turn.response).context("the recorded answer")?;
    let size = smaller(args, turn, &picked, &graders, &body);
    let mut body = size.body.clone();
    let mut answer = turn.response.clone();
    let mut personal = Personal::new();
    if !args.keep_personal {
        without_persons(&mut personal, &mut body, &mut answer, &mut picked.reason)?;
        graders = promote::graders(&picked);
    }
    let reason = red(&graders, turn, &body, &answer)
        .context("without personal data the failure is gone (--keep-personal leaves it in, if it may be kept)")?;
    let rate = comes_back(turn, &graders, &body);
    if let Some(fixed) = &args.fixed {
        green(reader, told, turn, &graders, &body, fixed)?;
    }
    let id = case_id(&picked, group.as_deref(), told.trace);
    let folder = suite_text::traces_folder(&args.suite);
    let mut details = provenance(&picked, turn, about, &body, rate);
    // The answer goes along, so that the tape shows what failed.
    details["answer"] = serde_json::to_value(&answer)?;
    let tape = folder.join(format!("{id}.trace.zst"));
    let case = Case {
        id: id.clone(),
        suite: suite_text::name(&args.suite)?,
        file: args.suite.display().to_string(),
        level: "step".to_owned(),
        group,
        reason: picked.says.clone(),
        trace: told.trace.unwrap_or(TraceId(0)),
        call: turn.number,
        model: turn.request.model.clone(),
        opened: clock::now(),
        details,
    };
    let task = suite_text::task(&case, &suite_text::relative(&args.suite, &tape), &picked.kind, &graders);
    let size = Minimised { after: promote::size(wire, &body), body, ..size };
    let (besides, personal) = (picked.besides.clone(), personal.count());
    Ok(Made { case, task, graders, tape, size, personal, red: reason, besides, rate })
}

/// The same failure has the same name, whichever of its traces it is made from.
fn case_id(picked: &Picked, group: Option<&str>, trace: Option<TraceId>) -> String {
    let tool = match &picked.reason {
        Reason::Repeats { tool, .. } | Reason::Forbidden { tool } => tool.as_str(),
        Reason::Refused => "answer",
        Reason::Words { .. } => "words",
    };
    let plain: String =
        tool.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).take(40).collect();
    let own = || trace.map(|trace| trace.to_string()[..8].to_owned()).unwrap_or_default();
    format!("{}-{plain}-{}", picked.kind, group.map_or_else(own, str::to_owned))
}

fn read(turn: &Turn, body: &Value) -> Request {
    provider::request(turn.asked.wire, &turn.asked.target, body.to_string().as_bytes()).unwrap_or_default()
}

/// The graders must see the failure in an answer.
fn red(graders: &[Value], turn: &Turn, body: &Value, answer: &Response) -> anyhow::Result<String> {
    match promote::prove(graders, &read(turn, body), answer) {
        Proof::Red(reason) => Ok(reason),
        Proof::Green => bail!("is not red: the graders find nothing wrong with it"),
        Proof::Open(why) => bail!("can't be graded: {why}"),
    }
}

/// What a mock model answers to a frozen request: it costs nothing, so it may be asked often.
fn ask_mock(model: &str, turn: &Turn, body: &Value, key: &str) -> Option<Response> {
    if !mock::is_mock(model) {
        return None;
    }
    let mut read_file = |file: &str| std::fs::read_to_string(file).map_err(|error| error.to_string());
    let model = mock::Model::parse(model, &mut read_file).ok()?;
    Some(model.reply(&read(turn, body), key).response)
}

/// Takes out of the conversation what the failure doesn't need.
fn smaller(args: &PromoteArgs, turn: &Turn, picked: &Picked, graders: &[Value], body: &Value) -> Minimised {
    let wire = turn.asked.wire;
    let most = if args.whole { 0 } else { MOST_ASKS };
    let live = matches!(
        ask_mock(&turn.request.model, turn, body, "0").map(|answer| promote::prove(
            graders,
            &read(turn, body),
            &answer
        )),
        Some(Proof::Red(_))
    );
    promote::minimise(wire, body, most, |smaller| {
        let request = read(turn, smaller);
        let used = |name: &str| {
            request.tools.is_empty() && turn.request.tools.is_empty()
                || request.tools.iter().any(|tool| tool.name == name)
        };
        let tools_there =
            turn.calls().all(|call| used(&call.name) || !turn.request.tools.iter().any(|tool| tool.name == call.name));
        let stands = tools_there && picked.stands_in(turn, &request.messages);
        let red = |answer: &Response| matches!(promote::prove(graders, &request, answer), Proof::Red(_));
        stands
            && red(&turn.response)
            && (!live || ask_mock(&turn.request.model, turn, smaller, "0").is_some_and(|answer| red(&answer)))
    })
}

const SAID: [&str; 6] = ["messages", "input", "contents", "system", "instructions", "systemInstruction"];

fn without_persons(
    personal: &mut Personal,
    body: &mut Value,
    answer: &mut Response,
    reason: &mut Reason,
) -> anyhow::Result<()> {
    let mut said = serde_json::to_value(&answer.message)?;
    for name in SAID {
        body.get(name).into_iter().for_each(|value| personal.learn(value));
    }
    personal.learn(&said);
    for name in SAID {
        if let Some(value) = body.get_mut(name) {
            personal.value(value);
        }
    }
    personal.value(&mut said);
    answer.message = serde_json::from_value(said)?;
    match reason {
        Reason::Repeats { arguments, error, .. } => {
            personal.value(arguments);
            *error = personal.text(error);
        }
        Reason::Words { text } => *text = personal.text(text),
        Reason::Forbidden { .. } | Reason::Refused => {}
    }
    Ok(())
}

/// How often the failure comes back when the model is asked again, where asking costs nothing.
fn comes_back(turn: &Turn, graders: &[Value], body: &Value) -> Option<(u32, u32)> {
    let mut failed = 0;
    for attempt in 0..FREE_ASKS {
        let answer = ask_mock(&turn.request.model, turn, body, &attempt.to_string())?;
        failed += u32::from(matches!(promote::prove(graders, &read(turn, body), &answer), Proof::Red(_)));
    }
    Some((failed, FREE_ASKS))
}

/// Where it is said to be fixed, the case must be green.
fn green(
    reader: &Arc<Reader>,
    told: &Told,
    turn: &Turn,
    graders: &[Value],
    body: &Value,
    fixed: &str,
) -> anyhow::Result<()> {
    let answer = if fixed.contains('/') {
        let asked = ask_mock(fixed, turn, body, "0");
        asked.ok_or_else(|| {
            Misuse(format!(
                "--fixed {fixed:?}: only mock models are asked here; run `holdback eval` with the model instead"
            ))
        })?
    } else {
        let trace = traces::resolve(reader, fixed)?;
        let other = tapes::told(tapes::read(reader, trace)?);
        let at = told.turns.iter().position(|known| known.call == turn.call).unwrap_or(0);
        let there = other.turns.get(at).or(other.turns.last());
        there
            .map(|turn| turn.response.clone())
            .ok_or_else(|| Misuse(format!("--fixed {fixed:?}: the trace has no calls")))?
    };
    match promote::prove(graders, &read(turn, body), &answer) {
        Proof::Green => Ok(()),
        Proof::Red(reason) => bail!("it is said to be fixed in {fixed}, but is red there too: {reason}"),
        Proof::Open(why) => bail!("what {fixed} answers can't be graded: {why}"),
    }
}

fn provenance(picked: &Picked, turn: &Turn, about: &TraceStarted, body: &Value, rate: Option<(u32, u32)>) -> Value {
    let hash = |value: Option<&Value>| value.map(|value| crate::context::normal_hash(value).to_string());
    json!({
        "kind": picked.kind,
        "reason": picked.reason,
        "call": turn.number,
        "call_id": turn.call,
        "model": turn.request.model,
        "wire": turn.asked.wire,
        "agent": about.agent,
        "commit": about.git_commit,
        "prompt_version": hash(body.get("system").or_else(|| body.get("instructions")).or_else(|| body.pointer("/messages/0"))),
        "tools_version": hash(body.get("tools")),
        "failed_again": rate,
    })
}

fn write(told: &Told, about: &TraceStarted, made: &Made) -> anyhow::Result<u64> {
    let at = told.turns.iter().position(|turn| turn.number == made.case.call).unwrap_or(0);
    let turn = &told.turns[at];
    let answer: Response = serde_json::from_value(made.case.details["answer"].clone())?;
    let mut provenance = made.case.details.clone();
    provenance.as_object_mut().map(|map| map.remove("answer"));
    provenance["trace"] = json!(made.case.trace);
    provenance["proven_red"] = json!(made.red);
    let kept = TraceStarted {
        content: about.content,
        agent: about.agent.clone(),
        git_commit: about.git_commit.clone(),
        ..TraceStarted::default()
    };
    tape_file::write(
        &made.tape,
        Frost {
            name: &made.case.id,
            trace: made.case.trace,
            call: turn.call,
            at: made.case.opened,
            about: kept,
            wire: turn.asked.wire,
            target: &turn.asked.target,
            body: &made.size.body,
            answer: &answer,
            ended: None,
            provenance,
        },
    )
}

fn tell(args: &PromoteArgs, made: &Made) -> anyhow::Result<()> {
    let (before, after) = (made.size.before, made.size.after);
    let mut text = format!("{}\n  {}\n  proven red: {}\n", made.case.id, made.case.reason, made.red);
    text.push_str(&format!(
        "  {} messages, {} tools, {} became {} messages, {} tools, {}\n",
        before.messages,
        before.tools,
        out::size(before.bytes as u64),
        after.messages,
        after.tools,
        out::size(after.bytes as u64)
    ));
    if made.personal > 0 {
        text.push_str(&format!("  {} pieces of personal data replaced\n", made.personal));
    }
    if let Some((failed, asked)) = made.rate {
        let interval = clopper_pearson(failed, asked, 0.05)
            .map_or_else(|_| String::new(), |i| format!(", 95 % [{:.0}, {:.0}] %", 100.0 * i.lower, 100.0 * i.upper));
        let flaky = if failed < asked { ": flaky, or the failure is gone" } else { "" };
        text.push_str(&format!("  asked again it failed {failed} of {asked} times{interval}{flaky}\n"));
    }
    for other in &made.besides {
        text.push_str(&format!("  it failed for more than one cause; this is the first of them. Another: {other}\n"));
    }
    say(args, &text)
}
