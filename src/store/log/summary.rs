//! What lists show of a trace, put together from the segments it is in.

use super::entry::{Status, TraceSummary};
use super::side::Part;
use super::sums::{add_agent, add_usage, merge_tags};
use crate::trace::{Content, Source, TraceId, Usage};

/// How deep a sub-agent is nested, from 1. What clients say of themselves may go round in circles: nobody is deeper than there
/// are agents.
fn depth(all: &[(String, Option<String>)], agent: &str) -> u64 {
    let (mut depth, mut at) = (1, agent);
    while depth < all.len() as u64 {
        let parent = all.iter().find(|(name, _)| name == at).and_then(|(_, parent)| parent.as_deref());
        let Some(parent) = parent else { break };
        (depth, at) = (depth + 1, parent);
    }
    depth
}

impl TraceSummary {
    /// Nothing known yet.
    pub fn new(id: TraceId) -> Self {
        TraceSummary {
            id,
            name: None,
            tags: Vec::new(),
            source: Source::default(),
            content: Content::default(),
            agent: None,
            started: Default::default(),
            last: Default::default(),
            status: Status::CutOff,
            outcome: None,
            exit_code: None,
            reason: None,
            calls: 0,
            failed_calls: 0,
            open_calls: 0,
            lost_calls: 0,
            usage: Usage::default(),
            cost_usd: None,
            unpriced_calls: 0,
            models: Vec::new(),
            agents: 0,
            agent_depth: 0,
            sub_agents: Vec::new(),
            error: None,
            stored: 0,
        }
    }

    /// Takes in what one more segment, begun later than those before, holds of the trace.
    pub(super) fn merge(&mut self, part: &Part, writer_lives: bool) {
        let first = self.calls == 0 && self.stored == 0;
        self.started = if first { part.first } else { self.started.min(part.first) };
        self.last = self.last.max(part.last);
        self.name = part.name.clone().or(self.name.take());
        self.agent = part.agent.clone().or(self.agent.take());
        merge_tags(&mut self.tags, &part.tags);
        if let Some((source, content)) = part.about {
            (self.source, self.content) = (source, content);
        }
        if let Some(ended) = &part.ended {
            self.outcome = Some(ended.outcome);
            self.exit_code = ended.exit_code;
            self.reason.clone_from(&ended.reason);
            self.lost_calls += ended.lost_calls;
        }
        self.status = match (self.outcome, writer_lives || self.status == Status::Live) {
            (Some(_), _) => Status::Ended,
            (None, true) => Status::Live,
            (None, false) => Status::CutOff,
        };
        self.calls += part.calls;
        self.failed_calls += part.failed;
        self.unpriced_calls += part.unpriced;
        self.stored += part.stored;
        add_usage(&mut self.usage, &part.usage);
        if let Some(cost) = part.cost_usd {
            *self.cost_usd.get_or_insert(0.0) += cost;
        }
        for model in &part.models {
            if !self.models.contains(model) {
                self.models.push(model.clone());
            }
        }
        for (agent, parent) in &part.agents {
            add_agent(&mut self.sub_agents, agent, parent.as_deref());
        }
        self.agents = self.sub_agents.len() as u64;
        self.agent_depth = self.sub_agents.iter().map(|(agent, _)| depth(&self.sub_agents, agent)).max().unwrap_or(0);
        if part.error.is_some() {
            self.error.clone_from(&part.error);
        }
    }
}
