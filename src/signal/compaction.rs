//! A history that was thrown away for a summary: what the model knew before it may not know after.

use std::collections::HashMap;

use super::{Found, Level, Step, Story, number};

/// A conversation of fewer messages has nothing to compact.
const MESSAGES: usize = 10;

pub fn signal(story: &Story<'_>) -> Vec<Found> {
    // Per agent: how long the history was. Calls without tools (titles, routers, the summary itself) have their own.
    let mut lengths: HashMap<Option<&str>, usize> = HashMap::new();
    let mut found = Vec::new();
    let mains = story.steps.iter().enumerate().filter(|(_, step)| step.tools_offered > 0 && step.is_answered());
    for (at, step) in mains {
        let before = lengths.insert(step.agent.as_deref(), step.messages).unwrap_or(0);
        if before >= MESSAGES && step.messages * 2 <= before && goes_on(story.steps, at) {
            found.push((at, before, step.messages));
        }
    }
    let times = found.len();
    let tell = |(at, before, after)| Found {
        level: Level::Info,
        at,
        value: number(times),
        says: format!("the history was compacted from {before} messages to {after}"),
    };
    found.into_iter().map(tell).collect()
}

/// Whether the shorter history is the one that grows from here on, and not another conversation's beside it.
fn goes_on(steps: &[Step], at: usize) -> bool {
    let same = |step: &&Step| step.agent == steps[at].agent && step.tools_offered > 0 && step.is_answered();
    steps[at + 1..].iter().find(same).is_none_or(|next| next.messages < steps[at].messages * 2 + MESSAGES)
}

#[cfg(test)]
mod tests {
    use super::super::made::Loop;
    use super::*;

    #[test]
    fn a_history_that_starts_anew_is_told_and_a_growing_one_is_not() {
        let mut made = Loop::new();
        for n in 0..10 {
            made.bash(&format!("do {n}"), "done");
        }
        made.compacts().bash("do more", "done").bash("and more", "done");
        let found = signal(&Story { steps: &made.steps, ended: None });
        assert_eq!((found.len(), found[0].at), (1, 10));
        assert_eq!(found[0].says, "the history was compacted from 19 messages to 1");
        assert_eq!(signal(&Story { steps: &made.steps[..10], ended: None }), []);
    }
}
