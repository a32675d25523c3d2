//! Exports as their real writers lay them out: what the seeds don't show, because a seed shows a format once.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::io::Cursor;
use std::path::Path;

use holdback::import::{self, Kind, Settings, Shape, Source, TakeError, Taker, Tally};
use holdback::price::Table;
use holdback::provider;
use holdback::redact::{Redactor, Rules};
use holdback::trace::{Content, Role, Timestamp, TraceEvent, TraceId, What, Wire};
use holdback::trial::{Ending, Outcome, RunRecord};
use serde_json::json;

#[derive(Default)]
struct All {
    events: Vec<TraceEvent>,
    runs: Vec<RunRecord>,
    tallies: Vec<Tally>,
    errors: Vec<String>,
}

impl Taker for All {
    fn event(&mut self, event: &TraceEvent) -> Result<(), TakeError> {
        self.events.push(event.clone());
        Ok(())
    }
    fn run(&mut self, run: RunRecord) -> Result<(), TakeError> {
        self.runs.push(run);
        Ok(())
    }
}

/// A call: its trace, what its request says (role and text), tokens read, written and from the cache, cost.
type Call = (TraceId, Vec<(Role, String)>, [Option<u64>; 3], Option<f64>);

impl All {
    fn calls(&self) -> Vec<Call> {
        let mut found = Vec::new();
        for event in &self.events {
            match &event.what {
                What::CallStarted(_, call) => {
                    let asked = provider::request(Wire::OpenaiChat, "/v1/chat/completions", &call.body).unwrap();
                    let said = asked.messages.iter().map(|message| (message.role, message.plain_text())).collect();
                    found.push((event.trace, said, [None; 3], None));
                }
                What::CallEnded(_, call) => {
                    let (usage, last) = (call.summary.usage, found.last_mut().unwrap());
                    (last.2, last.3) = ([usage.input, usage.output, usage.cache_read], call.summary.cost_usd);
                }
                _ => {}
            }
        }
        found
    }

    fn traces(&self) -> Vec<(TraceId, Option<TraceId>, Option<String>)> {
        let begun = self.events.iter().filter_map(|event| match &event.what {
            What::TraceStarted(about) => {
                Some((event.trace, about.parent.map(|(parent, _)| parent), about.name.clone()))
            }
            _ => None,
        });
        begun.collect()
    }
}

/// Imports files of one job; with bytes after a database's, those are its log.
fn import_all(files: &[(&str, &[u8])]) -> All {
    let (redactor, prices) = (Redactor::new(&Rules::default()).unwrap(), Table::embedded());
    let settings = Settings { redactor: &redactor, content: Content::Redacted, prices: &prices, settled: true };
    let (mut all, mut job) = (All::default(), import::Job::default());
    for (path, bytes) in files {
        let Kind::Known(format) = import::detect(&Shape::of(path, bytes)) else { panic!("{path}: not known") };
        let cut =
            bytes.windows(4).position(|four| four == [0x37, 0x7f, 0x06, 0x82]).filter(|_| import::is_database(bytes));
        let (file, log) = bytes.split_at(cut.unwrap_or(bytes.len()));
        let (mut file, mut log, mut from) = (Cursor::new(file), Cursor::new(log), *bytes);
        let mut source = Source {
            path,
            modified: Timestamp(1_700_000_000_000_000),
            from: &mut from,
            file: if import::is_database(bytes) { Some(&mut file) } else { None },
            beside: if cut.is_some() { Some(&mut log) } else { None },
        };
        let (tally, done) = import::import(format, &mut source, &settings, &mut job, &mut all);
        all.tallies.push(tally);
        all.errors.extend(done.err().map(|error| error.to_string()));
    }
    job.finish(&settings, &mut all).unwrap();
    all
}

fn one(path: &str, text: impl ToString) -> All {
    let all = import_all(&[(path, text.to_string().as_bytes())]);
    assert_eq!(all.errors, Vec::<String>::new(), "{path}");
    all
}

fn database() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/import/opencode.database.db")).unwrap()
}

#[test]
fn opencodes_database_is_read_with_what_waits_in_its_log() {
    let bytes = database();
    let all = import_all(&[("opencode.db", &bytes)]);
    assert_eq!(all.errors, Vec::<String>::new());
    let traces = all.traces();
    assert_eq!(traces.len(), 2, "a session in which nothing was said is none");
    assert_eq!((traces[0].1, traces[1].1, traces[0].2.as_deref()), (None, Some(traces[0].0), Some("look around")));
    let calls = all.calls();
    assert_eq!(calls.len(), 2);
    // The first prompt and the tool's output run over several pages.
    assert_eq!((calls[0].1[0].0, calls[0].1[0].1.len()), (Role::User, "hi, ".len() + 200 * "long ".len()));
    assert_eq!(calls[1].1.len(), 3);
    assert_eq!((calls[0].2, calls[0].3), ([Some(3), Some(1), Some(2)], Some(0.1)));
    assert_eq!((calls[1].2, calls[1].3), ([Some(30), Some(4), Some(0)], Some(0.2)));
    // Without the log there is what was in the file before.
    let log = bytes.windows(4).position(|four| four == [0x37, 0x7f, 0x06, 0x82]).unwrap();
    assert_eq!(import_all(&[("opencode.db", &bytes[..log])]).calls().len(), 1);
    // A log whose last frame was cut off ends at the commit before: here there is none.
    assert_eq!(import_all(&[("opencode.db", &bytes[..bytes.len() - 1])]).calls().len(), 1);
}

#[test]
fn a_database_of_somebody_else_and_a_damaged_one_are_told_apart() {
    let mut bytes = database();
    let name = b"tablemessagemessage";
    let at = bytes.windows(name.len()).position(|part| part == name).unwrap();
    bytes[at..at + name.len()].copy_from_slice(b"tablemassagemassage");
    let log = bytes.windows(4).position(|four| four == [0x37, 0x7f, 0x06, 0x82]).unwrap();
    let all = import_all(&[("x.db", &bytes[..log])]);
    assert!(all.errors[0].contains("none of opencode's: it has no table \"message\""), "{:?}", all.errors);
    // A page in the middle that is gone costs what stood on it, and is counted.
    let mut bytes = database()[..log].to_vec();
    let texts = bytes.windows(9).position(|part| part == b"long long").unwrap() / 512 * 512;
    bytes[texts..texts + 4].copy_from_slice(&[0xff; 4]);
    let all = import_all(&[("opencode.db", &bytes)]);
    assert!(all.errors.is_empty() && all.tallies[0].damaged > 0, "{:?}", all.tallies);
}

#[test]
fn an_answer_that_had_not_ended_is_told_when_it_has() {
    let open = json!({ "info": { "id": "s", "time": { "created": 1_700_000_000_000_i64 } }, "messages": [
        { "info": { "id": "1", "role": "user", "time": { "created": 1_700_000_000_000_i64 } }, "parts": [{ "type": "text", "text": "hi" }] },
        { "info": { "id": "2", "role": "assistant", "modelID": "m", "time": { "created": 1_700_000_001_000_i64 } }, "parts": [] } ] });
    let all = one("s.json", &open);
    assert_eq!((all.calls().len(), all.tallies[0].skipped["answers that had not ended"]), (0, 1));
    let mut ended = open;
    ended["messages"][1]["info"]["time"]["completed"] = 1_700_000_002_000_i64.into();
    ended["messages"][1]["info"]["tokens"] =
        json!({ "total": 20, "input": 10, "output": 3, "reasoning": 7, "cache": { "read": 0, "write": 0 } });
    assert_eq!(one("s.json", ended).calls()[0].2, [Some(10), Some(10), Some(0)]);
}

#[test]
fn opencodes_compactions_begin_a_new_history() {
    let message = |id: &str, role: &str, summary: bool, text: &str| {
        json!({ "info": { "id": id, "role": role, "summary": summary, "modelID": "m", "time": { "created": 1, "completed": 2 } },
            "parts": [{ "type": "text", "text": text }] })
    };
    let all = one(
        "s.json",
        json!({ "info": { "id": "s" }, "messages": [
        message("1", "user", false, "first"), message("2", "assistant", false, "old answer"), message("3", "assistant", true, "the sum of it"),
        message("4", "user", false, "next"), message("5", "assistant", false, "done") ] }),
    );
    let last: Vec<String> = all.calls()[2].1.iter().map(|(_, text)| text.clone()).collect();
    assert_eq!(last, ["What did we do so far?", "the sum of it", "next"]);
}

fn trajectory(version: &str, session: &str, more: serde_json::Value) -> serde_json::Value {
    let mut whole = json!({ "schema_version": version, "session_id": session, "agent": { "name": "terminus-2", "version": "1", "model_name": "p/m" },
        "steps": [
            { "step_id": 1, "timestamp": "2026-01-02T03:04:05Z", "source": "user", "message": "go" },
            { "step_id": 2, "timestamp": "2026-01-02T03:04:06Z", "source": "agent", "message": "on it",
              "tool_calls": [{ "tool_call_id": "c", "function_name": "bash", "arguments": {} }],
              "observation": { "results": [{ "source_call_id": "c", "content": "ok" }] },
              "metrics": { "prompt_tokens": 10, "completion_tokens": 2, "cached_tokens": 4 } } ] });
    whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    whole
}

#[test]
fn atif_sub_agents_and_continuations_in_files_of_their_own_belong_together() {
    let mut main = trajectory("ATIF-v1.6", "run", json!({ "continued_trajectory_ref": "trajectory.cont-1.json" }));
    main["steps"][1]["observation"]["results"][0]["subagent_trajectory_ref"] =
        json!([{ "session_id": "run-sub", "trajectory_path": "trajectory.sub.json" }]);
    // A segment counts its steps anew, and may have the same session.
    let mut segment = trajectory("ATIF-v1.6", "run", json!({}));
    segment["steps"][1]["timestamp"] = "2026-01-02T03:05:06Z".into();
    let mut copied = segment["steps"][1].clone();
    copied["is_copied_context"] = true.into();
    segment["steps"].as_array_mut().unwrap().push(copied);
    let sub = trajectory("ATIF-v1.6", "run-sub", json!({}));
    let texts = [main, segment, sub].map(|whole| whole.to_string());
    let all = import_all(&[
        ("job/agent/trajectory.json", texts[0].as_bytes()),
        ("job/agent/trajectory.sub.json", texts[2].as_bytes()),
        ("job/agent/trajectory.cont-1.json", texts[1].as_bytes()),
    ]);
    let traces = all.traces();
    assert_eq!((traces.len(), traces[0].1, traces[1].1), (2, None, Some(traces[0].0)));
    assert_eq!(all.calls().len(), 3);
    assert!(all.calls().iter().all(|call| call.2 == [Some(6), Some(2), Some(4)]));
    let ids: std::collections::HashSet<_> = all
        .events
        .iter()
        .filter_map(|event| match &event.what {
            What::CallStarted(id, _) => Some(*id),
            _ => None,
        })
        .collect();
    assert_eq!(ids.len(), 3);
    // Alone, a sub-agent's file still says whose it is.
    let alone = trajectory(
        "ATIF-v1.7",
        "run-sub",
        json!({ "agent": { "name": "x", "model_name": "m", "extra": { "parent_session_id": "run" } } }),
    );
    assert_eq!(one("elsewhere/t.json", alone).traces()[0].1, Some(traces[0].0));
}

#[test]
fn every_version_of_atif_is_read_by_its_own_rules() {
    for minor in 0..=8 {
        let mut whole = trajectory(&format!("ATIF-v1.{minor}"), "s", json!({}));
        let steps = whole["steps"].as_array_mut().unwrap();
        if minor < 3 {
            // One reference, no list of them.
            steps[1]["observation"]["results"][0]["subagent_trajectory_ref"] = json!({ "trajectory_path": "x.json" });
        }
        if minor >= 6 {
            steps[1]["message"] = json!([{ "type": "text", "text": "on it" }, { "type": "image", "source": { "media_type": "image/png", "path": "a.png" } }]);
        }
        if minor >= 7 {
            steps.push(json!({ "step_id": 3, "source": "agent", "message": "dispatched", "llm_call_count": 0 }));
            whole["session_id"] = json!(null);
            whole["trajectory_id"] = "t".into();
            let mut inner = trajectory(&format!("ATIF-v1.{minor}"), "s", json!({ "trajectory_id": "inner" }));
            inner["agent"]["name"] = "helper".into();
            whole["subagent_trajectories"] = json!([inner]);
        }
        let all = one("t.json", whole);
        assert_eq!((all.calls().len(), all.traces().len()), (1 + usize::from(minor >= 7), 1), "1.{minor}");
    }
    let newer = import_all(&[("t.json", trajectory("ATIF-v2.0", "s", json!({})).to_string().as_bytes())]);
    assert!(newer.errors[0].contains("ATIF-v2.0"), "{:?}", newer.errors);
}

#[test]
fn langfuse_rows_of_a_table_export_are_traces_again() {
    let row = |id: &str, kind: &str, parent: Option<&str>| {
        json!({ "id": id, "trace_id": "t1", "project_id": "p", "type": kind, "parent_observation_id": parent, "name": id,
            "start_time": "2026-01-02 03:04:05.123000", "end_time": "2026-01-02 03:04:06.000000", "level": "DEFAULT",
            "input": "[{\"role\":\"user\",\"content\":\"hi\"}]", "output": "{\"role\":\"assistant\",\"content\":\"ho\"}",
            "provided_model_name": "gpt-4o", "model_parameters": "{\"temperature\":0}", "trace_name": "checkout", "user_id": "u",
            "usage_details": { "input": 3, "output": 1, "total": 4 }, "cost_details": { "total": 0.25 }, "total_cost": 0.25 })
    };
    let lines = format!("{}\n{}\n", row("a", "SPAN", None), row("b", "GENERATION", Some("a")));
    let all = one("observations_v2/1.jsonl", lines);
    assert_eq!(all.traces()[0].2.as_deref(), Some("checkout"));
    let calls = all.calls();
    assert_eq!((calls.len(), calls[0].2[0], calls[0].3), (1, Some(3), Some(0.25)));
    assert_eq!(calls[0].1, [(Role::User, "hi".to_owned())]);
}

#[test]
fn langsmiths_trees_of_runs_and_documents_over_many_lines_are_read() {
    let tree = json!({ "id": "r", "trace_id": "r", "run_type": "chain", "name": "agent", "inputs": {}, "start_time": "2026-01-02T03:04:05", "child_runs": [
        { "id": "k", "run_type": "llm", "name": "ChatOpenAI", "inputs": { "messages": [{ "role": "user", "content": "hi" }] },
          "outputs": { "choices": [{ "message": { "role": "assistant", "content": "ho" }, "finish_reason": "stop" }], "usage_metadata": { "input_tokens": 3, "output_tokens": 1 } },
          "extra": { "metadata": { "ls_model_name": "gpt-4o", "ls_provider": "openai" } }, "start_time": "2026-01-02T03:04:05" } ] });
    for text in [
        tree.to_string(),
        serde_json::to_string_pretty(&tree).unwrap(),
        serde_json::to_string_pretty(&json!({ "runs": [tree] })).unwrap(),
    ] {
        let all = one("runs.json", text);
        assert_eq!((all.traces().len(), all.calls().len(), all.tallies[0].damaged), (1, 1, 0));
        assert_eq!(all.calls()[0].2, [Some(3), Some(1), None]);
    }
}

#[test]
fn phoenix_answers_and_tables_are_spans() {
    let attributes = json!({ "openinference.span.kind": "LLM", "llm.model_name": "gpt-4o", "llm.token_count.prompt": 9, "llm.token_count.completion": 2,
        "llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": "hello" });
    let page = json!({ "data": [{ "id": "U3Bhbjox", "name": "step", "context": { "trace_id": "0016ad7b1bb8d9c0000000000000000b", "span_id": "0000000000000221" },
        "span_kind": "LLM", "parent_id": null, "start_time": "2026-01-02T03:04:05.544000+00:00", "end_time": "2026-01-02T03:04:06+00:00",
        "status_code": "OK", "status_message": "", "attributes": attributes, "events": [] }], "next_cursor": null });
    let mut row = json!({ "name": "step", "span_kind": "LLM", "parent_id": null, "start_time": 1_767_323_045_544_i64, "end_time": 1_767_323_046_000_i64,
        "status_code": "OK", "context.span_id": "0000000000000221", "context.trace_id": "0016ad7b1bb8d9c0000000000000000b" });
    row["attributes.llm.model_name"] = "gpt-4o".into();
    row["attributes.llm.token_count.prompt"] = 9.into();
    row["attributes.llm.token_count.completion"] = 2.into();
    row["attributes.llm.input_messages"] = json!([{ "message.role": "user", "message.content": "hello" }]);
    row["attributes.openinference.span.kind"] = "LLM".into();
    for text in
        [page.to_string(), serde_json::to_string_pretty(&page).unwrap(), format!("{row}\n"), json!([row]).to_string()]
    {
        let all = one("spans.json", &text);
        let calls = all.calls();
        assert_eq!((calls.len(), calls[0].2), (1, [Some(9), Some(2), None]), "{text}");
        assert_eq!(calls[0].1, [(Role::User, "hello".to_owned())], "{text}");
    }
}

#[test]
fn openhands_sdk_events_of_one_response_are_one_call() {
    let at = |second: u32| format!("2026-01-02T03:04:{second:02}");
    let action = |id: &str, call: &str, second: u32, thought: &str| {
        json!({ "kind": "ActionEvent", "id": id, "timestamp": at(second), "source": "agent", "llm_response_id": "r1", "tool_name": "terminal", "tool_call_id": call,
            "thought": if thought.is_empty() { json!([]) } else { json!([{ "type": "text", "text": thought }]) },
            "tool_call": { "id": call, "name": "terminal", "arguments": "{\"command\":\"ls\"}", "origin": "completion" } })
    };
    let observed = |id: &str, call: &str| {
        json!({ "kind": "ObservationEvent", "id": id, "timestamp": at(4), "source": "environment", "tool_name": "terminal", "tool_call_id": call,
            "observation": { "kind": "TerminalObservation", "content": [{ "type": "text", "text": "a.txt" }], "is_error": false } })
    };
    let history = json!([
        { "kind": "SystemPromptEvent", "id": "s", "timestamp": at(1), "source": "agent", "system_prompt": { "type": "text", "text": "Be kind." }, "tools": [] },
        { "kind": "MessageEvent", "id": "u", "timestamp": at(1), "source": "user", "llm_message": { "role": "user", "content": [{ "type": "text", "text": "look" }] } },
        action("a1", "c1", 3, "I look."), action("a2", "c2", 3, ""), observed("o1", "c1"), observed("o2", "c2"),
        { "kind": "Condensation", "id": "x", "timestamp": at(5), "source": "environment", "forgotten_event_ids": ["a1", "o1", "o2"], "summary": "there is a.txt", "summary_offset": 2, "llm_response_id": "r0" },
        { "kind": "MessageEvent", "id": "m", "timestamp": at(6), "source": "agent", "llm_response_id": "r2", "llm_message": { "role": "assistant", "content": [{ "type": "text", "text": "done" }] } },
        { "kind": "ConversationStateUpdateEvent", "id": "z", "timestamp": at(7), "source": "environment", "key": "stats" } ]);
    let counts = |id: &str, read: u64| json!({ "model": "m", "prompt_tokens": read, "completion_tokens": 2, "cache_read_tokens": 1, "response_id": id });
    let row = json!({ "instance_id": "i", "history": history, "metadata": { "llm": { "model": "litellm_proxy/m" } }, "test_result": {}, "error": null,
        "metrics": { "token_usages": [counts("r1", 10), counts("r2", 20)], "costs": [{ "cost": 0.1 }, { "cost": 0.2 }] } });
    let all = one("output.jsonl", format!("{row}\n"));
    let calls = all.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!((calls[0].2, calls[0].3, calls[1].3), ([Some(9), Some(2), Some(1)], Some(0.1), Some(0.2)));
    let second: Vec<&str> = calls[1].1.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(second, ["Be kind.", "look", "there is a.txt"]);
}

#[test]
fn what_a_simulated_user_does_with_its_own_tools_is_not_what_the_agent_reads() {
    let all = one(
        "tau2.json",
        json!({ "info": { "agent_info": { "llm": "m" }, "environment_info": { "domain_name": "telecom" } }, "simulations": [
        { "id": "s", "task_id": "1", "trial": 0, "termination_reason": "user_stop", "reward_info": { "reward": 1.0 }, "messages": [
            { "role": "assistant", "content": "Hi!" },
            { "role": "user", "content": null, "tool_calls": [{ "id": "u1", "name": "toggle_wifi", "arguments": {}, "requestor": "user" }] },
            { "role": "tool", "id": "u1", "content": "wifi is on", "requestor": "user", "error": false },
            { "role": "user", "content": "It is on now." },
            { "role": "assistant", "content": "Good.", "usage": { "prompt_tokens": 5, "completion_tokens": 1 }, "timestamp": "2026-01-02T03:04:05", "generation_time_seconds": 1.5 } ] } ] }),
    );
    let calls = all.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].1, [(Role::Assistant, "Hi!".to_owned()), (Role::User, "It is on now.".to_owned())]);
    assert_eq!(all.runs[0].trials[0].outcome, Outcome::Pass);
}

#[test]
fn harbor_counts_a_reward_only_where_harbor_does() {
    let trial = |name: &str, reward: Option<f64>, exception: Option<&str>| {
        json!({ "id": "x", "task_name": "t", "trial_name": name, "task_checksum": "c", "source": "terminal-bench", "agent_info": { "name": "a", "version": "1", "model_info": { "name": "m", "provider": null } },
            "verifier_result": reward.map(|reward| json!({ "rewards": { "reward": reward } })), "agent_result": null,
            "exception_info": exception.map(|kind| json!({ "exception_type": kind, "exception_message": "why", "exception_traceback": "", "occurred_at": "2026-01-02T03:04:05Z" })),
            "step_results": [{ "step_name": "one", "agent_result": { "n_input_tokens": 10, "n_cache_tokens": 4, "n_output_tokens": 2, "cost_usd": 0.1 } },
                             { "step_name": "two", "agent_result": { "n_input_tokens": 10, "n_cache_tokens": 4, "n_output_tokens": 2, "cost_usd": 0.1 } }],
            "started_at": "2026-01-02T03:04:05Z", "finished_at": "2026-01-02T03:04:06Z", "config": { "job_id": "j" } })
    };
    for (reward, exception, outcome) in [
        (Some(1.0), None, Outcome::Pass),
        (Some(0.0), None, Outcome::Fail),
        (Some(1.0), Some("AgentTimeoutError"), Outcome::Pass),
        (None, Some("AgentTimeoutError"), Outcome::Fail),
        (None, Some("ContextWindowExceededError"), Outcome::Fail),
        (Some(0.0), Some("ApiRateLimitError"), Outcome::Invalid),
        (Some(0.0), Some("NonZeroAgentExitCodeError"), Outcome::Invalid),
        (None, Some("VerifierTimeoutError"), Outcome::Invalid),
        (None, None, Outcome::Invalid),
    ] {
        let all = one("j/t__1/result.json", trial("t__1", reward, exception));
        let trial = &all.runs[0].trials[0];
        assert_eq!(trial.outcome, outcome, "{reward:?} {exception:?}");
        assert_eq!((trial.usage.input, trial.usage.cache_read, trial.usage.output), (Some(12), Some(8), Some(4)));
        assert!((trial.cost_usd.unwrap() - 0.2).abs() < 1e-9);
        assert_eq!(matches!(trial.ending, Ending::TimedOut { .. }), exception == Some("AgentTimeoutError"));
    }
}

/// Clocks of two machines differ, jump, or were never set: nothing ends before it began, and nothing lasts for ages.
#[test]
fn clocks_that_go_wrong_make_no_wrong_durations() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/import");
    let times = [
        ("2026-01-02T03:04:06", "2026-01-01T00:00:00"),
        ("2026-01-02T03:04:05", "9999-12-31T23:59:59"),
        ("2026-01-02T03:04:0", "0001-01-01T00:00:0"),
        ("1700000001000", "1600000001000"),
        ("1700000000000", "9700000000000"),
        ("1700000002000", "-5"),
    ];
    let mut calls = 0;
    for entry in std::fs::read_dir(seeds).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for (right, wrong) in times {
            let all = import_all(&[(&name, text.replace(right, wrong).as_bytes())]);
            let mut begun = std::collections::HashMap::new();
            for event in &all.events {
                assert!((0..=253_402_300_799_999_999).contains(&event.at.0), "{name}: {}", event.at.0);
                match &event.what {
                    What::CallStarted(call, _) => drop(begun.insert(*call, event.at)),
                    What::CallEnded(call, ended) => {
                        let lasted = event.at.0 - begun[call].0;
                        assert!(lasted >= 0, "{name}: {lasted}");
                        let lasted = u64::try_from(lasted).unwrap();
                        assert!(ended.chunks.iter().all(|chunk| chunk.at <= lasted), "{name}: {:?}", ended.chunks);
                        calls += 1;
                    }
                    _ => {}
                }
            }
            for trial in all.runs.iter().flat_map(|run| &run.trials) {
                assert!(trial.duration_us < 100_000_000_000_000_000, "{name}: {}", trial.duration_us);
            }
        }
    }
    assert!(calls > 100, "{calls}");
}

#[test]
fn cassettes_hold_packed_bytes_as_base64_in_yaml() {
    let answer = json!({ "id": "x", "object": "chat.completion", "model": "gpt-4o", "choices": [{ "index": 0, "message": { "role": "assistant", "content": "ho" }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11 } })
    .to_string();
    let gzip = {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packer, answer.as_bytes()).unwrap();
        packer.finish().unwrap()
    };
    let mut br = Vec::new();
    brotli::BrotliCompress(&mut answer.as_bytes(), &mut br, &brotli::enc::BrotliEncoderParams::default()).unwrap();
    for (coding, bytes) in [("gzip", gzip), ("br", br)] {
        let packed = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
        let (first, second) = packed.split_at(packed.len() / 2);
        let cassette = format!(
            "interactions:\n- request:\n    body: '{{\"model\": \"gpt-4o\", \"messages\": [{{\"role\": \"user\", \"content\": \"hi\"}}]}}'\n    headers:\n      content-type:\n      - application/json\n    method: POST\n    uri: http://127.0.0.1:1/v1/chat/completions\n  response:\n    body:\n      string: !!binary |\n        {first}\n        {second}\n    headers:\n      content-encoding:\n      - {coding}\n    status:\n      code: 200\n      message: OK\nversion: 1\n"
        );
        let all = one("c.yaml", cassette);
        assert_eq!(all.calls()[0].2, [Some(9), Some(2), None], "{coding}");
        assert_eq!(all.calls()[0].1, [(Role::User, "hi".to_owned())]);
    }
}

#[test]
fn what_promptfoo_took_from_its_own_cache_was_not_spent() {
    let row = |usage: serde_json::Value| {
        json!({ "promptIdx": 0, "testIdx": 0, "testCase": { "vars": { "q": 1 } }, "prompt": { "raw": "hi", "label": "hi" }, "provider": { "id": "openai:gpt-4o", "label": "" },
            "response": { "output": "ho", "cached": true, "tokenUsage": usage }, "success": true, "score": 1, "failureReason": 0, "latencyMs": 3, "cost": 0, "namedScores": {} })
    };
    let all = one(
        "results.json",
        json!({ "evalId": "eval-x", "results": { "version": 3, "timestamp": "2026-01-02T03:04:05.000Z", "prompts": [], "results": [
        row(json!({ "cached": 40, "total": 40 })),
        row(json!({ "prompt": 9, "completion": 5, "total": 14, "numRequests": 1, "completionDetails": { "reasoning": 3, "acceptedPrediction": 0 } })) ],
        "stats": { "successes": 2, "failures": 0, "errors": 0 } }, "config": {}, "shareableUrl": null }),
    );
    assert_eq!((all.runs[0].trials[0].usage.input, all.runs[0].trials[0].usage.cache_read), (None, None));
    let second = all.runs[0].trials[1].usage;
    assert_eq!((second.input, second.output, second.reasoning), (Some(9), Some(5), Some(3)));
}

#[test]
fn aiders_counts_are_read_and_a_case_that_threw_is_no_failure() {
    let case = json!({ "testdir": "tmp.benchmarks/x", "testcase": "bowling", "model": "m", "edit_format": "diff", "tests_outcomes": [false, true], "cost": 0.1, "duration": 12.5,
        "prompt_tokens": 900, "completion_tokens": 40, "thinking_tokens": 32000, "chat_hashes": [] });
    let folder = "2026-01-02-03-04-05--run/python/exercises/practice/bowling/.aider.results.json";
    let all = one(folder, case);
    let trial = &all.runs[0].trials[0];
    assert_eq!((trial.task.as_str(), trial.outcome), ("python/bowling", Outcome::Pass));
    assert_eq!((trial.usage.input, trial.usage.output, trial.usage.reasoning), (Some(900), Some(40), None));
    let all = one(folder, json!({ "exception": "litellm.Timeout: …" }));
    let trial = &all.runs[0].trials[0];
    assert_eq!((trial.task.as_str(), trial.outcome), ("python/bowling", Outcome::Invalid));
}
