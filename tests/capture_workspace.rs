//! Which files a loop changes, call by call, and that nothing of the user's repository is touched but its objects.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a test reads its environment and says what it skips"
)]

mod fake;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use holdback::capture::child::{Output, Spec, spawn};
use holdback::capture::record::{Record, record};
use holdback::capture::{Brakes, ProxyConfig, Upstreams};
use holdback::redact::{Redactor, Rules};
use holdback::trace::{Content, Note, What};
use serde_json::{Value, json};

fn sh(folder: &Path, script: &str) -> String {
    let variables = ["PATH", "HOME"].iter().filter_map(|name| Some(((*name).into(), std::env::var_os(name)?)));
    let command = ["sh", "-ec", script].map(str::to_owned).to_vec();
    let spec = Spec {
        cwd: Some(folder.to_owned()),
        stdout: Output::Memory(1 << 20),
        ..Spec::new(command, variables.collect())
    };
    let exit = spawn(&spec).unwrap().wait(None).unwrap();
    assert!(exit.success(), "{script}");
    String::from_utf8(exit.stdout.bytes).unwrap()
}

/// A repository with two files in it and one that git ignores.
fn repository() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let tools = sh(folder.path(), "command -v git || true; command -v curl || true");
    if tools.lines().count() < 2 {
        println!("skipped: git and curl are not both here");
        return None;
    }
    sh(
        folder.path(),
        "git init -q .; git config user.email a@b; git config user.name a; mkdir sub .hb; echo one > a; echo two > b; \
         printf 'ignored\\n' > .gitignore; git add a b .gitignore; git commit -qm first; echo loose > untracked",
    );
    Some(folder)
}

async fn recorded(folder: &Path, script: &str, content: Content, workspace: bool) -> Vec<Note> {
    let memory = fake::Memory::default();
    let mut proxy = ProxyConfig::new(Upstreams::known(), Arc::new(Redactor::new(&Rules::default()).unwrap()));
    proxy.content = content;
    let ask = r#"ask() { curl -sS --fail -o /dev/null "$HOLDBACK_URL/up/openai/v1/chat/completions" -H 'content-type: application/json' -d '{"model":"mock/echo","messages":[{"role":"user","content":"hi"}]}'; sleep 0.3; }"#;
    let record_this = Record {
        command: ["sh", "-ec", &format!("{ask}\n{script}")].map(str::to_owned).to_vec(),
        name: None,
        tags: Vec::new(),
        cwd: folder.to_owned(),
        environment: Vec::new(),
        brakes: Brakes::default(),
        proxy,
        workspace,
        intercept: None,
        tools: Vec::new(),
        leave_out: Some(folder.join(".hb")),
        played: None,
    };
    let came = record(record_this, memory.clone()).await.unwrap();
    assert_eq!(came.exit.code, Some(0));
    let events = memory.events.lock().unwrap().clone();
    let notes = events.into_iter().filter_map(|event| match event.what {
        What::Noted(note) if note.kind == "files" => Some(note),
        _ => None,
    });
    notes.collect()
}

const WORK: &str = "ask; echo more >> a; rm b; echo x > sub/new; echo x > ignored; echo x > .hb/log; ask; ask; \
                    ln -s a link; echo ghp_0123456789abcdefghijABCDEFGHIJ012345 > 'ghp_0123456789abcdefghijABCDEFGHIJ012345'";

fn changes(note: &Note) -> Vec<(String, String)> {
    let field = |change: &Value, name: &str| change[name].as_str().unwrap().to_owned();
    let list = note.data["changed"].as_array().unwrap();
    list.iter().map(|change| (field(change, "status"), field(change, "path"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_has_its_changes_and_the_repository_stays_as_it_was() {
    let Some(folder) = repository() else { return };
    let state = "git for-each-ref; cat .git/config; cksum .git/index; ls .git .git/hooks";
    let before = sh(folder.path(), &format!("git status >/dev/null; {state}"));
    let notes = recorded(folder.path(), WORK, Content::Redacted, true).await;
    assert_eq!(sh(folder.path(), state), before);
    let pair = |status: &str, path: &str| (status.to_owned(), path.to_owned());
    assert_eq!(notes.len(), 3, "{notes:#?}");
    assert!(changes(&notes[0]).is_empty() && notes[0].call.is_none());
    assert_eq!(changes(&notes[1]), [pair("M", "a"), pair("D", "b"), pair("A", "sub/new")]);
    assert_eq!(notes[1].data["changed"][0]["size"], 9);
    assert_eq!(notes[1].data["before"], notes[0].data["tree"]);
    assert!(notes[1].call.is_some() && notes[1].data["next"].is_string());
    let last = changes(&notes[2]);
    assert_eq!((last.len(), &last[1]), (2, &pair("A", "link")));
    assert!(!format!("{notes:?}").contains("ghp_0123456789"), "a name that is a secret is masked: {notes:?}");
    assert_ne!(notes[1].call, notes[2].call);
    // The state can be had back.
    let tree = notes[1].data["tree"].as_str().unwrap();
    let files = sh(folder.path(), &format!("git ls-tree -r --name-only {tree}; git show {tree}:a"));
    assert_eq!(files, ".gitignore\na\nsub/new\nuntracked\none\nmore\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_content_only_counts_are_kept_and_it_can_be_off() {
    let Some(folder) = repository() else { return };
    let notes = recorded(folder.path(), "ask; echo more >> a; ask", Content::None, true).await;
    assert_eq!(notes[1].data["counts"], json!({ "M": 1 }));
    assert!(notes.iter().all(|note| note.data.get("changed").or(note.data.get("tree")).is_none()), "{notes:?}");
    assert!(recorded(folder.path(), "ask; echo more >> a; ask", Content::Full, false).await.is_empty());
    let nowhere = tempfile::tempdir().unwrap();
    fs::create_dir(nowhere.path().join(".hb")).unwrap();
    assert!(recorded(nowhere.path(), "ask; echo more > a", Content::Full, true).await.is_empty());
}
