//! `holdback tool-tape`: stands before an MCP server. Under `holdback record` it keeps what the server answers, under `holdback
//! replay --tape-tools` it answers from the recording, and otherwise it is the server.

use std::collections::{HashMap, HashSet};
use std::io::BufRead;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};

use super::record::environment;
use super::{Exit, out};
use crate::capture::child::{self, Piped, Piping};
use crate::capture::{Fetcher, tools};
use crate::replay::CALL;

/// How far back we ask who started whom.
const MOST_ANCESTORS: usize = 64;
/// How long a word of ours may take: it goes to a holdback on this machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a server may take to end once nobody speaks to it.
const POLITE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
#[command(after_help = "Write it before the server's command where your agent's configuration names the server:\n  \
                  {\"mcpServers\": {\"shop\": {\"command\": \"holdback\", \"args\": [\"tool-tape\", \"--\", \"npx\", \"shop-server\"]}}}\n\
                  Outside of `holdback record` and `holdback replay` nothing is changed: the server takes its place.\n\n\
                  Example: holdback tool-tape --server shop -- python3 shop_server.py")]
pub struct ToolTape {
    /// The server's name in the recording [default: its program and first word]
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// The command of the MCP server (stdio), after `--`
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Stands before a server until the client hangs up.
pub fn run(args: &ToolTape) -> anyhow::Result<Exit> {
    let Some((replays, url)) = session() else {
        let error = child::become_it(&args.command);
        return Err(error).with_context(|| format!("starting {}", args.command[0]));
    };
    let server = args.server.clone().unwrap_or_else(|| called(&args.command));
    let teller = Teller::new(&server, &url)?;
    let mut stand = Stand {
        command: args.command.clone(),
        replays,
        heard: Arc::new(Mutex::new(Heard { keeps: !replays, ..Heard::default() })),
        ours: teller,
        theirs: Some(Teller::new(&server, &url)?),
        real: None,
        greeting: Vec::new(),
    };
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if !line.trim().is_empty() {
            stand.line(&line)?;
        }
    }
    Ok(stand.close())
}

/// Whether a holdback records us or replays, and where it is. Many clients give their servers next to nothing of their environment: then
/// whoever started us is asked, and who started them, where the system tells.
fn session() -> Option<(bool, String)> {
    let mut known = environment();
    let mut process = "self".to_owned();
    for _ in 0..MOST_ANCESTORS {
        let get = |name: &str| known.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        if let Some(mode) = get(tools::MODE) {
            let replays = match mode.as_str() {
                "record" => false,
                "replay" => true,
                _ => return None,
            };
            return Some((replays, get("HOLDBACK_URL")?));
        }
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // Behind the name of the program, which may have anything in it, stand its state and its parent.
        process = stat.rsplit(')').next()?.split_whitespace().nth(1)?.to_owned();
        let environ = std::fs::read(format!("/proc/{process}/environ")).ok()?;
        let pair = |variable: &[u8]| {
            let text = String::from_utf8_lossy(variable).into_owned();
            text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        known = environ.split(|byte| *byte == 0).filter_map(pair).collect();
    }
    None
}

/// Program and first word, without folders: what else stands there may be a secret, or differ from machine to machine.
fn called(command: &[String]) -> String {
    let short = |word: &String| word.rsplit('/').next().unwrap_or_default().to_owned();
    let first = command.iter().skip(1).find(|word| !word.starts_with('-'));
    command.first().into_iter().chain(first).map(short).collect::<Vec<_>>().join(" ")
}

/// Speaks to the holdback that records or replays.
struct Teller {
    server: String,
    url: String,
    fetcher: Fetcher,
    runtime: tokio::runtime::Runtime,
}

impl Teller {
    fn new(server: &str, url: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let url = format!("{url}{}", tools::PATH);
        Ok(Teller { server: server.to_owned(), url, fetcher: Fetcher::default(), runtime })
    }

    fn say(&self, mut word: Value) -> anyhow::Result<Value> {
        word["server"] = json!(self.server);
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let body = Bytes::from(word.to_string());
        let told = self.runtime.block_on(self.fetcher.fetch("POST", &self.url, &headers, body, PATIENCE))?;
        anyhow::ensure!(
            told.status < 300,
            "holdback answered {}: {}",
            told.status,
            String::from_utf8_lossy(&told.body)
        );
        if told.body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&told.body)?) }
    }
}

/// What is known of the talk with the real server.
#[derive(Default)]
struct Heard {
    keeps: bool,
    /// Requests under way: their method and parameters, by their id.
    open: HashMap<String, (String, Value)>,
    /// Ids whose answers the client has already.
    answered: HashSet<String>,
    /// Tools that promise structured content.
    structured: HashSet<String>,
}

fn locked(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The stand-in.
struct Stand {
    command: Vec<String>,
    replays: bool,
    heard: Arc<Mutex<Heard>>,
    ours: Teller,
    /// Goes to the thread that listens to the server.
    theirs: Option<Teller>,
    real: Option<(Piped, JoinHandle<()>)>,
    /// What the client opened with: a server that is started late has to hear it first.
    greeting: Vec<String>,
}

impl Stand {
    /// Deals with what the client says.
    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        match serde_json::from_str::<Value>(line) {
            Ok(Value::Array(several)) => several.into_iter().try_for_each(|one| self.message(one)),
            Ok(one) => self.message(one),
            Err(_) => self.pass(line),
        }
    }

    fn message(&mut self, message: Value) -> anyhow::Result<()> {
        let line = message.to_string();
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        let Some(id) = message.get("id").filter(|_| !method.is_empty()) else {
            let greets = method == "notifications/initialized";
            if !self.replays || self.real.is_some() {
                self.pass(&line)?;
            }
            if greets {
                self.greeting.push(line);
            }
            return Ok(());
        };
        let params = message.get("params").cloned().unwrap_or_default();
        let answer = if self.replays { self.ask(&method, &params) } else { None };
        if let Some(mut answer) = answer {
            self.complete(&method, &params, &mut answer);
            answer["jsonrpc"] = json!("2.0");
            answer["id"] = id.clone();
            if method == "initialize" {
                locked(&self.heard).answered.insert(id.to_string());
                self.greeting.push(line);
            }
            return out::text(format!("{answer}\n"));
        }
        locked(&self.heard).open.insert(id.to_string(), (method, params));
        self.pass(&line)
    }

    /// What the recording says; `None` where the real server is to be asked.
    fn ask(&self, method: &str, params: &Value) -> Option<Value> {
        match self.ours.say(json!({"method": method, "params": params})) {
            Ok(said) => said.get("answer").cloned(),
            Err(error) => {
                let why = format!("holdback could not be asked for a recorded result: {error:#}");
                Some(json!({"error": {"code": -32000, "message": why}}))
            }
        }
    }

    /// A result read from a conversation is text; clients want the structure that the tool promises.
    fn complete(&self, method: &str, params: &Value, answer: &mut Value) {
        let name = params["name"].as_str().unwrap_or_default();
        if method != CALL || !locked(&self.heard).structured.contains(name) {
            return;
        }
        let Some(result) = answer.get_mut("result").filter(|result| result.get("structuredContent").is_none()) else {
            return;
        };
        let text = result["content"][0]["text"].as_str().unwrap_or_default();
        if let Ok(Value::Object(structure)) = serde_json::from_str(text) {
            result["structuredContent"] = Value::Object(structure);
        }
    }

    /// Passes a line on to the real server, which is started when it is first needed.
    fn pass(&mut self, line: &str) -> anyhow::Result<()> {
        if self.real.is_none() {
            let (piped, from) = child::piped(&self.command).with_context(|| format!("starting {}", self.command[0]))?;
            let (heard, teller) = (self.heard.clone(), self.theirs.take());
            let listening = std::thread::spawn(move || listen(from, &heard, teller.as_ref()));
            self.real = Some((piped, listening));
            for line in &std::mem::take(&mut self.greeting) {
                self.write(line);
            }
        }
        self.write(line);
        Ok(())
    }

    /// A server that is gone is noticed by the client, to whom nobody answers.
    fn write(&mut self, line: &str) {
        if let Some((piped, _)) = &mut self.real {
            let _ = piped.write(format!("{line}\n").as_bytes());
        }
    }

    fn close(self) -> Exit {
        let Some((piped, listening)) = self.real else { return Exit::Pass };
        let code = piped.close(POLITE);
        let _ = listening.join();
        Exit::Child(code)
    }
}

/// Passes on what the server says, and keeps it first.
fn listen(from: Piping, heard: &Mutex<Heard>, teller: Option<&Teller>) {
    for line in from.lines() {
        let Ok(line) = line else { return };
        if let Ok(message) = serde_json::from_str::<Value>(&line)
            && let Some(id) = message.get("id").filter(|_| message.get("method").is_none())
        {
            let (asked, keeps, is_old) = {
                let mut heard = locked(heard);
                let asked = heard.open.remove(&id.to_string());
                let is_old = asked.is_none() && heard.answered.remove(&id.to_string());
                heard.structured.extend(promising(&message["result"]["tools"]));
                (asked, heard.keeps, is_old)
            };
            if is_old {
                continue;
            }
            if let (Some((method, params)), true, Some(teller)) = (asked, keeps, teller) {
                let answer = ["result", "error"].into_iter().find_map(|key| Some(json!({ key: message.get(key)? })));
                let word = json!({"method": method, "params": params, "answer": answer});
                if let Err(error) = teller.say(word) {
                    eprintln!("holdback: what {} answered to {method} was not kept: {error:#}", teller.server);
                }
            }
        }
        if out::text(format!("{line}\n")).is_err() {
            return;
        }
    }
}

/// Names of the tools that have an output schema.
fn promising(list: &Value) -> Vec<String> {
    let tools = list.as_array().into_iter().flatten().filter(|tool| tool.get("outputSchema").is_some());
    tools.filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_called_by_its_program_and_first_word() {
        for (command, name) in [
            (vec!["npx", "-y", "@shop/server", "--key", "sk-1"], "npx server"),
            (vec!["/opt/bin/shop"], "shop"),
            (vec!["python3", "-u", "/home/me/shop.py"], "python3 shop.py"),
        ] {
            assert_eq!(called(&command.into_iter().map(str::to_owned).collect::<Vec<_>>()), name);
        }
    }
}
