//! Labelling by a rubric: one question after the other about one trial after the other, blind to what the judge, the model's name
//! and other people say. The labels are those of `holdback judge label`.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, PoisonError};

use maud::{Markup, html};
use serde_json::{Value, json};

use super::door::{Ask, Reply, escaped};
use super::{Error, View, call, frame, rubrics};
use crate::capture::clock;
use crate::eval::samples::{self, Label};
use crate::grade::rubric::{Exhibit, criteria_fingerprint};
use crate::report::page::words::{count, minute, shorten};
use crate::store::index::ListedRun;
use crate::suite::{Criterion, Rubric};
use crate::trial::Trial;

/// Runs to choose from.
const RUNS: u32 = 50;
/// Pieces of evidence that are shown of one trial.
const PIECES: usize = 300;

/// In which order the trials of a run are labelled by a rubric.
#[derive(Debug)]
pub struct Order {
    run: String,
    rubric: String,
    /// Trials the run had when this was made.
    of: usize,
    trials: Vec<Asked>,
}

/// What may be known of a trial before it is labelled, and what a label must say.
#[derive(Debug, Clone)]
struct Asked {
    id: String,
    task: String,
    variant: String,
    attempt: u32,
}

/// Where to begin: what there is to label.
pub fn start(view: &View, _: &Ask) -> Result<Reply, Error> {
    let runs = view.index()?.run_list(RUNS)?;
    let body = html! {
        h1 { "Label" }
        p.lead { "Say what you think of trials, without seeing what a judge, the model's name or other people say. Judges are measured against it: "
            a href="/calibration" { "see how they do" } "." }
        @if runs.is_empty() { (frame::empty("No suite has been run yet.", "holdback eval suites/first.yaml")) }
        @else { div.card.scroll { table.list.stack {
            thead { tr { th scope="col" { "Run" } th scope="col" { "Suite" } th scope="col" { "Started, UTC" } th.n scope="col" { "Tasks × trials" } } }
            tbody { @for run in &runs { (row(run)) } }
        } } }
        div.card { h2 { "Recorded loops" }
            p { a.open href="/label/traces" { "Label traces as a whole" } ": right, wrong, can't tell; without a rubric." } }
    };
    Ok(Reply::Page(frame::page("/label", "Label", &body)))
}

fn row(run: &ListedRun) -> Markup {
    html! { tr {
        th scope="row" { a.open href={ "/label/runs/" (escaped(&run.run_id)) } { (shorten(run.name.as_deref().unwrap_or(&run.run_id), 60)) } }
        td { (shorten(&run.suite, 60)) } td { (minute(run.started_at)) } td.n { (run.tasks) " × " (run.trials_per_task) }
    } }
}

/// The next question about a run's trials.
pub fn desk(view: &View, ask: &Ask, word: &str) -> Result<Reply, Error> {
    let sitting = match sit(view, ask, word)? {
        Ok(sitting) => sitting,
        Err(choice) => return Ok(Reply::Page(frame::page("/label", "Label", &choice))),
    };
    let done = sitting.done(view)?;
    let questions = sitting.questions();
    let open = |at: usize| !done.contains(&key(questions[at]));
    let place = |name: &str| questions.iter().position(|question| key(*question) == split(ask.get(name)));
    let from = place("after").map_or(0, |at| at + 1);
    let next = place("at").or_else(|| (from..questions.len()).find(|at| open(*at)));
    let answered = questions.iter().filter(|question| done.contains(&key(**question))).count();
    let body = match next {
        Some(at) => {
            let wanted = HashSet::from([questions[at].0.id.as_str()]);
            let evidence = samples::evidence(&view.reader()?, &wanted)?;
            let evidence = evidence.get(&questions[at].0.id);
            let shown = evidence.map(|evidence| Exhibit::of(evidence, &questions[at].1.see));
            sitting.question(ask, questions[at], (at, questions.len(), answered), shown.as_ref())
        }
        None => sitting.over(ask, questions.len(), answered),
    };
    Ok(Reply::Page(frame::page("/label", "Label", &body)))
}

/// Keeps a label, or takes one back.
pub fn give(view: &View, ask: &Ask, word: &str) -> Result<Reply, Error> {
    let sitting = match sit(view, ask, word)? {
        Ok(sitting) => sitting,
        Err(_) => return Err(Error::Asked("the rubric to label by is not named".to_owned())),
    };
    let (trial, criterion) = split(ask.field("about"));
    let missing = || Error::Missing(format!("there is no question {:?} here", ask.field("about")));
    let asked = sitting.order.trials.iter().find(|known| known.id == trial).ok_or_else(missing)?;
    let criterion = sitting.rubric.criterion(&criterion).ok_or_else(missing)?;
    let said = ask.field("word");
    let word = match said {
        "back" => Value::Null,
        "yes" | "no" | "unknown" => json!(said),
        number => number.parse::<u64>().map_or_else(|_| json!(number), Value::from),
    };
    if !word.is_null() && word != "unknown" && criterion.level(&word).is_none() {
        return Err(Error::Asked(format!("{said:?} is no answer to {}", criterion.id)));
    }
    let label = Label {
        run: sitting.order.run.clone(),
        trial,
        task: asked.task.clone(),
        variant: asked.variant.clone(),
        rubric: sitting.rubric.rubric.clone(),
        criteria: criteria_fingerprint(&sitting.rubric),
        criterion: criterion.id.clone(),
        passes: criterion.level(&word).map(|level| level >= criterion.pass_at()),
        word,
        by: sitting.by.clone(),
    };
    label.keep(&mut view.store.writer()?, clock::now())?;
    let about = format!("{}/{}", label.trial, label.criterion);
    // What was taken back is asked again; after any other answer comes the next question.
    Ok(Reply::There(sitting.address(ask, if label.word.is_null() { "at" } else { "undo" }, &about)))
}

/// A person with a rubric before the trials of a run.
struct Sitting {
    rubric: Rubric,
    order: Arc<Order>,
    by: String,
    only: Option<String>,
    name: String,
}

/// The run and the rubric that are meant, or a page to choose the rubric on.
fn sit(view: &View, ask: &Ask, word: &str) -> Result<Result<Sitting, Markup>, Error> {
    let run = view.index()?.load_run(word)?;
    let reader = view.reader()?;
    let mut known = rubrics::of_run(view, &reader, &run.id);
    let wanted = if ask.field("rubric").is_empty() { ask.get("rubric") } else { ask.field("rubric") };
    if known.len() != 1 || !wanted.is_empty() {
        known = rubrics::for_run(view, &reader, &run.id);
    }
    if !wanted.is_empty() {
        known.retain(|rubric| rubric.rubric == wanted);
        if known.is_empty() {
            return Err(Error::Missing(format!(
                "there is no rubric {wanted:?} in rubrics/ or in the suite of this run"
            )));
        }
    }
    let name = run.name.clone().unwrap_or_else(|| run.id.clone());
    if known.len() != 1 {
        return Ok(Err(choose(&run.id, &name, &known)));
    }
    let rubric = known.remove(0);
    let only = Some(ask.get("criterion")).filter(|id| !id.is_empty()).map(str::to_owned);
    if let Some(unknown) = only.as_ref().filter(|id| rubric.criterion(id).is_none()) {
        return Err(Error::Missing(format!("the rubric {} has no criterion {unknown:?}", rubric.rubric)));
    }
    let order = order(view, &reader, &run.id, &run.trials, &rubric)?;
    Ok(Ok(Sitting { rubric, order, by: view.desk.by.clone(), only, name }))
}

fn choose(run: &str, name: &str, known: &[Rubric]) -> Markup {
    html! {
        nav.crumbs aria-label="Where" { a href="/label" { "Label" } " / " (shorten(name, 60)) }
        h1 { "Which rubric?" }
        @if known.is_empty() { (frame::empty("There is no rubric in rubrics/ or in the suite of this run.", "holdback view --write --rubric FILE")) }
        @else { ul.choices { @for rubric in known { li.card {
            a.open href={ "/label/runs/" (escaped(run)) "?rubric=" (escaped(&rubric.rubric)) } { (shorten(&rubric.rubric, 80)) }
            p.note { (count(rubric.criteria().count() as u64, "question")) ": " (shorten(&rubric.about, 300)) }
        } } } }
    }
}

/// The order, read once for a run and a rubric: it takes a look at everything that was judged.
fn order(
    view: &View,
    reader: &crate::store::log::Reader,
    run: &str,
    trials: &[Trial],
    rubric: &Rubric,
) -> Result<Arc<Order>, Error> {
    let print = rubric.fingerprint();
    let known = view.order.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(known) = known.filter(|known| known.run == run && known.rubric == print && known.of == trials.len()) {
        return Ok(known);
    }
    let evidence = samples::evidence(reader, &trials.iter().map(|trial| trial.id.as_str()).collect())?;
    let passed = |trial: &Trial| samples::reading(evidence.get(&trial.id)?, &rubric.rubric)?.grade().grade.pass();
    let in_turn = samples::in_turn(trials, passed).into_iter().filter(|trial| evidence.contains_key(&trial.id));
    let asked = |trial: &Trial| Asked {
        id: trial.id.clone(),
        task: trial.task.clone(),
        variant: trial.variant.clone(),
        attempt: trial.attempt,
    };
    let order =
        Arc::new(Order { run: run.to_owned(), rubric: print, of: trials.len(), trials: in_turn.map(asked).collect() });
    *view.order.lock().unwrap_or_else(PoisonError::into_inner) = Some(order.clone());
    Ok(order)
}

/// A trial and a criterion, as addresses name them.
fn split(about: &str) -> (String, String) {
    about.rsplit_once('/').map_or_else(Default::default, |(trial, id)| (trial.to_owned(), id.to_owned()))
}

fn key((trial, criterion): (&Asked, &Criterion)) -> (String, String) {
    (trial.id.clone(), criterion.id.clone())
}

impl Sitting {
    /// Every question, trial by trial.
    fn questions(&self) -> Vec<(&Asked, &Criterion)> {
        let wanted = |criterion: &&Criterion| self.only.as_ref().is_none_or(|only| *only == criterion.id);
        let criteria: Vec<&Criterion> = self.rubric.criteria().map(|(_, criterion)| criterion).filter(wanted).collect();
        let all = self.order.trials.iter();
        all.flat_map(|trial| criteria.iter().map(move |criterion| (trial, *criterion))).collect()
    }

    /// What this person has answered.
    fn done(&self, view: &View) -> Result<BTreeSet<(String, String)>, Error> {
        let labels = samples::labels(&view.reader()?, &self.rubric)?.into_iter();
        Ok(labels.filter(|label| label.by == self.by).map(|label| (label.trial, label.criterion)).collect())
    }

    fn here(&self) -> String {
        format!("/label/runs/{}", escaped(&self.order.run))
    }

    fn address(&self, ask: &Ask, name: &str, value: &str) -> String {
        let only =
            if self.only.is_some() { format!("&criterion={}", escaped(ask.get("criterion"))) } else { String::new() };
        let (here, rubric) = (self.here(), escaped(&self.rubric.rubric));
        format!(
            "{here}?rubric={rubric}{only}{}",
            if name.is_empty() { String::new() } else { format!("&{name}={}", escaped(value)) }
        )
    }

    fn crumbs(&self) -> Markup {
        html! { nav.crumbs aria-label="Where" { a href="/label" { "Label" } " / " a href=(self.here()) { (shorten(&self.name, 60)) } " / " (shorten(&self.rubric.rubric, 60)) } }
    }

    fn question(
        &self,
        ask: &Ask,
        (trial, criterion): (&Asked, &Criterion),
        (at, all, answered): (usize, usize, usize),
        shown: Option<&Exhibit>,
    ) -> Markup {
        let about = format!("{}/{}", trial.id, criterion.id);
        let principle = self.rubric.criteria().find(|(_, one)| one.id == criterion.id).map(|(principle, _)| principle);
        html! {
            (self.crumbs())
            h1 { (criterion.ask) }
            p.note { "Question " (at + 1) " of " (all) ", " (answered) " answered by " (self.by) ". " b { (criterion.id) }
                @if let Some(principle) = principle { ": " (principle.principle) } }
            (meanings(criterion))
            div.card {
                h2 { (shorten(&trial.task, 80)) " " span.note { "attempt " (trial.attempt) } }
                @match shown {
                    Some(shown) => { (pieces(shown)) }
                    None => { p.note { "The evidence of this trial is gone." } }
                }
            }
            @match &ask.csrf {
                Some(csrf) => { div.card.stick.labels { (self.answers(ask, csrf, criterion, &about)) } }
                None => { div.card.empty { p { "This view only reads." } p { code { "holdback view --write" } } } }
            }
        }
    }

    fn answers(&self, ask: &Ask, csrf: &str, criterion: &Criterion, about: &str) -> Markup {
        let hidden = |about: &str| {
            html! {
                input type="hidden" name="csrf" value=(csrf);
                input type="hidden" name="rubric" value=(self.rubric.rubric);
                input type="hidden" name="about" value=(about);
            }
        };
        let to = self.address(ask, "", "");
        html! {
            form.inline.label method="post" action=(to) {
                (hidden(about))
                @if criterion.is_yes_no() {
                    button.main type="submit" name="word" value="yes" data-key="y" { "Yes " kbd { "y" } } " "
                    button.main type="submit" name="word" value="no" data-key="n" { "No " kbd { "n" } } " "
                } @else {
                    @for level in 1..=criterion.scale() { button.main type="submit" name="word" value=(level) data-key=(level) { kbd { (level) } } " " }
                }
                button type="submit" name="word" value="unknown" data-key="u" { "Can't tell " kbd { "u" } } " "
                a.button href=(self.address(ask, "after", about)) data-key="s" { "Skip " kbd { "s" } }
            }
            (self.undo(ask, &hidden))
        }
    }

    fn undo(&self, ask: &Ask, hidden: &dyn Fn(&str) -> Markup) -> Markup {
        let last = ask.get("undo");
        html! { @if !last.is_empty() {
            form.inline method="post" action=(self.address(ask, "", "")) {
                (hidden(last)) button type="submit" name="word" value="back" data-key="z" { "Take the last one back " kbd { "z" } }
            }
        } }
    }

    fn over(&self, ask: &Ask, all: usize, answered: usize) -> Markup {
        let left = all - answered.min(all);
        let csrf = ask.csrf.clone();
        let hidden = |about: &str| {
            html! {
                input type="hidden" name="csrf" value=(csrf.as_deref().unwrap_or_default());
                input type="hidden" name="rubric" value=(self.rubric.rubric);
                input type="hidden" name="about" value=(about);
            }
        };
        html! {
            (self.crumbs())
            h1 { @if all == 0 { "Nothing to label" } @else if left == 0 { "All done" } @else { "That was the last one" } }
            p.lead {
                @if all == 0 { "This run kept no evidence: only trials that were graded here can be labelled." }
                @else { (answered) " of " (count(all as u64, "question")) " answered by " (self.by) "." }
            }
            div.inline {
                @if left > 0 { a.button href=(self.address(ask, "", "")) data-key="s" { "Go through the " (left) " skipped " kbd { "s" } } }
                a.button href={ "/calibration/" (escaped(&self.rubric.rubric)) } { "The judge against these labels" }
            }
            @if ask.csrf.is_some() { (self.undo(ask, &hidden)) }
        }
    }
}

fn meanings(criterion: &Criterion) -> Markup {
    let yes_no = [("yes", &criterion.yes), ("no", &criterion.no)];
    let mut all: Vec<(String, &str)> = Vec::new();
    all.extend(yes_no.into_iter().filter_map(|(word, level)| Some((word.to_owned(), level.as_ref()?.means.as_str()))));
    all.extend(
        (1..).zip(&criterion.levels).map(|(number, level): (u32, _)| (number.to_string(), level.means.as_str())),
    );
    html! { @if !all.is_empty() { dl.meanings { @for (word, means) in &all { dt { (word) } dd { (means) } } } } }
}

fn pieces(shown: &Exhibit) -> Markup {
    let more = shown.pieces.len().saturating_sub(PIECES);
    html! {
        ol.talk { @for piece in shown.pieces.iter().take(PIECES) {
            li.text { span.who { (piece.title) } div.text { (call::folded(&piece.text)) } }
        } }
        @if more > 0 { p.note { (more) " more pieces of evidence are not shown." } }
    }
}
