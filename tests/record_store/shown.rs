//! What the built binary shows of what only the recorder can know: sub-agents, and files that changed.

use super::*;
use crate::fake::{Act, chat};

const ANSWER: &str = r#"{"id":"c1","object":"chat.completion","model":"gpt-x","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":2}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn sub_agents_are_a_tree_inside_of_one_trace() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let proxy = Standing::start(folder.path(), &fake, &[]);
    // The main loop, one that it sent out, two that this one sent out, and one whose parent never says a word.
    let calls =
        [("", ""), ("scout", ""), ("reader", "scout"), ("scout", ""), ("writer", "scout"), ("odd", "silent"), ("", "")];
    for (at, (agent, parent)) in calls.iter().enumerate() {
        let mut headers = "X-Claude-Code-Session-Id: 5e551017\r\n".to_owned();
        for (name, value) in [("agent", agent), ("parent-agent", parent)] {
            if !value.is_empty() {
                headers.push_str(&format!("x-claude-code-{name}-id: {value}\r\n"));
            }
        }
        let body = chat(&[&format!("task {at}")]);
        assert_eq!(proxy.connect().await.post(CHAT, &headers, body.as_bytes()).await.unwrap().status, 200);
    }
    proxy.stop();
    let listed = json(folder.path(), &["traces", "ls", "--json"]);
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed:#}");
    let figure = |name: &str| listed[0][name].as_u64().unwrap();
    assert_eq!((figure("calls"), figure("agents"), figure("agent_depth")), (7, 5, 2), "{listed:#}");
    let shown = json(folder.path(), &["traces", "show", "last", "--json"]);
    let tree: Vec<_> = shown["agent_tree"].as_array().unwrap().iter().collect();
    let told: Vec<_> = tree
        .iter()
        .map(|agent| {
            (agent["agent"].as_str().unwrap(), agent["depth"].as_u64().unwrap(), agent["calls"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(told, [("scout", 1, 2), ("reader", 2, 1), ("writer", 2, 1), ("silent", 1, 0), ("odd", 2, 1)]);
    assert_eq!((tree[1]["parent"].as_str(), tree[0]["tokens"].as_u64()), (Some("scout"), Some(24)));
    let text = String::from_utf8(stdout(folder.path(), &["traces", "show", "last"])).unwrap();
    assert!(text.contains("5 sub-agents, 2 deep") && text.contains("agent reader"), "{text}");
    let list = String::from_utf8(stdout(folder.path(), &["traces"])).unwrap();
    assert!(list.contains("7 (5 agents)"), "{list}");
}

#[test]
fn changed_files_are_noted_unless_nobody_wants_to_know() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let git = |args: &[&str]| {
        let done =
            Command::new("git").current_dir(&work).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
        done.is_ok_and(|status| status.success())
    };
    if !git(&["init", "-q", "."]) {
        println!("skipped: no git here");
        return;
    }
    let objects = || files(&work.join(".git/objects")).len();
    for (name, more) in [("off", &["--no-workspace"][..]), ("on", &[])] {
        let before = objects();
        let mut command = holdback(&work);
        command.args(["--store", folder.path().join("store").to_str().unwrap(), "record", "--name", name]).args(more);
        let output = command.args(["--", "sh", "-c", &format!("echo {name} > file")]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let store = folder.path().join("store");
        let shown = json(&work, &["--store", store.to_str().unwrap(), "traces", "show", name, "--json"]);
        let notes: Vec<&Value> = shown["notes"].as_array().unwrap().iter().map(|note| &note[1]).collect();
        let noted = notes.iter().filter(|note| note["kind"] == "files").count();
        assert_eq!((noted > 0, objects() > before), (name == "on", name == "on"), "{name}: {shown:#}");
    }
}
