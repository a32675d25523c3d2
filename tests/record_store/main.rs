//! The real binary, a real store and everything that may happen to both: kill -9, a full disk, secrets, strangers, long runs.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_macros)]

#[path = "../fake/mod.rs"]
mod fake;

mod asked;
mod disk;
mod intercept;
mod killed;
mod planted;
mod secrets;
mod shadow;
mod shown;
mod soak;
mod strangers;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use fake::{Client, Fake};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::net::TcpStream;

pub const CHAT: &str = "/v1/chat/completions";

/// The binary, in a folder of its own, with nothing of the caller's environment that it would listen to.
pub fn holdback(folder: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("holdback"));
    command.current_dir(folder);
    for name in ["HOLDBACK_STORE", "HOLDBACK_TOKEN", "NO_COLOR"] {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars().filter(|(name, _)| name.ends_with("_BASE_URL") || name.ends_with("_API_BASE")) {
        command.env_remove(name);
    }
    command
}

/// What a command that goes well prints.
pub fn stdout(folder: &Path, args: &[&str]) -> Vec<u8> {
    let output = holdback(folder).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub fn json(folder: &Path, args: &[&str]) -> Value {
    serde_json::from_slice(&stdout(folder, args)).unwrap()
}

/// A child that is gone when the test is.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running `holdback proxy`.
pub struct Standing {
    pub child: Running,
    pub address: SocketAddr,
    said: JoinHandle<String>,
}

impl Standing {
    /// Starts it in a folder, with this fake behind every provider.
    pub fn start(folder: &Path, fake: &Fake, more: &[&str]) -> Self {
        let mut command = holdback(folder);
        command.args(["proxy", "--listen", "127.0.0.1:0"]);
        for name in ["openai", "anthropic", "gemini"] {
            command.args(["--upstream", &format!("{name}=http://{}", fake.address)]);
        }
        let mut child = command.args(more).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        let address =
            first.split("http://").nth(1).and_then(|rest| rest.split(' ').next()).and_then(|a| a.parse().ok());
        let said = std::thread::spawn(move || {
            let mut rest = String::new();
            let _ = lines.read_to_string(&mut rest);
            rest
        });
        Standing { child: Running(child), address: address.unwrap_or_else(|| panic!("{first}")), said }
    }

    pub async fn connect(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap(), buffer: Vec::new() }
    }

    /// Kilobytes of memory it holds.
    pub fn rss_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn kill_9(mut self) {
        self.child.0.kill().unwrap();
        self.child.0.wait().unwrap();
    }

    /// Tells it to stop and waits; what it said on stderr meanwhile.
    pub fn stop(mut self) -> String {
        let id = i32::try_from(self.child.0.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
        assert!(self.child.0.wait().unwrap().success());
        self.said.join().unwrap()
    }
}

/// Asks again and again until the answer is yes. Slow machines may take long; a test that hangs is no use either.
pub async fn until(what: &str, mut ask: impl FnMut() -> bool) {
    for _ in 0..600 {
        if ask() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it never came true that {what}");
}

/// Every file of a folder, however deep.
pub fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut waiting, mut all) = (vec![folder.to_owned()], Vec::new());
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            all.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    all
}
