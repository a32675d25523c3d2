//! Calls that failed and were made again.

use super::{Found, Level, Story, number};

pub fn signal(story: &Story<'_>) -> Vec<Found> {
    let failed = |at: &usize| !story.steps[*at].is_answered();
    let failures: Vec<usize> = (0..story.steps.len()).filter(failed).collect();
    let retries = story.steps.iter().filter(|step| step.retry_of.is_some()).count();
    let Some(first) = failures.first() else { return Vec::new() };
    let level = if failures.len() * 2 > story.steps.len() { Level::Warning } else { Level::Info };
    let why = story.steps[*first].error.clone().unwrap_or_else(|| match story.steps[*first].status {
        Some(status) if status >= 400 => format!("status {status}"),
        _ => "the answer broke off".to_owned(),
    });
    let says = format!(
        "{} of {} calls failed, {retries} were made again; the first: {why}",
        failures.len(),
        story.steps.len()
    );
    vec![Found { level, at: *first, value: number(failures.len()), says }]
}

#[cfg(test)]
mod tests {
    use super::super::made::Loop;
    use super::*;
    use crate::trace::CallId;

    #[test]
    fn failures_are_counted_and_the_first_is_told() {
        let mut made = Loop::new();
        made.bash("ls", "a").fails("overloaded_error").fails("").says("done", "");
        made.steps[3].retry_of = Some(CallId(2));
        let found = signal(&Story { steps: &made.steps, ended: None });
        assert_eq!((found[0].at, found[0].value, found[0].level), (1, 2.0, Level::Info));
        assert_eq!(found[0].says, "2 of 4 calls failed, 1 were made again; the first: overloaded_error try later");
        assert_eq!(signal(&Story { steps: &made.steps[..1], ended: None }), []);
    }
}
