//! Replay as a person meets it: the built binary, a real loop (the demo's agent), real stores.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod asked;
mod bad;
mod exact;
mod forked;
mod tools;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use assert_cmd::Command;
use serde_json::Value;

pub const SHOP: &str = r#"{"A-17": {"item": "kettle", "late": true, "paid": 12.5}}"#;

/// The binary, in a folder of its own and with nothing of the caller's environment that it would listen to.
pub fn holdback(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("holdback").unwrap();
    command.current_dir(folder);
    for name in ["HOLDBACK_STORE", "HOLDBACK_TOKEN", "OPENAI_BASE_URL", "HOLDBACK_DEMO_MODEL", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.env("HOLDBACK_STORE", folder.join("../store"));
    command
}

pub fn binary() -> String {
    assert_cmd::cargo::cargo_bin("holdback").display().to_string()
}

/// A shop with an order in it, and a store beside it.
pub struct Stage {
    pub folder: tempfile::TempDir,
    pub shop: PathBuf,
}

impl Stage {
    pub fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shop = folder.path().join("shop");
        std::fs::create_dir(&shop).unwrap();
        let stage = Stage { folder, shop };
        stage.open_shop(SHOP);
        stage
    }

    pub fn open_shop(&self, orders: &str) {
        std::fs::write(self.shop.join("orders.json"), orders).unwrap();
    }

    /// Records the agent at a task, and opens the shop again as it was.
    pub fn record(&self, name: &str, prompt: &str) {
        let agent = binary();
        let words = ["record", "-q", "--name", name, "--", &agent, "demo", "agent", prompt];
        holdback(&self.shop).args(words).output().unwrap();
        self.open_shop(SHOP);
    }

    /// Runs a command that prints one JSON document; its exit code and the document.
    pub fn json(&self, args: &[&str]) -> (i32, Value) {
        let output = holdback(&self.shop).args(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let document = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{args:?}: {error}\n{text}\n{}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().unwrap(), document)
    }

    /// What a command says to people.
    pub fn says(&self, args: &[&str]) -> (i32, String) {
        let output = holdback(&self.shop).args(args).output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (output.status.code().unwrap(), text)
    }
}

/// Another provider: a proxy of our own with mock models, in a store of its own.
pub struct Provider {
    child: Child,
    pub url: String,
}

impl Provider {
    pub fn start(folder: &Path) -> Self {
        let mut child = std::process::Command::new(binary())
            .args(["--store", "elsewhere", "proxy", "--mock", "--listen", "127.0.0.1:0"])
            .current_dir(folder)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
        Provider { child, url }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
