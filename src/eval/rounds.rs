//! Trials in rounds with a look after each, so that no more of them are made than it takes to decide.

use std::collections::BTreeSet;

use super::plan::{Plan, Slot};
use crate::gate::{Arm, GateError, GateReport, Look, Looks, Policy, Saved, comparable, look, task_batches};
use crate::stats::Estimand;
use crate::suite::Loaded;
use crate::trial::RunRecord;

/// A run that ends as soon as the gate can tell.
#[derive(Debug)]
pub struct Rounds {
    baseline: Arm,
    policy: Policy,
    looks: Looks,
    /// The round that is being made, from 1.
    round: u32,
    /// With tasks or families as units: the tasks of each round.
    batches: Option<Vec<BTreeSet<String>>>,
}

/// What was decided, when, and what that spared.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    pub report: GateReport,
    pub saved: Saved,
    /// The round after which it was decided, of so many.
    pub round: u32,
    pub rounds: u32,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    Make(Vec<Slot>),
    Decided(Box<Decided>),
}

/// Rounds that can't be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RoundsError {
    #[error(transparent)]
    Gate(#[from] GateError),
    #[error("there is nothing to look at between {0} rounds: give at least 2")]
    TooFew(u32),
    #[error(
        "a run that ends when it is decided asks one model with one prompt: choose one of {} with --model, or make a suite of one", .0.join(", ")
    )]
    SeveralVariants(Vec<String>),
}

impl Rounds {
    /// Rounds of a plan, looked at against a baseline.
    ///
    /// # Errors
    /// When baseline and plan can't be compared, before anything is spent.
    pub fn new(
        baseline: Arm,
        policy: Policy,
        rounds: u32,
        plan: &Plan,
        empty: &RunRecord,
        seed: u64,
    ) -> Result<Self, RoundsError> {
        if rounds < 2 {
            return Err(RoundsError::TooFew(rounds));
        }
        if plan.variants.len() != 1 {
            return Err(RoundsError::SeveralVariants(
                plan.variants.iter().map(|variant| variant.name.clone()).collect(),
            ));
        }
        let candidate = Arm::from_run(empty, None)?;
        // Which graders grade is known when they have.
        comparable(&baseline, &candidate, &Policy { required_graders: Vec::new(), ..policy.clone() })?;
        let looks = Looks { rounds };
        let batches = (policy.estimand != Estimand::Suite).then(|| {
            let batches = task_batches(&candidate.tasks.keys().cloned().collect::<Vec<_>>(), looks, seed);
            batches.into_iter().map(|batch| batch.into_iter().collect()).collect()
        });
        Ok(Rounds { baseline, policy, looks, round: 1, batches })
    }

    /// The trials still to be made before the next look, or the decision. The same records give the same answer, so a run that was
    /// killed goes on as if it had not been.
    pub(super) fn next(&mut self, plan: &Plan, loaded: &Loaded, record: &RunRecord) -> Result<Next, GateError> {
        let open = plan.open(loaded, record);
        let task = |slot: &Slot| &loaded.suite.tasks[slot.task].id;
        let candidate = Arm::from_run(record, None)?;
        loop {
            let due: Vec<Slot> = open.iter().filter(|slot| self.is_due(task(slot), slot.attempt)).cloned().collect();
            if !due.is_empty() {
                return Ok(Next::Make(due));
            }
            match look(&self.baseline, &candidate, &self.policy, self.looks, self.round)? {
                Look::Stop { mut report, saved } => {
                    // What was announced before the run is the policy, not the share of its alpha that this look may use.
                    let hash = self.policy.hash();
                    report.suites.iter_mut().for_each(|suite| suite.policy_hash.clone_from(&hash));
                    let (round, rounds) = (self.round, self.looks.rounds);
                    return Ok(Next::Decided(Box::new(Decided { report: *report, saved, round, rounds })));
                }
                Look::Finish { tasks, trials_per_task } => {
                    let suspected = |slot: &&Slot| tasks.contains(task(slot)) && slot.attempt <= trials_per_task;
                    let due: Vec<Slot> = open.iter().filter(suspected).cloned().collect();
                    if !due.is_empty() {
                        return Ok(Next::Make(due));
                    }
                    // All their trials were made and some of them are copies: only more rounds can tell.
                }
                Look::Continue { .. } => {}
            }
            // The last look always decides, so this ends.
            self.round += 1;
        }
    }

    /// The decision, when these records hold one.
    ///
    /// # Errors
    /// When they can't be compared.
    pub fn decided(
        &mut self,
        plan: &Plan,
        loaded: &Loaded,
        record: &RunRecord,
    ) -> Result<Option<Box<Decided>>, GateError> {
        Ok(match self.next(plan, loaded, record)? {
            Next::Decided(decided) => Some(decided),
            Next::Make(_) => None,
        })
    }

    fn is_due(&self, task: &str, attempt: u32) -> bool {
        match &self.batches {
            Some(batches) => batches.iter().take(self.round as usize).any(|batch| batch.contains(task)),
            None => attempt <= self.round * self.policy.figure().k().max(1),
        }
    }

    /// Where the run stands, in words.
    pub(super) fn in_words(&self) -> String {
        format!("round {} of {}", self.round, self.looks.rounds)
    }
}

/// The trials of each task that a run of so many rounds asks for at most.
pub fn full_trials(policy: &Policy, rounds: u32, trials: u32) -> u32 {
    if policy.estimand == Estimand::Suite { rounds * policy.figure().k().max(1) } else { trials }
}

/// How many rounds a number of trials per task makes.
pub fn usual_rounds(policy: &Policy, trials: u32, tasks: usize) -> u32 {
    /// Looks that cost little power and find a clear answer early.
    const LOOKS: usize = 5;
    match policy.estimand {
        Estimand::Suite => trials / policy.figure().k().max(1),
        Estimand::Population | Estimand::Group => LOOKS.min(tasks) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Select;
    use crate::suite::{Files, load};
    use crate::trace::{Timestamp, Usage};
    use crate::trial::{Ending, Outcome, Trial};

    struct NoFiles;

    impl Files for NoFiles {
        fn read(&self, _: &str) -> Result<String, String> {
            Err("no such file".to_owned())
        }
        fn exists(&self, _: &str) -> bool {
            false
        }
    }

    fn suite(tasks: usize) -> Loaded {
        let tasks: String = (0..tasks).map(|n| format!("  - {{id: t{n}, prompt: p}}\n")).collect();
        let text = format!(
            "suite: s\nmodels: [mock/a]\ntarget: {{prompt: {{}}}}\ngraders: [{{type: stops}}]\ntasks:\n{tasks}"
        );
        load("s.yaml", &text, &NoFiles).unwrap()
    }

    fn record(loaded: &Loaded, plan: &Plan) -> RunRecord {
        RunRecord {
            id: "r".to_owned(),
            name: None,
            suite: "s".to_owned(),
            kind: "regression".to_owned(),
            started: Timestamp(0),
            finished: None,
            trials_per_task: plan.trials,
            tasks: plan.tasks.iter().map(|task| loaded.suite.tasks[*task].id.clone()).collect(),
            variants: plan.variants.clone(),
            fingerprints: plan.fingerprints.clone(),
            git_commit: None,
            holdback: String::new(),
            trials: Vec::new(),
        }
    }

    fn make(record: &mut RunRecord, loaded: &Loaded, slots: &[Slot], outcome: impl Fn(&str, u32) -> Outcome) {
        for slot in slots {
            let task = loaded.suite.tasks[slot.task].id.clone();
            record.trials.push(Trial {
                id: format!("{task}-{}", slot.attempt),
                run: "r".to_owned(),
                outcome: outcome(&task, slot.attempt),
                task,
                variant: record.variants[0].name.clone(),
                attempt: slot.attempt,
                seed: None,
                trace: None,
                started: Timestamp(0),
                duration_us: 1,
                ending: Ending::Exited { code: 0 },
                score: None,
                grades: Vec::new(),
                calls: 1,
                usage: Usage::default(),
                cost_usd: Some(0.5),
                infra_retries: 0,
                copy_of: None,
                stuck: false,
                why: None,
                answer_hash: None,
                replayed: None,
            });
        }
    }

    /// Plays a run; says how many trials each round made and what came out.
    fn play(
        tasks: usize,
        rounds: u32,
        policy: Policy,
        outcome: impl Fn(&str, u32) -> Outcome,
    ) -> (Vec<usize>, Box<Decided>) {
        let loaded = suite(tasks);
        let select = Select { trials: Some(full_trials(&policy, rounds, 4)), ..Select::default() };
        let plan = Plan::new(&loaded, &select, "", "").unwrap();
        let mut base = record(&loaded, &plan);
        let all = plan.order.clone();
        make(&mut base, &loaded, &all, |_, _| Outcome::Pass);
        let baseline = Arm::from_run(&base, None).unwrap();
        let mut run = record(&loaded, &plan);
        let new = |run: &RunRecord| Rounds::new(baseline.clone(), policy.clone(), rounds, &plan, run, 7).unwrap();
        let mut made = Vec::new();
        loop {
            // Anew every time, as after a crash.
            match new(&record(&loaded, &plan)).next(&plan, &loaded, &run).unwrap() {
                Next::Decided(decided) => return (made, decided),
                Next::Make(slots) => {
                    made.push(slots.len());
                    make(&mut run, &loaded, &slots, &outcome);
                }
            }
        }
    }

    #[test]
    fn a_clear_answer_ends_the_run_early() {
        let policy = Policy { margin: 0.1, ..Policy::for_kind("regression") };
        let (made, decided) = play(40, 4, policy.clone(), |_, _| Outcome::Pass);
        assert_eq!((made, decided.round, decided.rounds), (vec![40, 40], 2, 4));
        assert_eq!(decided.report.verdict, crate::gate::Verdict::Pass);
        assert_eq!((decided.saved.trials_saved, decided.saved.cost_usd), (80, Some(40.0)));
        let (made, decided) = play(40, 4, policy, |_, _| Outcome::Fail);
        assert_eq!((made, decided.report.verdict), (vec![40], crate::gate::Verdict::Regress));
    }

    #[test]
    fn a_suspect_is_run_to_the_end_before_a_pass_counts() {
        let policy = Policy { margin: 0.1, ..Policy::for_kind("regression") };
        let broken = |task: &str, _| if task == "t7" { Outcome::Fail } else { Outcome::Pass };
        let (made, decided) = play(120, 8, policy, broken);
        assert_eq!(*made.last().unwrap() as u32 + decided.round, 8, "the other trials of t7 alone: {made:?}");
        assert_eq!(decided.report.verdict, crate::gate::Verdict::Regress, "{}", decided.report.why);
        assert!(decided.report.why.contains("t7 (8/8 -> 0/8)"), "{}", decided.report.why);
    }

    #[test]
    fn with_tasks_as_units_a_round_is_a_batch_of_tasks() {
        let policy = Policy { margin: 0.1, estimand: Estimand::Population, ..Policy::for_kind("regression") };
        let (made, decided) = play(200, 4, policy, |_, _| Outcome::Pass);
        assert_eq!((made, decided.saved.trials_saved), (vec![200, 200], 400));
    }

    #[test]
    fn what_can_not_be_compared_is_refused_before_anything_is_spent() {
        let loaded = suite(3);
        let plan = Plan::new(&loaded, &Select::default(), "", "").unwrap();
        let empty = record(&loaded, &plan);
        let policy = Policy::for_kind("regression");
        let mut other = empty.clone();
        other.fingerprints.graders = "others".to_owned();
        let baseline = Arm::from_run(&other, None).unwrap();
        let refused = Rounds::new(baseline.clone(), policy.clone(), 4, &plan, &empty, 0).unwrap_err();
        assert!(refused.to_string().contains("graders"), "{refused}");
        assert_eq!(Rounds::new(baseline, policy, 1, &plan, &empty, 0).unwrap_err(), RoundsError::TooFew(1));
    }
}
