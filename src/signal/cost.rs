//! What an outcome cost: money that bought success, and money that bought nothing.

use super::{Found, Level, Story};
use crate::trace::TraceOutcome;

pub fn signal(story: &Story<'_>) -> Vec<Found> {
    let Some(ended) = story.ended else { return Vec::new() };
    let priced: Vec<(usize, f64)> =
        story.steps.iter().enumerate().filter_map(|(at, step)| Some((at, step.cost_usd?))).collect();
    let Some((at, _)) = priced.last().copied() else { return Vec::new() };
    let usd: f64 = priced.iter().map(|(_, usd)| usd).sum();
    let open = story.steps.iter().filter(|step| step.is_answered() && step.cost_usd.is_none()).count();
    let more = if open > 0 { format!(", {open} answered calls without a price not counted") } else { String::new() };
    let well = ended.outcome == TraceOutcome::Ok && ended.exit_code.unwrap_or(0) == 0;
    let (level, bought) = match well {
        true => (Level::Info, "a trace that ended well"),
        false => (Level::Warning, "a trace that did not end well"),
    };
    vec![Found { level, at, value: usd, says: format!("{usd:.4} USD for {bought}{more}") }]
}

#[cfg(test)]
mod tests {
    use super::super::made::Loop;
    use super::*;
    use crate::trace::TraceEnded;

    #[test]
    fn the_price_of_an_outcome_is_told_once_it_is_known() {
        let ended = |outcome| TraceEnded { outcome, exit_code: None, signal: None, reason: None, lost_calls: 0 };
        let mut made = Loop::new();
        made.bash("ls", "a").says("done", "");
        let (ok, failed) = (ended(TraceOutcome::Ok), ended(TraceOutcome::Failed));
        assert_eq!(signal(&Story { steps: &made.steps, ended: Some(&ok) }), [], "no price, no word");
        made.steps[0].cost_usd = Some(0.25);
        let found = signal(&Story { steps: &made.steps, ended: Some(&failed) });
        assert_eq!((found[0].value, found[0].level), (0.25, Level::Warning));
        assert!(found[0].says.contains("1 answered calls without a price"), "{}", found[0].says);
        assert_eq!(signal(&Story { steps: &made.steps, ended: Some(&ok) })[0].level, Level::Info);
        assert_eq!(signal(&Story { steps: &made.steps, ended: None }), []);
    }
}
