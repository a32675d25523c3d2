//! Tools that fail more often than they work.

use super::{Found, Level, Story, number};

/// Fewer results than this say nothing about a share.
const RESULTS: usize = 5;
/// The share of errors from which on it is worth a look.
const SHARE: f64 = 0.3;

pub fn signal(story: &Story<'_>) -> Vec<Found> {
    let mut seen = std::collections::HashSet::new();
    let mut results = 0;
    let mut errors = Vec::new();
    for (at, step) in story.steps.iter().enumerate() {
        for result in &step.results {
            // A call that is asked again brings its results again.
            if result.id.is_empty() || seen.insert(&result.id) {
                results += 1;
                if result.is_error {
                    errors.push(at);
                }
            }
        }
    }
    let share = number(errors.len()) / number(results.max(1));
    match errors.first() {
        Some(first) if results >= RESULTS && share >= SHARE => {
            let level = if share >= 2.0 * SHARE { Level::Bad } else { Level::Warning };
            let says = format!("{} of {results} tool results were errors", errors.len());
            vec![Found { level, at: *first, value: share, says }]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::Loop;
    use super::*;

    #[test]
    fn a_share_is_counted_once_per_result() {
        let mut made = Loop::new();
        for n in 0..10 {
            let result = if n % 2 == 0 { Err("no") } else { Ok("yes") };
            made.tools("bash", &[(&format!("do {n}"), result)]).fails("overloaded_error");
        }
        made.says("done", "");
        let found = signal(&Story { steps: &made.steps, ended: None });
        assert_eq!((found[0].value, found[0].level), (0.5, Level::Warning));
        assert_eq!(found[0].says, "5 of 10 tool results were errors");

        let mut short = Loop::new();
        short.tools("bash", &[("a", Err("no"))]).says("done", "");
        assert_eq!(signal(&Story { steps: &short.steps, ended: None }), []);
    }
}
