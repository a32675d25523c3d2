//! `holdback promote`: a failed trace becomes a regression case, frozen, small, without personal data, and proven red.

pub mod cases;
pub mod failures;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::recording::{Limits, Recording};
use super::{Exit, Global, Misuse, arms, judging, models, out};
use crate::capture::{Mocks, Upstream};
use crate::eval::cases::{CaseError, Level, Live, Promoted, Rate, Wish, promote};
use crate::gate::GateReport;
use crate::promote::{Hint, Size};
use crate::store::log::Store;
use crate::trace::TraceId;

#[derive(Debug, Args)]
#[command(
    after_help = "Without --yes nothing is added: what would be is written beside the suite for a person to read. Live models are \
                  asked only by --fixed MODEL, -k, --asks and --judge.\n\nExamples:\n  \
                  holdback failures\n  holdback promote last-failed --yes\n  \
                  holdback promote 3f2a91c0 --never delete_order --fixed openai/gpt-5-mini -k 5 --yes\n  holdback promote --from gate.md --yes"
)]
pub struct PromoteArgs {
    /// Traces (id, beginning of one, name, `last`), groups of `holdback failures`, or `last-failed`
    #[arg(required_unless_present = "from")]
    what: Vec<String>,
    /// Also the failed trials that a gate named in its comment (--markdown) or its JSON
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The suite that the case goes into [default: suites/regressions.yaml, for whole runs suites/regressions-loop.yaml]
    #[arg(long, value_name = "FILE")]
    suite: Option<PathBuf>,
    /// How much is asked for again: the one step that failed, or the whole run, with its loop answered from the tape up to there
    #[arg(long, value_enum, default_value_t = LevelName::Step)]
    level: LevelName,
    /// For --level loop: the folder that the loop works in a copy of
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
    /// Add the case without asking anybody
    #[arg(long)]
    yes: bool,
    /// The tool that must not have been called: its first call is the failure
    #[arg(long, value_name = "TOOL")]
    never: Option<String>,
    /// The call that failed, by its number in `traces show`
    #[arg(long, value_name = "N")]
    call: Option<usize>,
    /// A trace or a model (PROVIDER/MODEL) that does it right: the case must be green there
    #[arg(long, value_name = "TRACE|MODEL")]
    fixed: Option<String>,
    /// Ask the failing model, and the one named by --fixed, so many times, and say how often it fails
    /// [default: mocks 5 times; live models once for --fixed, else not at all]
    #[arg(short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    k: Option<u32>,
    /// Let the failing model be asked so many times at the most to make the case smaller
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    asks: u32,
    /// Draft a rubric's question for the case, and let this judge say no to the failing answer by it
    #[arg(long, value_name = "MODEL", value_parser = judging::model)]
    judge: Option<String>,
    /// Leave names, addresses, numbers and the like as they are
    #[arg(long)]
    keep_personal: bool,
    /// Leave the conversation as long as it is
    #[arg(long)]
    whole: bool,
    #[command(flatten)]
    recording: Recording,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Levels by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LevelName {
    Step,
    Loop,
}

/// Promotes what is named.
pub fn run(global: &Global, args: &PromoteArgs) -> anyhow::Result<Exit> {
    let store = global.existing_store()?;
    let mut live = live(&store, args)?;
    let (mut done, mut exit) = (Vec::new(), Exit::Pass);
    for word in &words(args)? {
        match promote(&store, &wish(args, word), &mut live) {
            Ok(promoted) => {
                if !args.json {
                    out::text(out::printable(&text(&promoted)))?;
                }
                done.push(serde_json::to_value(&promoted)?);
            }
            Err(CaseError::Asked(why)) => return Err(Misuse(why).into()),
            Err(error @ (CaseError::Refused(_) | CaseError::Unanswered(_))) => {
                let unanswered = matches!(error, CaseError::Unanswered(_));
                exit = if unanswered { Exit::Infrastructure } else { Exit::Regression };
                eprintln!("holdback: {}", out::printable(&format!("{word}: {error}")));
                done.push(json!({ "what": word, "refused": error.to_string() }));
            }
            Err(other) => return Err(other.into()),
        }
    }
    if args.json {
        out::json(&json!({ "cases": done }))?;
    }
    Ok(exit)
}

/// What is named on the command line, and in the file of a gate.
fn words(args: &PromoteArgs) -> anyhow::Result<Vec<String>> {
    let mut words = args.what.clone();
    if let Some(path) = &args.from {
        let named = named_in(&arms::text_of(path)?);
        if named.is_empty() {
            let place = path.display();
            let why = "no failed trial is named in it; `holdback gate --markdown FILE` and `--json` name those of a candidate that did not pass";
            return Err(Misuse(format!("--from {place}: {why}")).into());
        }
        words.extend(named);
    }
    Ok(words)
}

/// The traces that a gate's JSON names as failed, or a comment's `holdback promote TRACE`; nothing else in there counts.
fn named_in(text: &str) -> Vec<String> {
    let mut named: Vec<String> = Vec::new();
    let mut add = |trace: TraceId| {
        let word = trace.to_string();
        if !named.contains(&word) {
            named.push(word);
        }
    };
    if let Ok(report) = serde_json::from_str::<GateReport>(text) {
        report.suites.iter().flat_map(|suite| &suite.failing).for_each(|failed| add(failed.trace));
        return named;
    }
    for rest in text.split("holdback promote ").skip(1) {
        let digits: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
        if let (32, Ok(trace)) = (digits.len(), u128::from_str_radix(&digits, 16)) {
            add(TraceId(trace));
        }
    }
    named
}

fn wish(args: &PromoteArgs, word: &str) -> Wish {
    let (level, usual) = match args.level {
        LevelName::Step => (Level::Step, "suites/regressions.yaml"),
        LevelName::Loop => (Level::Loop, "suites/regressions-loop.yaml"),
    };
    let suite = args.suite.clone().unwrap_or_else(|| usual.into());
    Wish {
        add: args.yes,
        hint: Hint { never: args.never.clone(), call: args.call },
        fixed: args.fixed.clone(),
        times: args.k,
        asks: args.asks,
        judge: args.judge.clone(),
        keep_personal: args.keep_personal,
        whole: args.whole,
        level,
        workspace: args.workspace.clone(),
        ..Wish::new(word, suite)
    }
}

/// Live models, with the keys and addresses of the command line and the environment.
fn live(store: &Store, args: &PromoteArgs) -> anyhow::Result<Live> {
    let mut proxy = args.recording.settings(store, Limits::default())?.proxy;
    if proxy.upstreams.get("mock").is_none() {
        proxy.upstreams.set("mock", Upstream::Local(Arc::new(Mocks)));
    }
    let environment = judging::environment();
    let keys = Arc::new(move |name: &str| models::keys(name, &environment));
    Ok(Live::new(
        store,
        proxy,
        keys,
        Box::new(|suite: &Path| super::eval::apart(suite).map_err(|error| format!("{error:#}"))),
    ))
}

fn text(made: &Promoted) -> String {
    let (suite, case) = (made.suite.display(), &made.case);
    if made.present {
        return format!("{case} is in {suite} already: one case, not two\n");
    }
    let (before, after) = (made.before, made.after);
    let mut text = format!("{case}\n  {}\n  proven red: {}\n", made.reason, made.proven_red);
    let told =
        |size: Size| format!("{} messages, {} tools, {}", size.messages, size.tools, out::size(size.bytes as u64));
    match before == after {
        true => text.push_str(&format!("  {}, as they were\n", told(before))),
        false => text.push_str(&format!("  {} became {}\n", told(before), told(after))),
    }
    if made.personal > 0 {
        text.push_str(&format!("  {} pieces of personal data replaced\n", made.personal));
    }
    if let Some(rate) = &made.rate {
        text.push_str(&format!("  asked again, {} failed {}\n", rate.model, share(rate)));
    }
    if let Some(rate) = &made.fixed {
        text.push_str(&format!("  proven green: {} failed {}\n", rate.model, share(rate)));
    }
    for note in &made.notes {
        text.push_str(&format!("  {note}\n"));
    }
    for other in &made.besides {
        text.push_str(&format!("  it failed for more than one cause; this is the first of them. Another: {other}\n"));
    }
    match (&made.tape, &made.review) {
        (Some(tape), _) => {
            let bytes = out::size(made.tape_bytes.unwrap_or(0));
            text.push_str(&format!("added to {suite}, tape {} ({bytes})\n", tape.display()));
        }
        (None, Some(review)) => {
            text.push_str(&format!("nothing was added: read {}, then say --yes\n", review.display()));
        }
        (None, None) => {}
    }
    text
}

fn share(rate: &Rate) -> String {
    let mut text = format!("{} of {} times", rate.failed, rate.asked);
    if rate.asked > 1 {
        text.push_str(&format!(", 95 % [{:.0}, {:.0}] %", 100.0 * rate.lower, 100.0 * rate.upper));
    }
    if rate.unanswered > 0 {
        let why = rate.why.as_deref().unwrap_or_default();
        text.push_str(&format!("; {} questions had no answer ({why})", rate.unanswered));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_names_traces_and_nothing_else() {
        let id = "0123456789abcdef0123456789abcdef";
        let comment =
            format!("| `holdback promote {id}` |\n`holdback promote {id} --yes` holdback promote --from x; rm -rf /");
        assert_eq!(named_in(&comment), [id]);
        assert!(named_in("{\"suites\": []}").is_empty());
    }

    #[test]
    fn shares_say_how_sure_they_are() {
        let rate = Rate { failed: 2, asked: 5, lower: 0.05, upper: 0.85, ..Rate::default() };
        assert_eq!(share(&rate), "2 of 5 times, 95 % [5, 85] %");
        let rate = Rate { asked: 1, upper: 1.0, unanswered: 2, why: Some("busy".to_owned()), ..Rate::default() };
        assert_eq!(share(&rate), "0 of 1 times; 2 questions had no answer (busy)");
    }
}
