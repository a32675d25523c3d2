//! Tools in replays: recorded results in their place, and no tool runs. The loop under test is this very program, run again with
//! [`AGENT`] set; its MCP server is a few lines of shell that count how often a tool really ran.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use holdback::capture::Fetcher;
use serde_json::{Value, json};

use super::{Stage, binary, holdback};

/// Makes this program the loop: `stdio`, `http`, `plain`, `parallel`.
const AGENT: &str = "HOLDBACK_TEST_AGENT";

const SERVER: &str = r#"
while IFS= read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  case $line in
    *'"initialize"'*) r='{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"shop","version":"1"}}';;
    *'"tools/list"'*) r='{"tools":[{"name":"refund","inputSchema":{"type":"object"}}]}';;
    *'"tools/call"'*) echo x >> "$COUNT"; n=$(wc -l < "$COUNT" | tr -d ' '); r="{\"content\":[{\"type\":\"text\",\"text\":\"refund number $n\"}]}";;
    *) continue;;
  esac
  printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$r"
done
"#;

const SCRIPT: &str = "turns:\n  - tools: [{name: mcp__shop__refund, arguments: {order: A-17, cents: 1250}}]\n  \
    - tools: [{name: mcp__shop__refund, arguments: {order: A-18, cents: 300}}]\notherwise: {text: Refunded both.}\n";

/// An MCP client, as small as can be.
struct Server {
    child: Child,
    /// Closed before the server is waited for: that is how it knows that nobody asks any more.
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    id: u64,
}

impl Server {
    fn start() -> Self {
        let command = std::env::var("TEST_MCP").unwrap();
        let mut child =
            Command::new("sh").args(["-c", &command]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut server = Server { child, to, from, id: 0 };
        server.ask(
            "initialize",
            json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}),
        );
        server.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        server
    }

    fn say(&mut self, line: &Value) {
        writeln!(self.to.as_mut().unwrap(), "{line}").unwrap();
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.id += 1;
        self.say(&json!({"jsonrpc": "2.0", "id": self.id, "method": method, "params": params}));
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{method}: {error}: {line:?}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.to = None;
        let _ = self.child.wait();
    }
}

async fn post(fetcher: &Fetcher, url: &str, body: &Value) -> Value {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let told = fetcher.fetch("POST", url, &headers, body.to_string().into(), Duration::from_secs(60)).await.unwrap();
    let text = String::from_utf8_lossy(&told.body).into_owned();
    assert!(told.status < 300, "{url}: {} {text}", told.status);
    serde_json::from_str(&text).unwrap()
}

/// A loop over Chat Completions; the tools are `call`'s.
async fn converse(call: &mut (dyn AsyncTools + Send)) {
    let fetcher = Fetcher::default();
    let url = format!("{}/chat/completions", std::env::var("OPENAI_BASE_URL").unwrap());
    let model = std::env::var("TEST_MODEL").unwrap();
    let mut messages = vec![json!({"role": "user", "content": "Refund both."})];
    for _ in 0..8 {
        let answer = post(&fetcher, &url, &json!({"model": model, "messages": messages})).await;
        let message = answer["choices"][0]["message"].clone();
        messages.push(message.clone());
        let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
        if calls.is_empty() {
            return;
        }
        for asked in calls {
            let arguments: Value = serde_json::from_str(asked["function"]["arguments"].as_str().unwrap()).unwrap();
            let result = call.call(&fetcher, arguments).await;
            messages.push(json!({"role": "tool", "tool_call_id": asked["id"], "content": result}));
        }
    }
    panic!("it never ended");
}

type Told<'a> = std::pin::Pin<Box<dyn Future<Output = String> + Send + 'a>>;

trait AsyncTools {
    fn call<'a>(&'a mut self, fetcher: &'a Fetcher, arguments: Value) -> Told<'a>;
}

fn text_of(answer: &Value) -> String {
    let result = &answer["result"];
    format!(
        "{}{}",
        result["content"][0]["text"].as_str().unwrap(),
        if result["isError"] == true { " (error)" } else { "" }
    )
}

impl AsyncTools for Server {
    fn call<'a>(&'a mut self, _: &'a Fetcher, arguments: Value) -> Told<'a> {
        let answer = self.ask("tools/call", json!({"name": "refund", "arguments": arguments}));
        Box::pin(async move { text_of(&answer) })
    }
}

/// Tools over HTTP: an MCP server, or a plain service.
struct Web {
    url: String,
    plain: bool,
    id: u64,
}

impl AsyncTools for Web {
    fn call<'a>(&'a mut self, fetcher: &'a Fetcher, arguments: Value) -> Told<'a> {
        self.id += 1;
        Box::pin(async move {
            if self.plain {
                return post(fetcher, &format!("{}/refunds", self.url), &arguments).await.to_string();
            }
            let params = json!({"name": "refund", "arguments": arguments});
            text_of(
                &post(
                    fetcher,
                    &self.url,
                    &json!({"jsonrpc": "2.0", "id": self.id, "method": "tools/call", "params": params}),
                )
                .await,
            )
        })
    }
}

/// No test: the loop, where [`AGENT`] says so.
#[test]
fn agent() {
    let Ok(kind) = std::env::var(AGENT) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let web = |plain| {
        let url = std::env::var("HOLDBACK_TOOL_SHOP").or_else(|_| std::env::var("TEST_URL")).unwrap();
        Web { url, plain, id: 10 }
    };
    match kind.as_str() {
        "stdio" => {
            let mut server = Server::start();
            let tools = server.ask("tools/list", json!({}));
            assert_eq!(tools["result"]["tools"][0]["name"], "refund", "{tools}");
            runtime.block_on(converse(&mut server));
        }
        "http" => runtime.block_on(async {
            let mut web = web(false);
            let greeting = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}});
            post(&Fetcher::default(), &web.url, &greeting).await;
            converse(&mut web).await;
        }),
        "plain" => runtime.block_on(converse(&mut web(true))),
        "parallel" => runtime.block_on(async {
            let all: Vec<_> = (0..6).map(|_| tokio::spawn(async { converse(&mut Parts).await })).collect();
            for one in all {
                one.await.unwrap();
            }
        }),
        other => panic!("{other}"),
    }
}

/// A tool of the loop's own.
struct Parts;

impl AsyncTools for Parts {
    fn call<'a>(&'a mut self, _: &'a Fetcher, arguments: Value) -> Told<'a> {
        Box::pin(async move { format!("done: {arguments}") })
    }
}

/// A stage with a script for the model and a server that counts.
struct Bench {
    stage: Stage,
}

impl Bench {
    fn set() -> Self {
        let stage = Stage::set();
        std::fs::write(stage.folder.path().join("model.yaml"), SCRIPT).unwrap();
        std::fs::write(stage.folder.path().join("server.sh"), SERVER).unwrap();
        Bench { stage }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.stage.folder.path().join(name)
    }

    /// How often a tool of the stdio server really ran.
    fn ran(&self) -> usize {
        std::fs::read_to_string(self.path("count")).map_or(0, |text| text.lines().count())
    }

    /// Runs holdback with the loop's environment; exit code and what it said.
    fn run(&self, kind: &str, more: &[(&str, String)], args: &[&str]) -> (i32, String, String) {
        let tape = format!("'{}' tool-tape --server shop -- sh '{}'", binary(), self.path("server.sh").display());
        let mut command = holdback(&self.stage.shop);
        command.env(AGENT, kind).env("COUNT", self.path("count")).env("TEST_MCP", tape);
        command.env("TEST_MODEL", format!("mock/script:{}", self.path("model.yaml").display()));
        command.envs(more.iter().map(|(name, value)| (*name, value.clone())));
        let output = command.args(args).output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    fn replay(&self, kind: &str, more: &[(&str, String)], args: &[&str]) -> (i32, Value) {
        let args = [&["replay", "tools", "--json"], args].concat();
        let (code, out, err) = self.run(kind, more, &args);
        (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {code}\n{out}\n{err}")))
    }

    fn record(&self, kind: &str, more: &[(&str, String)], args: &[&str]) {
        let this = std::env::current_exe().unwrap().display().to_string();
        let before = [&["record", "-q", "--name", "tools"], args].concat();
        let command = ["--", &this, "--exact", "tools::agent", "--nocapture"];
        let (code, out, err) = self.run(kind, more, &[&before[..], &command[..]].concat());
        assert_eq!(code, 0, "{out}\n{err}");
    }
}

#[test]
fn no_tool_of_an_mcp_server_runs_in_a_replay() {
    let bench = Bench::set();
    bench.record("stdio", &[], &[]);
    assert_eq!(bench.ran(), 2);
    for _ in 0..2 {
        let (code, report) = bench.replay("stdio", &[], &["--tape-tools"]);
        assert_eq!(
            (code, report["divergences"].as_u64(), report["matched"].as_u64()),
            (0, Some(0), Some(3)),
            "{report:#}"
        );
    }
    assert_eq!(bench.ran(), 2, "what was recorded stood in for it");
    // Without it the tools run and answer otherwise than they did: that is where the replay ends.
    let (code, report) = bench.replay("stdio", &[], &[]);
    assert_eq!((code, bench.ran()), (1, 3), "{report:#}");
    let (code, report) = bench.replay("stdio", &[], &["--tape-tools=refund=live"]);
    assert_eq!((code, bench.ran()), (1, 4), "{report:#}");
    let (_, shown) = bench.stage.json(&["traces", "show", "last", "--json"]);
    assert!(shown.to_string().contains("live_tool"), "a live one is marked: {shown:#}");
}

#[test]
fn results_are_read_from_the_conversation_where_nothing_stood_before_the_server() {
    let bench = Bench::set();
    let bare = ("TEST_MCP", format!("sh '{}'", bench.path("server.sh").display()));
    bench.record("stdio", &[bare], &[]);
    let (code, report) = bench.replay("stdio", &[], &["--tape-tools"]);
    assert_eq!((code, report["divergences"].as_u64(), bench.ran()), (0, Some(0), 2), "{report:#}");
}

#[test]
fn a_call_that_nobody_recorded_is_a_divergence_and_gets_an_error() {
    let bench = Bench::set();
    bench.record("stdio", &[], &[]);
    // The model on the tape asks as it did; the loop calls the tool with other arguments.
    let twisted = "sed -u 's/A-18/A-19/'";
    let tape =
        format!("{twisted} | '{}' tool-tape --server shop -- sh '{}'", binary(), bench.path("server.sh").display());
    let more = [("TEST_MCP", tape)];
    let (code, report) = bench.replay("stdio", &more, &["--tape-tools"]);
    assert_eq!((code, bench.ran()), (1, 2), "{report:#}");
    let first = &report["first"];
    assert_eq!(first["kind"], "tool", "{report:#}");
    assert!(
        first["says"].as_str().unwrap().contains("never called with these arguments")
            && first["says"].to_string().contains("A-19")
    );
    // In recorded order it gets the result of the call that stood in its place.
    let (code, report) = bench.replay("stdio", &more, &["--tape-tools=fifo"]);
    assert_eq!((code, report["divergences"].as_u64(), bench.ran()), (0, Some(0), 2), "{report:#}");
    let (code, _, err) = bench.run("stdio", &[], &["replay", "tools", "--tape-tools=sometimes"]);
    assert!(code == 2 && err.contains("NAME=live"), "{err}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_client_that_hides_its_environment_from_its_servers_hides_nothing() {
    let bench = Bench::set();
    let bare = format!(
        "exec env -i PATH=\"$PATH\" COUNT=\"$COUNT\" '{}' tool-tape -- sh '{}'",
        binary(),
        bench.path("server.sh").display()
    );
    let more = [("TEST_MCP", bare)];
    bench.record("stdio", &more, &[]);
    let (code, report) = bench.replay("stdio", &more, &["--tape-tools"]);
    assert_eq!((code, report["divergences"].as_u64(), bench.ran()), (0, Some(0), 2), "{report:#}");
}

/// A service that counts: an MCP server at `/mcp`, a plain one elsewhere, a model whose answers are numbered at `/v1`.
fn serve() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counts = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let counts = counts.clone();
            std::thread::spawn(move || answer(stream.unwrap(), &counts));
        }
    });
    (url, count)
}

fn answer(mut stream: std::net::TcpStream, counts: &AtomicUsize) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(given) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = given.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let reply = if first.contains("/v1/chat/completions") {
        model(&asked, counts)
    } else if asked["method"] == "initialize" {
        json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"protocolVersion": "2025-06-18"}})
    } else {
        let number = counts.fetch_add(1, Ordering::SeqCst) + 1;
        match asked["jsonrpc"] == "2.0" {
            true => {
                json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"content": [{"type": "text", "text": format!("refund number {number}")}]}})
            }
            false => json!({"refund": number, "of": asked}),
        }
    };
    let text = reply.to_string();
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    );
}

/// Everybody asks the same first and is told something else.
fn model(asked: &Value, counts: &AtomicUsize) -> Value {
    let number = counts.fetch_add(1, Ordering::SeqCst);
    let message = match asked["messages"].as_array().unwrap().len() {
        1 => json!({"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function",
            "function": {"name": "part", "arguments": json!({"number": number}).to_string()}}]}),
        _ => json!({"role": "assistant", "content": format!("Part done, answer {number}.")}),
    };
    json!({"id": format!("c{number}"), "object": "chat.completion", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
}

#[test]
fn tools_behind_http_answer_from_the_recording() {
    for (kind, path) in [("http", "/mcp"), ("plain", "")] {
        let bench = Bench::set();
        let (url, count) = serve();
        let given = format!("shop={url}{path}");
        bench.record(kind, &[], &["--tool-url", &given]);
        assert_eq!(count.load(Ordering::SeqCst), 2, "{kind}");
        let (code, report) = bench.replay(kind, &[], &["--tape-tools"]);
        assert_eq!(
            (code, report["divergences"].as_u64(), report["matched"].as_u64()),
            (0, Some(0), Some(3)),
            "{kind} {report:#}"
        );
        assert_eq!(count.load(Ordering::SeqCst), 2, "{kind}: no tool ran");
        let (code, report) = bench.replay(kind, &[], &["--tape-tools=shop=live"]);
        assert_eq!((code, count.load(Ordering::SeqCst)), (1, 3), "{kind} {report:#}");
    }
    let bench = Bench::set();
    for (given, word) in [("shop", "NAME=URL"), ("openai=http://127.0.0.1:1", "taken"), ("a=b", "no address")] {
        let (code, _, err) = bench.run("stdio", &[], &["record", "--tool-url", given, "--", "true"]);
        assert!(code == 2 && err.contains(word), "{given}: {err}");
    }
}

#[test]
fn conversations_side_by_side_that_begin_alike_find_their_own_answers() {
    let bench = Bench::set();
    let (url, _) = serve();
    let more = [("TEST_MODEL", "m".to_owned())];
    bench.record("parallel", &more, &["--upstream", &format!("openai={url}")]);
    for _ in 0..2 {
        let (code, report) = bench.replay("parallel", &more, &[]);
        assert_eq!(
            (code, report["divergences"].as_u64(), report["matched"].as_u64()),
            (0, Some(0), Some(12)),
            "{report:#}"
        );
    }
}

#[test]
fn a_suite_takes_the_tools_from_the_tape_too() {
    let bench = Bench::set();
    bench.record("stdio", &[], &[]);
    let this = std::env::current_exe().unwrap().display().to_string();
    let tape = format!("'{}' tool-tape --server shop -- sh '{}'", binary(), bench.path("server.sh").display());
    let model = format!("mock/script:{}", bench.path("model.yaml").display());
    let suite = |tools: &str| {
        json!({"suite": "s", "target": {"loop": {
            "command": [this, "--exact", "tools::agent", "--nocapture"], "sandbox": "none",
            "env": {AGENT: "stdio", "TEST_MCP": tape, "TEST_MODEL": model, "COUNT": bench.path("count")}}},
            "tasks": [{"id": "a", "tape": "tools", "tape_tools": [tools]}]})
    };
    for (tools, code, ran) in [("strict", 0, 2), ("live", 1, 3)] {
        std::fs::write(bench.stage.shop.join("s.yaml"), suite(tools).to_string()).unwrap();
        let (exit, document) = bench.stage.json(&["eval", "s.yaml", "-q", "--json"]);
        let divergences = document["run"]["trials"][0]["replayed"]["divergences"].as_u64();
        assert_eq!((exit, divergences == Some(0), bench.ran()), (code, code == 0, ran), "{document:#}");
    }
    std::fs::write(bench.stage.shop.join("s.yaml"), suite("now and then").to_string()).unwrap();
    let (exit, said) = bench.stage.says(&["eval", "s.yaml"]);
    assert!(exit == 2 && said.contains("NAME=live"), "{said}");
}

#[test]
fn outside_of_holdback_the_stand_in_is_the_server() {
    let bench = Bench::set();
    let mut command = Command::new(binary());
    command.args(["tool-tape", "--", "sh"]).arg(bench.path("server.sh")).env("COUNT", bench.path("count"));
    command.env_remove("HOLDBACK_TOOLS").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let call =
        json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "refund", "arguments": {}}});
    writeln!(child.stdin.take().unwrap(), "{call}").unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.contains("refund number 1") && said.contains("\"id\":5"), "{said}");
    assert!(Path::new(&bench.path("count")).exists());
}

#[test]
fn a_client_without_a_key_is_given_a_dummy() {
    let stage = Stage::set();
    stage.record("refund", "Order A-17 came late, refund it.");
    let shell = format!(
        "test -n \"$OPENAI_API_KEY\" && test -z \"$ANTHROPIC_API_KEY\" && '{}' demo agent 'Order A-17 came late, refund it.'",
        binary()
    );
    let args = ["replay", "refund", "--json", "--", "sh", "-c", &shell];
    let output =
        holdback(&stage.shop).env_remove("OPENAI_API_KEY").env_remove("ANTHROPIC_API_KEY").args(args).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), report["matched"].as_u64()), (Some(0), Some(3)), "{report:#}");
}
