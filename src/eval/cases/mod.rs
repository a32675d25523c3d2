//! Cases: failed traces become tasks of a regression suite. [`promote`] is the whole way from a trace to a case, and the one
//! function behind every door to it: the command line, a form of the web view, a gate's comment.
//!
//! ```no_run
//! # fn door(store: &holdback::store::log::Store) -> Result<(), holdback::eval::cases::CaseError> {
//! use holdback::eval::cases::{Mocked, Wish, promote};
//! let wish = Wish { add: false, ..Wish::new("last-failed", "suites/regressions.yaml") };
//! let shown = promote(store, &wish, &mut Mocked)?; // `add: false` writes the review file only
//! println!("{}: proven red: {}", shown.case, shown.proven_red);
//! # Ok(()) }
//! ```
//!
//! Nothing here is asked of a live model unless whoever calls hands in [`Live`] and wishes it. The function blocks: a server calls
//! it from a thread that may.

mod case;
mod disk;
mod find;
mod live;
mod make;
mod models;
mod suite_text;
pub mod tape_file;
mod whole;

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

pub use case::{Case, read};
pub use disk::Beside;
pub use find::{Found, find, of_its_own};
pub use live::{Keys, Live, Runs};
pub use models::{Mocked, Models, Rate};
pub use tape_file::ending;

use self::make::{Draft, Made};
use self::suite_text::Fresh;
use self::whole::Whole;
use crate::capture::clock;
use crate::promote::{Hint, Size};
use crate::store::log::{LogError, Reader, Store};

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// What was asked for isn't there, or has no meaning.
    #[error("{0}")]
    Asked(String),
    /// There is no case in it, and why.
    #[error("{0}")]
    Refused(String),
    /// A model gave no answer.
    #[error("{0}")]
    Unanswered(String),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Log(#[from] LogError),
}

/// How much of a run a case asks for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// The frozen conversation up to the failing call; the next move is graded.
    #[default]
    Step,
    /// The loop itself, against its recorded answers up to the failing call.
    Loop,
}

/// What is to be made a case, and how.
#[derive(Debug, Clone)]
pub struct Wish {
    /// A trace (id, beginning of one, name, `last`), a group of failures, or `last-failed`.
    pub what: String,
    /// The suite that the case goes into.
    pub suite: PathBuf,
    /// Adds the case; else only the review file is written.
    pub add: bool,
    /// What a person says about the failure.
    pub hint: Hint,
    pub level: Level,
    /// The folder that a loop works in a copy of.
    pub workspace: Option<PathBuf>,
    /// A trace or a model that does it right: the case must be green there.
    pub fixed: Option<String>,
    /// How often models are asked; `None` asks mocks five times, a live model named as fixed once, the failing one not at all.
    pub times: Option<u32>,
    /// How often a live model may be asked to make the case smaller.
    pub asks: u32,
    /// Drafts a rubric's question and has this judge (PROVIDER/MODEL) read the failing answer by it.
    pub judge: Option<String>,
    /// Leaves personal data as it is.
    pub keep_personal: bool,
    /// Leaves the conversation as long as it is.
    pub whole: bool,
}

impl Wish {
    /// The usual wish.
    pub fn new(what: &str, suite: impl Into<PathBuf>) -> Self {
        Wish {
            what: what.to_owned(),
            suite: suite.into(),
            add: false,
            hint: Hint::default(),
            level: Level::Step,
            workspace: None,
            fixed: None,
            times: None,
            asks: 0,
            judge: None,
            keep_personal: false,
            whole: false,
        }
    }
}

/// What came of a wish.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Promoted {
    pub case: String,
    /// What went wrong, in a sentence.
    pub reason: String,
    /// Why the graders are red on the recorded answer.
    pub proven_red: String,
    pub before: Size,
    pub after: Size,
    /// Pieces of personal data that were replaced.
    pub personal: usize,
    pub graders: Vec<Value>,
    /// How often the failing model failed again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How often the model said to be fixed failed: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed: Option<Rate>,
    /// What else went wrong in the same trace.
    pub besides: Vec<String>,
    /// What a person should know of it.
    pub notes: Vec<String>,
    /// The task as it stands in the suite or would.
    pub task: String,
    pub added: bool,
    /// It was there already: one case, not two.
    pub present: bool,
    pub suite: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tape: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tape_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<PathBuf>,
    /// The drafted rubric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rubric: Option<String>,
}

/// What [`promote`] would make of a wish. Nothing is written, no review file either.
///
/// # Errors
/// When there is no case in it: the error says why.
pub fn show(store: &Store, wish: &Wish, models: &mut dyn Models) -> Result<Promoted, CaseError> {
    Ok(Ready::make(&Arc::new(store.reader()?), wish, models)?.told(wish))
}

/// Makes a case of a failed trace, or finds that there is one already.
///
/// # Errors
/// When there is no case in it: the error says why.
pub fn promote(store: &Store, wish: &Wish, models: &mut dyn Models) -> Result<Promoted, CaseError> {
    let reader = Arc::new(store.reader()?);
    let ready = Ready::make(&reader, wish, models)?;
    let mut promoted = ready.told(wish);
    if promoted.present {
        return Ok(promoted);
    }
    if !wish.add {
        let review = wish.suite.with_extension("review.yaml");
        disk::publish(&review, ready.review().as_bytes())?;
        promoted.review = Some(review);
        return Ok(promoted);
    }
    promoted.tape_bytes = Some(ready.write(&reader)?);
    let (case, tape) = ready.case();
    if let Err(error) = suite_text::add(&wish.suite, &promoted.task, &ready.fresh()) {
        // Nothing is left lying about that no suite names.
        let files = [Some(tape), ready.draft().map(|draft| &draft.file)];
        files.into_iter().flatten().for_each(|file| drop(std::fs::remove_file(file)));
        return Err(error);
    }
    store.writer()?.record("case", &case.key(), clock::now(), &json!(case))?;
    promoted.added = true;
    promoted.tape = Some(tape.clone());
    Ok(promoted)
}

/// A case that has been made and not been written.
enum Ready {
    Step(Box<Made>),
    Loop(Box<Whole>),
}

impl Ready {
    fn make(reader: &Arc<Reader>, wish: &Wish, models: &mut dyn Models) -> Result<Self, CaseError> {
        let (trace, group) = find::which(reader, &wish.what)?;
        Ok(match wish.level {
            Level::Step => Ready::Step(Box::new(make::step(reader, wish, models, trace, group)?)),
            Level::Loop => Ready::Loop(Box::new(whole::run(reader, wish, models, trace, group)?)),
        })
    }

    fn case(&self) -> (&Case, &PathBuf) {
        match self {
            Ready::Step(made) => (&made.case, &made.tape),
            Ready::Loop(made) => (&made.case, &made.tape),
        }
    }

    fn draft(&self) -> Option<&Draft> {
        match self {
            Ready::Step(made) => made.draft.as_ref(),
            Ready::Loop(_) => None,
        }
    }

    fn fresh(&self) -> Fresh<'_> {
        match self {
            Ready::Step(made) => Fresh::Step { model: &made.case.model },
            Ready::Loop(made) => made.fresh(),
        }
    }

    /// What a person reads before they say yes: the task, and what else would be written.
    fn review(&self) -> String {
        let mut text = match self {
            Ready::Step(made) => made.task.clone(),
            Ready::Loop(made) => made.task.clone(),
        };
        if let Some(draft) = self.draft() {
            text.push_str(&format!("# a draft of {}:\n", draft.file.display()));
            draft.text.lines().for_each(|line| text.push_str(&format!("# {line}\n")));
        }
        text
    }

    /// Writes everything but the suite; says how large the tape is.
    fn write(&self, reader: &Reader) -> Result<u64, CaseError> {
        if let Some(draft) = self.draft() {
            disk::publish(&draft.file, draft.text.as_bytes())?;
        }
        match self {
            Ready::Step(made) => make::write_tape(made),
            Ready::Loop(made) => whole::export(reader, made, &made.tape),
        }
    }

    fn told(&self, wish: &Wish) -> Promoted {
        match self {
            Ready::Step(made) => told(wish, made),
            Ready::Loop(made) => Promoted {
                case: made.case.id.clone(),
                reason: made.case.reason.clone(),
                proven_red: made.red.clone(),
                before: made.size,
                after: made.size,
                graders: made.graders.clone(),
                besides: made.picked.besides.clone(),
                task: made.task.clone(),
                present: made.present,
                suite: wish.suite.clone(),
                ..Promoted::default()
            },
        }
    }
}

fn told(wish: &Wish, made: &Made) -> Promoted {
    Promoted {
        case: made.case.id.clone(),
        reason: made.case.reason.clone(),
        proven_red: made.clean.proven.clone(),
        before: made.size.before,
        after: made.size.after,
        personal: made.clean.personal.count(),
        graders: made.graders.clone(),
        rate: made.rate.clone(),
        fixed: made.fixed.clone(),
        besides: made.clean.picked.besides.clone(),
        notes: made.notes.clone(),
        task: made.task.clone(),
        present: made.present,
        suite: wish.suite.clone(),
        rubric: made.draft.as_ref().map(|draft| draft.text.clone()),
        ..Promoted::default()
    }
}
