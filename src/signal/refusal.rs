//! Answers in which the model, or a filter, declined.

use super::{Found, Level, Story, number};

pub fn signal(story: &Story<'_>) -> Vec<Found> {
    let refused: Vec<usize> = (0..story.steps.len()).filter(|at| story.steps[*at].refused).collect();
    let Some(first) = refused.first() else { return Vec::new() };
    // A refusal that ends the loop is what the user got.
    let last = refused.last() == story.steps.len().checked_sub(1).as_ref();
    let level = if last { Level::Bad } else { Level::Warning };
    let says = match refused.len() {
        1 => "the model refused once".to_owned(),
        times => format!("the model refused {times} times"),
    };
    vec![Found { level, at: *first, value: number(refused.len()), says }]
}

#[cfg(test)]
mod tests {
    use super::super::made::Loop;
    use super::*;

    #[test]
    fn a_refusal_at_the_end_is_worse_than_one_on_the_way() {
        let mut made = Loop::new();
        made.bash("ls", "a").refuses("I can't help with that.");
        let found = signal(&Story { steps: &made.steps, ended: None });
        assert_eq!((found[0].at, found[0].level), (1, Level::Bad));
        made.says("All right then.", "");
        assert_eq!(signal(&Story { steps: &made.steps, ended: None })[0].level, Level::Warning);
    }
}
