//! How what is known of a trace adds up, record by record and segment by segment.

use crate::trace::Usage;

/// Adds one usage to another; what neither knows stays unknown.
pub fn add_usage(sum: &mut Usage, more: &Usage) {
    let add = |sum: &mut Option<u64>, more: Option<u64>| {
        if let Some(more) = more {
            *sum = Some(sum.unwrap_or(0).saturating_add(more));
        }
    };
    add(&mut sum.input, more.input);
    add(&mut sum.output, more.output);
    add(&mut sum.cache_read, more.cache_read);
    add(&mut sum.cache_write, more.cache_write);
    add(&mut sum.reasoning, more.reasoning);
}

/// A trace with more sub-agents than this has lost its mind; the rest is not told apart.
const MOST_AGENTS: usize = 1024;

/// Adds a sub-agent, and its parent.
pub fn add_agent(agents: &mut Vec<(String, Option<String>)>, agent: &str, parent: Option<&str>) {
    for (name, parent) in [(parent, None), (Some(agent), parent)] {
        let Some(name) = name else { continue };
        let parent = || parent.map(str::to_owned);
        match agents.iter().rposition(|(known, _)| known == name) {
            Some(at) => agents[at].1 = agents[at].1.take().or_else(parent),
            None if agents.len() < MOST_AGENTS => agents.push((name.to_owned(), parent())),
            None => {}
        }
    }
}

/// Later tags replace earlier ones of the same key.
pub fn merge_tags(tags: &mut Vec<(String, String)>, more: &[(String, String)]) {
    for (key, value) in more {
        match tags.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => known.clone_from(value),
            None => tags.push((key.clone(), value.clone())),
        }
    }
}
