//! `holdback demo agent`: a small support agent, as anyone would write one: a loop over Chat Completions with three tools
//! that work on files in the current folder. It knows nothing of holdback; it reads OPENAI_BASE_URL like any other client.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};

use crate::capture::Fetcher;
use crate::cli::{Exit, Misuse, out};
use crate::provider;
use crate::trace::{Response, ToolCall, Wire};

/// The standing orders of the agent.
const ORDERS: &str = "You are the support agent of a small shop. Look orders up before you act on them, refund only what was \
                      paid, and tell the customer what you did.";

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
#[command(after_help = "Example: OPENAI_BASE_URL=http://127.0.0.1:4141/v1 holdback demo agent 'Refund order A-17'")]
pub struct Agent {
    /// What the customer wants
    prompt: String,
    /// The model to ask
    #[arg(long, env = "HOLDBACK_DEMO_MODEL", default_value = "mock/script:demo")]
    model: String,
    /// Where the model is
    #[arg(long, env = "OPENAI_BASE_URL", value_name = "URL")]
    base_url: Option<String>,
    /// Give up after so many calls of the model
    #[arg(long, default_value_t = 8)]
    max_turns: usize,
}

/// Runs the loop in the current folder. Exits with 1 when the agent gives up.
pub fn run(args: &Agent) -> anyhow::Result<Exit> {
    let Some(base_url) = &args.base_url else {
        return Err(Misuse("no model to ask: set OPENAI_BASE_URL, or run it behind `holdback record --`".into()).into());
    };
    let url = format!("{}/chat/completions", base_url.trim_end_matches('/'));
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(converse(args, &url))
}

async fn converse(args: &Agent, url: &str) -> anyhow::Result<Exit> {
    let fetcher = Fetcher::default();
    let mut messages =
        vec![json!({"role": "system", "content": ORDERS}), json!({"role": "user", "content": args.prompt})];
    for _ in 0..args.max_turns {
        let answer = ask(&fetcher, url, &args.model, &messages).await?;
        let Some(message) = &answer.message else { bail!("the model gave no answer") };
        let calls: Vec<&ToolCall> = message.tool_calls().collect();
        if calls.is_empty() {
            out::text(format!("{}\n", message.plain_text()))?;
            return Ok(Exit::Pass);
        }
        messages.push(spoken(&message.plain_text(), &calls));
        for call in calls {
            let result = use_tool(Path::new("."), &call.name, &call.arguments);
            let text = result.unwrap_or_else(|error| format!("error: {error:#}"));
            messages.push(json!({"role": "tool", "tool_call_id": call.id, "content": text}));
        }
    }
    eprintln!("gave up after {} calls of the model", args.max_turns);
    Ok(Exit::Regression)
}

async fn ask(fetcher: &Fetcher, url: &str, model: &str, messages: &[Value]) -> anyhow::Result<Response> {
    let request = json!({
        "model": model,
        "messages": messages,
        "tools": tools(),
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    let key = "Bearer demo-key-of-no-use".to_owned();
    let headers = vec![("content-type".to_owned(), "application/json".to_owned()), ("authorization".to_owned(), key)];
    let body = Bytes::from(serde_json::to_vec(&request)?);
    let told = fetcher.fetch("POST", url, &headers, body, PATIENCE).await?;
    let answer = provider::response(Wire::OpenaiChat, told.status, &told.headers, &told.body);
    if let Some(error) = &answer.error {
        bail!("the model answered {}: {}", told.status, error.message);
    }
    Ok(answer)
}

/// The assistant's turn as it goes back to the model.
fn spoken(text: &str, calls: &[&ToolCall]) -> Value {
    let calls: Vec<Value> = calls
        .iter()
        .map(|call| {
            let arguments = call.arguments.to_string();
            json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
        })
        .collect();
    let content = if text.is_empty() { Value::Null } else { Value::from(text) };
    json!({"role": "assistant", "content": content, "tool_calls": calls})
}

fn tools() -> Value {
    let tool = |name: &str, description: &str, properties: Value| {
        let required: Vec<&String> = properties.as_object().map(|all| all.keys().collect()).unwrap_or_default();
        let parameters = json!({"type": "object", "properties": properties, "required": required});
        json!({"type": "function", "function": {"name": name, "description": description, "parameters": parameters}})
    };
    json!([
        tool("lookup_order", "Looks an order up by its id.", json!({"id": {"type": "string"}})),
        tool(
            "refund_order",
            "Pays money back on an order.",
            json!({"amount": {"type": "number"}, "id": {"type": "string"}})
        ),
        tool("delete_order", "Deletes an order for good. Needs a manager.", json!({"id": {"type": "string"}})),
    ])
}

/// Does what the model asked for, on `orders.json` in the given folder.
fn use_tool(shop: &Path, name: &str, arguments: &Value) -> anyhow::Result<String> {
    let path = shop.join("orders.json");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut orders: Value = serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
    let id = arguments["id"].as_str().context("the argument `id` is missing")?.to_owned();
    let order = orders.get_mut(&id).with_context(|| format!("no order {id}"))?;
    match name {
        "lookup_order" => return Ok(order.to_string()),
        "refund_order" => {
            let amount = arguments["amount"].as_f64().context("the argument `amount` is missing")?;
            let paid = order["paid"].as_f64().unwrap_or(0.0);
            if amount > paid {
                bail!("{id} was paid with {paid}, {amount} can't be refunded");
            }
            order["refunded"] = json!(amount);
        }
        "delete_order" => bail!("a manager has to confirm this"),
        other => bail!("there is no tool {other}"),
    }
    let answer = order.to_string();
    fs::write(&path, serde_json::to_vec_pretty(&orders)?).with_context(|| format!("writing {}", path.display()))?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_work_on_the_shop_and_refuse_what_is_wrong() {
        let shop = tempfile::tempdir().unwrap();
        fs::write(shop.path().join("orders.json"), super::super::ORDERS_JSON).unwrap();
        let ask = |name: &str, arguments: Value| use_tool(shop.path(), name, &arguments);
        assert!(ask("lookup_order", json!({"id": "A-17"})).unwrap().contains("\"late\":true"));
        assert!(ask("refund_order", json!({"id": "A-17", "amount": 12.5})).unwrap().contains("\"refunded\":12.5"));
        for (name, arguments, complaint) in [
            ("lookup_order", json!({"id": "B-99"}), "no order B-99"),
            ("lookup_order", json!({}), "`id` is missing"),
            ("refund_order", json!({"id": "A-17", "amount": 99}), "can't be refunded"),
            ("delete_order", json!({"id": "A-17"}), "manager"),
            ("fly", json!({"id": "A-17"}), "no tool fly"),
        ] {
            let error = format!("{:#}", ask(name, arguments).unwrap_err());
            assert!(error.contains(complaint), "{error}");
        }
    }
}
