//! `--until-decided`: a run in rounds that ends as soon as the gate can tell it from a baseline.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::arms::{Arms, Policies, is_file};
use crate::cli::runs::stored::Until;
use crate::cli::{Exit, Global, Misuse, gate, out};
use crate::eval::{Conclusion, Decided, Finished, full_trials, usual_rounds};
use crate::gate::{Arm, Saved};
use crate::report;
use crate::suite::{Suite, hash_hex};

/// Ending as soon as the gate can tell.
#[derive(Debug, Clone, Default, Args)]
pub struct UntilArgs {
    /// Ask in rounds and end as soon as the gate can tell the run from a baseline; the exit code is then the gate's verdict
    #[arg(long, requires = "baseline")]
    until_decided: bool,
    /// What the run is held against: a run (name, beginning of its id, `last`) or a baseline file
    #[arg(long, value_name = "RUN[:VARIANT]|FILE", requires = "until_decided")]
    baseline: Option<String>,
    /// How many rounds at most, with a look after each [default: one for every k trials of a task]
    #[arg(long, value_name = "R", requires = "until_decided", value_parser = clap::value_parser!(u32).range(2..))]
    rounds: Option<u32>,
    /// The gate's policy; see docs/gate.md
    #[arg(long, value_name = "FILE", requires = "until_decided")]
    policy: Option<PathBuf>,
}

impl UntilArgs {
    /// What was settled when the run began, or what is asked for now; and the baseline.
    pub fn settle(
        &self,
        global: &Global,
        before: Option<Option<Until>>,
        suite: &Suite,
        trials: Option<u32>,
    ) -> anyhow::Result<Option<(Until, Arm)>> {
        match (before, &self.baseline) {
            (None | Some(None), None) => Ok(None),
            (Some(None), Some(_)) => {
                Err(Misuse("this run was not begun with --until-decided: start a new run".to_owned()).into())
            }
            (Some(Some(known)), _) => self.resumed(global, known).map(Some),
            (None, Some(word)) => self.begun(global, word, suite, trials).map(Some),
        }
    }

    fn begun(&self, global: &Global, word: &str, suite: &Suite, trials: Option<u32>) -> anyhow::Result<(Until, Arm)> {
        let baseline = Arms::new(global).one(word)?;
        let policy = Policies::read(self.policy.as_deref())?.for_suite(&suite.suite, suite.kind.as_str())?;
        let each = trials.unwrap_or(suite.trials);
        let rounds = self.rounds.unwrap_or_else(|| usual_rounds(&policy, each, suite.tasks.len()));
        let full = full_trials(&policy, rounds, each);
        if trials.is_some_and(|asked| asked != full) {
            return Err(Misuse(format!(
                "{rounds} rounds of k = {} make {full} trials of each task, not {each}: leave out --trials or --rounds",
                policy.figure().k()
            ))
            .into());
        }
        if rounds < 2 {
            let why =
                format!("{each} trials of a task make {rounds} rounds, and there is nothing to look at in between");
            return Err(Misuse(format!("{why}: ask for more with --rounds")).into());
        }
        // `last` means another run tomorrow, and a file may be named from elsewhere.
        let word = match is_file(word) {
            true => std::path::absolute(word)?.to_string_lossy().into_owned(),
            false => format!("{}:{}", baseline.run, baseline.variant),
        };
        let hash = hash_hex(baseline.to_json().as_bytes());
        Ok((Until { baseline: word, hash, rounds, trials: full, policy }, baseline))
    }

    fn resumed(&self, global: &Global, known: Until) -> anyhow::Result<(Until, Arm)> {
        let baseline = Arms::new(global).one(&known.baseline)?;
        if hash_hex(baseline.to_json().as_bytes()) != known.hash {
            return Err(Misuse(format!(
                "the baseline {} is not what it was when the run began: its looks would not fit together. Start a new run",
                known.baseline
            ))
            .into());
        }
        let same_baseline = || -> anyhow::Result<bool> {
            Ok(match &self.baseline {
                Some(word) => hash_hex(Arms::new(global).one(word)?.to_json().as_bytes()) == known.hash,
                None => true,
            })
        };
        if self.rounds.is_some_and(|rounds| rounds != known.rounds) || !same_baseline()? {
            let words = format!("it was begun against {} in {} rounds", known.baseline, known.rounds);
            return Err(Misuse(format!("{words}, and goes on like that: leave out --baseline and --rounds")).into());
        }
        Ok((known, baseline))
    }
}

/// What a run of rounds came to: the gate's verdict, unless it was called off or broke before.
pub fn tell(
    global: &Global,
    finished: &Finished,
    conclusion: &Conclusion,
) -> anyhow::Result<Option<(Exit, &'static str, String)>> {
    let Some(decided) = &finished.decided else {
        return Ok(match conclusion {
            Conclusion::Done | Conclusion::TaskFailed(_) => {
                let why = "undecided: the run ended before the gate could tell".to_owned();
                Some((Exit::Undecided, "undecided", why))
            }
            _ => None,
        });
    };
    if !matches!(conclusion, Conclusion::Done | Conclusion::TaskFailed(_)) {
        return Ok(None);
    }
    if let Err(error) = gate::keep(global, &decided.report) {
        eprintln!("holdback: the verdict could not be kept in the store: {error:#}");
    }
    let verdict = decided.report.verdict;
    Ok(Some((gate::exit_of(verdict), verdict.as_str(), decided.report.why.clone())))
}

/// The verdict and what it spared, as text.
pub fn text(decided: &Decided) -> String {
    let Saved { trials_run, trials_saved, cost_usd } = decided.saved;
    let spared = match (trials_saved, cost_usd) {
        (0, _) => "none spared".to_owned(),
        (saved, Some(usd)) => format!("{saved} spared, about {}", out::dollars(Some(usd))),
        (saved, None) => format!("{saved} spared"),
    };
    let Decided { round, rounds, report, .. } = decided;
    let all = trials_run + trials_saved;
    format!(
        "\n{}\ndecided after round {round} of {rounds}: {trials_run} of {all} trials made, {spared}\n",
        out::printable(&report::text::gate(report))
    )
}

/// The verdict and what it spared, for programs.
pub fn json(decided: &Decided) -> anyhow::Result<Value> {
    let report: Value = serde_json::from_str(&report::json::gate(&decided.report))?;
    Ok(json!({"gate": report, "saved": decided.saved, "round": decided.round, "rounds": decided.rounds}))
}
