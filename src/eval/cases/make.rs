//! One case made: the failing call picked, its graders proven red, the conversation made small and freed of personal data, and
//! proven again.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::models::{Bench, Models, Rate, read};
use super::tape_file::{self, Frost};
use super::{Case, CaseError, Wish, case, find, suite_text};
use crate::capture::clock;
use crate::eval::tapes::{self, Stored};
use crate::promote::{self, Minimised, Personal, Picked, Proof, Reason, Told, Turn};
use crate::provider::mock;
use crate::replay::is_per_run;
use crate::store::log::Reader;
use crate::suite::{Rubric, hash_hex, load_rubric};
use crate::trace::{Content, Provenance, Response, Score, TraceId, TraceStarted, Wire};
use crate::trial::{Grade, Outcome, Trial};

/// How often minimising may ask whether the failure is still there, without a model or with one that costs nothing.
const MOST_ASKS: usize = 2_000;
/// How often a model that costs nothing is asked whether the failure comes back.
const FREE_ASKS: u32 = 5;

/// A case, ready to be written.
pub struct Made {
    pub case: Case,
    pub task: String,
    pub graders: Vec<Value>,
    pub tape: PathBuf,
    pub size: Minimised,
    pub clean: Clean,
    pub notes: Vec<String>,
    pub rate: Option<Rate>,
    pub fixed: Option<Rate>,
    pub draft: Option<Draft>,
    /// Store and suite have it already.
    pub present: bool,
    turn: Turn,
    about: TraceStarted,
}

/// A drafted rubric whose judge sees the failure.
pub struct Draft {
    pub file: PathBuf,
    pub text: String,
    grader: Value,
}

pub(super) fn refused(why: impl Into<String>) -> CaseError {
    CaseError::Refused(why.into())
}

/// Makes a case of the step that failed.
pub fn step(
    reader: &Arc<Reader>,
    wish: &Wish,
    models: &mut dyn Models,
    trace: TraceId,
    group: Option<String>,
) -> Result<Made, CaseError> {
    let stored = with_text(reader, trace)?;
    let Stored { about, origin, .. } = &stored;
    let (about, origin) = (about.clone(), origin.clone());
    let mut told = tapes::told(stored);
    let trial = as_trial(reader, &about, trace)?;
    // Trials of a task that fail alike are one case, like traces of a group.
    let group = group.or_else(|| trial.as_ref().map(|trial| trial.group.clone()));
    told.scores.extend(trial.map(|trial| trial.score));
    let picked = promote::pick(&told, Some(&wish.hint)).map_err(|why| refused(why.to_string()))?;
    let turn = told.turns[picked.at].clone();
    let (id, suite) = (case_id(&picked, group.as_deref(), told.trace), suite_text::name(&wish.suite)?);
    let known = case::read(reader)?.iter().any(|known| known.id == id && known.suite == suite);
    let present = known && suite_text::has(&wish.suite, &id)?;
    // Nobody is asked about a case that is there already.
    let wish =
        &if present { Wish { fixed: None, times: None, asks: 0, judge: None, ..wish.clone() } } else { wish.clone() };
    let body = frozen_body(&turn, origin.as_ref())?;
    let graders = promote::graders(&picked);
    red(&graders, &turn, &body, &turn.response).map_err(|why| refused(format!("the recorded answer {why}")))?;
    let mut notes: Vec<String> = origin.as_ref().and_then(rebuilt).into_iter().collect();
    let mut bench = Bench { models, turn: &turn };
    let size = smaller(wish, &mut bench, &picked, &graders, &body, &mut notes)?;
    let clean = clean(wish, &bench, &size.body, picked)?;
    let (picked, body) = (&clean.picked, &clean.body);
    let rate = comes_back(wish, &mut bench, &clean.graders, body, &mut notes)?;
    let fixed = wish.fixed.as_deref().map(|fixed| green(reader, &told, wish, &mut bench, &clean, fixed));
    let fixed = fixed.transpose()?;
    let because = told.scores.iter().find_map(|score| score.comment.as_deref());
    let draft = match &wish.judge {
        Some(judge) => drafted(wish, &mut bench, &clean, (&id, judge, because), &mut notes)?,
        None => None,
    };
    let graders: Vec<Value> = clean.graders.iter().chain(draft.as_ref().map(|draft| &draft.grader)).cloned().collect();
    let tape = suite_text::beside(&wish.suite, "traces").join(format!("{id}.trace.zst"));
    let case = Case {
        id,
        suite,
        file: wish.suite.display().to_string(),
        level: "step".to_owned(),
        group,
        reason: picked.says.clone(),
        trace,
        call: turn.number,
        model: whole_name(&turn),
        opened: clock::now(),
        details: provenance(picked, &turn, &about, body, rate.as_ref(), origin.as_ref()),
    };
    let task = suite_text::task(&case, &suite_text::relative(&wish.suite, "traces", &tape), &picked.kind, &graders);
    let size = Minimised { after: promote::size(turn.asked.wire, body), body: body.clone(), ..size };
    Ok(Made { case, task, graders, tape, size, clean, notes, rate, fixed, draft, present, turn, about })
}

/// A trace, where text was kept of it.
pub(super) fn with_text(reader: &Arc<Reader>, trace: TraceId) -> Result<Stored, CaseError> {
    let stored = tapes::read(reader, trace)?;
    match stored.reel.content {
        Content::None => Err(refused(format!(
            "trace {trace} was recorded with `--content none`: there is no text in it to make a case of"
        ))),
        _ => Ok(stored),
    }
}

/// What a suite says of a trace that is a trial of it.
pub(super) struct AsTrial {
    pub score: Score,
    /// Names the task it failed at.
    pub group: String,
}

/// What a trial's graders said of its trace, where it is a trial's.
pub(super) fn as_trial(reader: &Reader, about: &TraceStarted, trace: TraceId) -> Result<Option<AsTrial>, CaseError> {
    let tag = |name: &str| about.tags.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let (Some(run), Some(suite), Some(task)) = (tag("run"), tag("suite"), tag("task")) else { return Ok(None) };
    if case::read(reader)?.iter().any(|case| case.suite == suite && case.id == task) {
        return Err(refused(format!("trace {trace} is a trial of the case {task} itself: there is one case, not two")));
    }
    let trials = reader.records_of::<Trial>("trial", run)?.found;
    let failed = trials.into_iter().find(|trial| trial.trace == Some(trace) && trial.outcome == Outcome::Fail);
    let group: String = hash_hex(format!("{suite}\n{task}").as_bytes()).chars().take(8).collect();
    Ok(failed.map(|trial| {
        let (name, by) = (format!("trial of {task}"), "grader".to_owned());
        AsTrial { score: Score { name, by, value: Some(0.0), label: None, comment: trial.why, call: None }, group }
    }))
}

/// The model with whoever offers it, as suites name it. Where nobody is named, whoever speaks its wire format.
pub(super) fn whole_name(turn: &Turn) -> String {
    let (model, upstream) = (&turn.request.model, turn.asked.upstream.as_str());
    if mock::is_mock(model) || upstream.starts_with("mock") {
        return model.clone();
    }
    let provider = match (upstream, turn.asked.wire) {
        ("", Wire::AnthropicMessages) => "anthropic",
        ("", Wire::Gemini) => "gemini",
        ("", _) => "openai",
        (upstream, _) => upstream,
    };
    format!("{provider}/{model}")
}

/// A case without personal data.
pub struct Clean {
    body: Value,
    answer: Response,
    pub picked: Picked,
    graders: Vec<Value>,
    pub personal: Personal,
    /// Why the graders are red on the failing answer.
    pub proven: String,
}

/// Takes personal data out, and proves the case again.
fn clean(wish: &Wish, bench: &Bench<'_>, body: &Value, picked: Picked) -> Result<Clean, CaseError> {
    let turn = bench.turn;
    let (mut body, mut answer, mut picked) = (body.clone(), turn.response.clone(), picked);
    let mut personal = Personal::new();
    if !wish.keep_personal {
        without_persons(&mut personal, &mut body, &mut answer, &mut picked)?;
    }
    let graders = promote::graders(&picked);
    let proof = match picked.stands_in(&answer, &bench.read(&body).messages) {
        true => red(&graders, turn, &body, &answer),
        false => Err("can't be told from a good one: what had failed before it is not in the conversation".to_owned()),
    };
    let proven = proof.map_err(|why| match wish.keep_personal {
        true => refused(format!("the answer {why}")),
        false => refused(format!(
            "without personal data the failure is gone (--keep-personal leaves it in, if it may be kept): the answer {why}"
        )),
    })?;
    Ok(Clean { body, answer, picked, graders, personal, proven })
}

/// The request of a turn, without what differs from run to run anyway.
fn frozen_body(turn: &Turn, origin: Option<&Provenance>) -> Result<Value, CaseError> {
    if turn.response.message.is_none() {
        let number = turn.number;
        return Err(refused(format!(
            "call {number} has no whole answer (its recording broke off): there is nothing to freeze"
        )));
    }
    let read: Option<Value> = serde_json::from_slice(&turn.body).ok();
    let Some(Value::Object(mut body)) = read else {
        let why = origin.map_or_else(String::new, |origin| format!(": it is not replay-grade, {}", origin.why_not));
        return Err(refused(format!("the request of call {} was not kept{why}", turn.number)));
    };
    body.retain(|name, _| !is_per_run(name));
    Ok(Value::Object(body))
}

fn rebuilt(origin: &Provenance) -> Option<String> {
    (!origin.replay_grade).then(|| {
        format!(
            "the trace is not replay-grade ({}): the case asks the request as it was put together again",
            origin.why_not
        )
    })
}

/// The same failure has the same name, whichever of its traces it is made from.
pub(super) fn case_id(picked: &Picked, group: Option<&str>, trace: Option<TraceId>) -> String {
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

/// The graders must see the failure in an answer.
fn red(graders: &[Value], turn: &Turn, body: &Value, answer: &Response) -> Result<String, String> {
    match promote::prove(graders, &read(turn, body), answer) {
        Proof::Red(reason) => Ok(reason),
        Proof::Green => Err("is not red: the graders find nothing wrong with it".to_owned()),
        Proof::Open(why) => Err(format!("can't be graded: {why}")),
    }
}

/// Takes out of the conversation what the failure doesn't need. The recorded answer has to stay wrong in what is left; and where a
/// model may be asked, it has to fail there again.
fn smaller(
    wish: &Wish,
    bench: &mut Bench<'_>,
    picked: &Picked,
    graders: &[Value],
    body: &Value,
    notes: &mut Vec<String>,
) -> Result<Minimised, CaseError> {
    let turn = bench.turn;
    let wire = turn.asked.wire;
    let whole = || promote::minimise(wire, body, 0, |_| false);
    if wish.whole {
        return Ok(whole());
    }
    let stands = |request: &crate::trace::Request| {
        let offered = |name: &str| turn.request.tools.iter().any(|tool| tool.name == name);
        let still = |name: &str| request.tools.iter().any(|tool| tool.name == name);
        turn.calls().all(|call| still(&call.name) || !offered(&call.name))
            && picked.stands_in(&turn.response, &request.messages)
            && matches!(promote::prove(graders, request, &turn.response), Proof::Red(_))
    };
    let mut left = if bench.is_free(None) { MOST_ASKS as u32 } else { wish.asks };
    let mut fails = |bench: &mut Bench<'_>, body: &Value| {
        if left == 0 {
            return Some(false);
        }
        left -= 1;
        let rate = bench.rate(None, body, graders, 1);
        (rate.asked > 0).then_some(rate.failed > 0)
    };
    // Whether the model fails where it failed before; else asking it says nothing about a shorter conversation.
    let live = match fails(bench, body) {
        None if !bench.is_free(None) => {
            return Err(CaseError::Unanswered(format!(
                "the model {} gave no answer to make the case smaller by",
                turn.request.model
            )));
        }
        again => again == Some(true),
    };
    if !live && !picked.shows_in_conversation() {
        notes.push(match wish.asks {
            0 if !bench.is_free(None) => "left as long as it was: only the model can tell what this failure needs (--asks N lets it be asked)",
            _ => "left as long as it was: asked once, the model did not fail again, so nothing tells what this failure needs",
        }.to_owned());
        return Ok(whole());
    }
    let by_itself = |body: &Value| stands(&read(turn, body));
    if !live {
        return Ok(promote::minimise(wire, body, MOST_ASKS, by_itself));
    }
    // What is needed at the least, in one question; only when the model doesn't fail there it is found out piece by piece.
    let least = promote::minimise(wire, body, MOST_ASKS, by_itself);
    if fails(bench, &least.body) == Some(true) {
        return Ok(least);
    }
    let found =
        promote::minimise(wire, body, MOST_ASKS, |smaller| by_itself(smaller) && fails(bench, smaller) == Some(true));
    if left == 0 {
        notes.push(format!(
            "made smaller with {} questions to the model; more (--asks N) might make it smaller still",
            wish.asks
        ));
    }
    Ok(found)
}

const SAID: [&str; 6] = ["messages", "input", "contents", "system", "instructions", "systemInstruction"];

fn without_persons(
    personal: &mut Personal,
    body: &mut Value,
    answer: &mut Response,
    picked: &mut Picked,
) -> Result<(), CaseError> {
    let unreadable = |error: serde_json::Error| refused(format!("the answer can't be read: {error}"));
    let mut said = serde_json::to_value(&answer.message).map_err(unreadable)?;
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
    answer.message = serde_json::from_value(said).map_err(unreadable)?;
    match &mut picked.reason {
        Reason::Repeats { arguments, error, .. } => {
            personal.value(arguments);
            *error = personal.text(error);
        }
        Reason::Words { text } => *text = personal.text(text),
        Reason::Forbidden { .. } | Reason::Refused => {}
    }
    // The reason is told in suite and store.
    picked.says = personal.text(&picked.says);
    picked.besides.iter_mut().for_each(|other| *other = personal.text(other));
    Ok(())
}

/// A rubric's question for the case, if the judge says no to the failing answer.
fn drafted(
    wish: &Wish,
    bench: &mut Bench<'_>,
    clean: &Clean,
    (id, judge, because): (&str, &str, Option<&str>),
    notes: &mut Vec<String>,
) -> Result<Option<Draft>, CaseError> {
    let text = promote::draft(id, &clean.picked, judge, because);
    let rubric = load_rubric(id, &text).map_err(|errors| refused(format!("the drafted rubric is wrong: {errors}")))?;
    let evidence = promote::evidence(&bench.read(&clean.body), &clean.answer);
    let graded = bench.models.judged(&rubric, &evidence).map_err(CaseError::Unanswered)?;
    let why = graded.reasons.first().cloned().unwrap_or_default();
    match graded.grade {
        Grade::Scored { pass: false, .. } => {
            notes.push(format!(
                "a draft: the judge {judge} is asked {:?}, and says no to the failing answer: {why}",
                question(&rubric)
            ));
            let file = suite_text::beside(&wish.suite, "rubrics").join(format!("{id}.yaml"));
            let named = suite_text::relative(&wish.suite, "rubrics", &file);
            let grader = json!({"type": "rubric", "label": "draft-question", "rubric": named, "required": false});
            Ok(Some(Draft { file, text, grader }))
        }
        Grade::Scored { .. } => {
            notes.push(format!(
                "no question for the judge {judge} was drafted: it finds nothing wrong with the failing answer"
            ));
            Ok(None)
        }
        Grade::Abstained { reason } | Grade::Broken { reason } => {
            Err(CaseError::Unanswered(format!("the judge {judge} gave no verdict on the failing answer: {reason}")))
        }
    }
}

fn question(rubric: &Rubric) -> &str {
    rubric.criteria().next().map_or("", |(_, criterion)| criterion.ask.as_str())
}

/// How often the failure comes back when the model is asked again: always where asking costs nothing, else when it is wished.
fn comes_back(
    wish: &Wish,
    bench: &mut Bench<'_>,
    graders: &[Value],
    body: &Value,
    notes: &mut Vec<String>,
) -> Result<Option<Rate>, CaseError> {
    let times = wish.times.or(bench.is_free(None).then_some(FREE_ASKS)).unwrap_or(0);
    if times == 0 {
        return Ok(None);
    }
    let rate = bench.rate(None, body, graders, times);
    if rate.asked == 0 {
        if bench.is_free(None) && wish.times.is_none() {
            return Ok(None);
        }
        let why = rate.why.unwrap_or_default();
        return Err(CaseError::Unanswered(format!("the model {} gave no answer: {why}", rate.model)));
    }
    if rate.failed == 0 {
        notes.push(
            "the failure did not come back: the case stands on the recorded answer, and may never be red again"
                .to_owned(),
        );
    } else if !rate.at_once {
        notes.push(
            "on the first ask the failure was gone, later it came back: it is flaky, give the task more trials"
                .to_owned(),
        );
    } else if rate.is_flaky() {
        notes.push("flaky: it doesn't fail every time, give the task more trials".to_owned());
    }
    Ok(Some(rate))
}

/// Where it is said to be fixed, the case must be green.
fn green(
    reader: &Arc<Reader>,
    told: &Told,
    wish: &Wish,
    bench: &mut Bench<'_>,
    Clean { graders, body, .. }: &Clean,
    fixed: &str,
) -> Result<Rate, CaseError> {
    if fixed.contains('/') {
        let usual = if mock::is_mock(fixed) { FREE_ASKS } else { 1 };
        let rate = bench.rate(Some(fixed), body, graders, wish.times.unwrap_or(usual).max(1));
        if rate.asked == 0 {
            let why = rate.why.unwrap_or_default();
            return Err(CaseError::Unanswered(format!("{fixed}, which is said to be fixed, gave no answer: {why}")));
        }
        if let Some(why) = &rate.red {
            return Err(refused(format!(
                "it is said to be fixed in {fixed}, but is red there too, {} of {} times: {why}",
                rate.failed, rate.asked
            )));
        }
        return Ok(rate);
    }
    let trace = find::resolve(reader, fixed)?;
    let other = tapes::told(tapes::read(reader, trace)?);
    let at = told.turns.iter().position(|known| known.call == bench.turn.call).unwrap_or(0);
    let there = other.turns.get(at).or(other.turns.last());
    let there = there.ok_or_else(|| CaseError::Asked(format!("--fixed {fixed:?}: the trace has no calls")))?;
    match promote::prove(graders, &bench.read(body), &there.response) {
        Proof::Green => Ok(Rate { model: there.request.model.clone(), asked: 1, ..Rate::default() }),
        Proof::Red(why) => Err(refused(format!("it is said to be fixed in {fixed}, but is red there too: {why}"))),
        Proof::Open(why) => Err(refused(format!("what {fixed} answers can't be graded: {why}"))),
    }
}

fn provenance(
    picked: &Picked,
    turn: &Turn,
    about: &TraceStarted,
    body: &Value,
    rate: Option<&Rate>,
    origin: Option<&Provenance>,
) -> Value {
    let hash = |value: Option<&Value>| value.map(|value| crate::context::normal_hash(value).to_string());
    let orders = body.get("system").or_else(|| body.get("instructions")).or_else(|| body.pointer("/messages/0"));
    json!({
        "kind": picked.kind,
        "reason": picked.reason,
        "call": turn.number,
        "call_id": turn.call,
        "model": turn.request.model,
        "wire": turn.asked.wire,
        "agent": about.agent,
        "commit": about.git_commit,
        "prompt_version": hash(orders),
        "tools_version": hash(body.get("tools")),
        "failed_again": rate,
        "imported": origin.map(|origin| json!({"format": origin.format, "replay_grade": origin.replay_grade})),
    })
}

/// Writes the tape of a case; says how large it became.
pub fn write_tape(made: &Made) -> Result<u64, CaseError> {
    let mut provenance = made.case.details.clone();
    provenance["trace"] = json!(made.case.trace);
    provenance["proven_red"] = json!(made.clean.proven);
    let about = TraceStarted {
        content: made.about.content,
        agent: made.about.agent.clone(),
        git_commit: made.about.git_commit.clone(),
        ..TraceStarted::default()
    };
    let frost = Frost {
        name: &made.case.id,
        trace: made.case.trace,
        call: made.turn.call,
        at: made.case.opened,
        about,
        wire: made.turn.asked.wire,
        target: &made.turn.asked.target,
        body: &made.size.body,
        answer: &made.clean.answer,
        ended: None,
        provenance,
    };
    tape_file::write(&made.tape, frost)
}
