//! A loop that says all is well though its last call never came back whole and nothing was done after.

use super::{Found, Level, Story, number};
use crate::trace::TraceOutcome;

pub fn signal(story: &Story<'_>) -> Vec<Found> {
    let well = story.ended.is_some_and(|end| end.outcome == TraceOutcome::Ok && end.exit_code.unwrap_or(0) == 0);
    let last_good = story.steps.iter().rposition(super::Step::is_answered);
    let after = last_good.map_or(0, |at| at + 1);
    if !well || after >= story.steps.len() {
        return Vec::new();
    }
    let lost = &story.steps[after..];
    let why = match (&lost[0].error, lost[0].status) {
        (Some(error), _) => format!("failed ({error})"),
        (None, Some(status)) if status >= 400 => format!("failed with status {status}"),
        _ => "broke off before its end".to_owned(),
    };
    let done = match last_good {
        Some(at) if !story.steps[at].asked.is_empty() => "the tools it had asked for were its last work",
        Some(_) => "what was said before it is all there is",
        None => "nothing was ever answered",
    };
    let says = format!("the loop ended with success, but its last call {why} and none came back after it: {done}");
    vec![Found { level: Level::Bad, at: after, value: number(lost.len()), says }]
}

#[cfg(test)]
mod tests {
    use super::super::made::Loop;
    use super::*;
    use crate::trace::TraceEnded;

    fn ended(outcome: TraceOutcome, exit_code: i32) -> TraceEnded {
        TraceEnded { outcome, exit_code: Some(exit_code), signal: None, reason: None, lost_calls: 0 }
    }

    #[test]
    fn success_after_a_cut_answer_is_none() {
        let mut made = Loop::new();
        made.bash("ls", "a").fails("");
        let ok = ended(TraceOutcome::Ok, 0);
        let look = |made: &Loop, ended: Option<&TraceEnded>| signal(&Story { steps: &made.steps, ended });
        let found = look(&made, Some(&ok));
        assert_eq!((found.len(), found[0].at), (1, 1));
        assert!(found[0].says.contains("broke off before its end"), "{}", found[0].says);
        assert_eq!(look(&made, Some(&ended(TraceOutcome::Failed, 1))), [], "it says so itself");
        assert_eq!(look(&made, None), [], "it is still running");
        made.says("done", "");
        assert_eq!(look(&made, Some(&ok)), [], "asked again, and answered");
    }
}
