//! The sub-agents of a trace as the tree they form, where the client names them in its calls.

use std::collections::HashMap;

use serde::Serialize;

use super::conversation::ShownCall;

/// A sub-agent and what it did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShownAgent {
    pub agent: String,
    /// The sub-agent that it works for; `None` for those of the first level.
    pub parent: Option<String>,
    /// From 1.
    pub depth: usize,
    pub calls: usize,
    pub failed_calls: usize,
    pub tokens: u64,
    pub cost_usd: Option<f64>,
}

/// The sub-agents that made these calls, each behind its parent. A parent that made no call itself is in the tree too.
pub fn tree(calls: &[ShownCall]) -> Vec<ShownAgent> {
    let mut all: Vec<ShownAgent> = Vec::new();
    let mut at: HashMap<&str, usize> = HashMap::new();
    for call in calls {
        let Some(agent) = &call.agent else { continue };
        for (name, parent) in [(call.parent_agent.as_deref(), None), (Some(agent), call.parent_agent.as_ref())] {
            let Some(name) = name else { continue };
            let place = *at.entry(name).or_insert_with(|| {
                all.push(nobody(name));
                all.len() - 1
            });
            if let Some(parent) = parent {
                all[place].parent.get_or_insert_with(|| parent.clone());
            }
        }
        let shown = &mut all[at[agent.as_str()]];
        shown.calls += 1;
        shown.failed_calls += usize::from(call.error.is_some());
        shown.tokens += call.usage.total();
        if let Some(cost) = call.cost_usd {
            *shown.cost_usd.get_or_insert(0.0) += cost;
        }
    }
    in_order(all)
}

fn nobody(name: &str) -> ShownAgent {
    ShownAgent { agent: name.to_owned(), parent: None, depth: 1, calls: 0, failed_calls: 0, tokens: 0, cost_usd: None }
}

/// Children behind their parents, in the order they came. What clients say of themselves may go round in circles: whoever is
/// in one stands on the first level.
fn in_order(all: Vec<ShownAgent>) -> Vec<ShownAgent> {
    let mut ordered = Vec::with_capacity(all.len());
    let mut placed = vec![false; all.len()];
    let mut waiting: Vec<(usize, usize)> = Vec::new();
    let children = |parent: &str, placed: &[bool]| -> Vec<usize> {
        (0..all.len()).filter(|at| !placed[*at] && all[*at].parent.as_deref() == Some(parent)).collect()
    };
    let roots = (0..all.len()).filter(|at| all[*at].parent.is_none()).chain(0..all.len());
    for root in roots {
        waiting.push((root, 1));
        while let Some((at, depth)) = waiting.pop() {
            if std::mem::replace(&mut placed[at], true) {
                continue;
            }
            ordered.push(ShownAgent { depth, ..all[at].clone() });
            waiting.extend(children(&all[at].agent, &placed).into_iter().rev().map(|child| (child, depth + 1)));
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str, parent: Option<&str>) -> ShownAgent {
        ShownAgent { parent: parent.map(str::to_owned), ..nobody(name) }
    }

    #[test]
    fn children_stand_behind_their_parents_and_circles_end() {
        let order = |list: &[(&str, Option<&str>)]| -> Vec<(String, usize)> {
            let all = list.iter().map(|(name, parent)| agent(name, *parent)).collect();
            in_order(all).into_iter().map(|agent| (agent.agent, agent.depth)).collect()
        };
        let named =
            |list: &[(&str, usize)]| list.iter().map(|(name, depth)| ((*name).to_owned(), *depth)).collect::<Vec<_>>();
        assert_eq!(
            order(&[("c", Some("a")), ("a", None), ("b", None), ("d", Some("c")), ("e", Some("a"))]),
            named(&[("a", 1), ("c", 2), ("d", 3), ("e", 2), ("b", 1)])
        );
        assert_eq!(order(&[("x", Some("y")), ("y", Some("x"))]), named(&[("x", 1), ("y", 2)]));
        assert_eq!(order(&[("me", Some("me"))]), named(&[("me", 1)]));
    }
}
