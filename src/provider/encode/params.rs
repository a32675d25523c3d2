//! Parameters, from the names of one wire format to those of another.

use serde_json::{Map, Value, json};

use crate::trace::Wire;

/// What most models can be told, under nobody's names.
#[derive(Debug, Default)]
pub(super) struct Neutral {
    max_tokens: Option<Value>,
    temperature: Option<Value>,
    top_p: Option<Value>,
    top_k: Option<Value>,
    stop: Option<Value>,
    seed: Option<Value>,
    choice: Option<Choice>,
    /// A JSON schema that the answer has to fit, or `true` for any JSON.
    schema: Option<Value>,
}

#[derive(Debug)]
enum Choice {
    Auto,
    None,
    Any,
    Tool(String),
}

/// Names that change nothing about the answer, or belong to one provider's bookkeeping.
const OF_NO_MATTER: [&str; 17] = [
    "metadata",
    "client_metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "store",
    "stream_options",
    "include",
    "user",
    "service_tier",
    "cache_control",
    "labels",
    "parallel_tool_calls",
    "candidateCount",
    "n",
    "session_id",
    "user_prompt_id",
];

impl Neutral {
    pub(super) fn read(from: Wire, params: &Map<String, Value>, lost: &mut Vec<String>) -> Self {
        let mut neutral = Neutral::default();
        for (name, value) in params.iter().filter(|(_, value)| !value.is_null()) {
            let value = value.clone();
            match name.as_str() {
                "max_tokens" | "max_completion_tokens" | "max_output_tokens" | "maxOutputTokens" => {
                    neutral.max_tokens = Some(value);
                }
                "temperature" => neutral.temperature = Some(value),
                "top_p" | "topP" => neutral.top_p = Some(value),
                "top_k" | "topK" => neutral.top_k = Some(value),
                "stop" | "stop_sequences" | "stopSequences" => {
                    neutral.stop = Some(if value.is_array() { value } else { json!([value]) });
                }
                "seed" => neutral.seed = Some(value),
                "tool_choice" | "toolConfig" | "tool_config" => match choice(&value) {
                    Some(choice) => neutral.choice = Some(choice),
                    None => lost.push(format!("parameter {name}")),
                },
                "response_format" | "text" | "responseSchema" | "responseJsonSchema" | "responseMimeType" => {
                    neutral.schema = format(name, &value).or(neutral.schema.take());
                }
                name if OF_NO_MATTER.contains(&name) => {}
                _ => lost.push(format!("parameter {name} of {}", from.as_str())),
            }
        }
        neutral
    }

    /// Writes what there is, under the names of a wire format.
    pub(super) fn write(self, to: Wire, with_tools: bool, body: &mut Map<String, Value>, lost: &mut Vec<String>) {
        let mut params = Map::new();
        let (most, top_p, stop) = match to {
            Wire::Gemini => ("maxOutputTokens", "topP", Some("stopSequences")),
            Wire::AnthropicMessages => ("max_tokens", "top_p", Some("stop_sequences")),
            Wire::OpenaiResponses => ("max_output_tokens", "top_p", None),
            _ => ("max_tokens", "top_p", Some("stop")),
        };
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                params.insert(name.to_owned(), value);
            }
        };
        // Anthropic insists on one.
        let usual = (to == Wire::AnthropicMessages).then(|| json!(4096));
        put(most, self.max_tokens.or(usual));
        put("temperature", self.temperature);
        put(top_p, self.top_p);
        match (to, self.top_k) {
            (Wire::Gemini, top_k) => put("topK", top_k),
            (Wire::AnthropicMessages, top_k) => put("top_k", top_k),
            (_, Some(_)) => lost.push("parameter top_k".to_owned()),
            (_, None) => {}
        }
        match (stop, self.stop) {
            (Some(name), value) => put(name, value),
            (None, Some(_)) => lost.push("stop sequences".to_owned()),
            (None, None) => {}
        }
        match (to, self.seed) {
            (Wire::AnthropicMessages | Wire::OpenaiResponses, Some(_)) => lost.push("parameter seed".to_owned()),
            (_, seed) => put("seed", seed),
        }
        match (to, self.schema) {
            (_, None) => {}
            (Wire::AnthropicMessages, Some(_)) => lost.push("the format the answer has to have".to_owned()),
            (to, Some(schema)) => write_format(to, schema, &mut params),
        }
        if let Some(choice) = self.choice.filter(|_| with_tools) {
            write_choice(to, &choice, &mut params);
        }
        super::set_params(to, body, &params);
    }
}

fn choice(value: &Value) -> Option<Choice> {
    let word =
        value.as_str().or_else(|| value["type"].as_str()).or_else(|| value["functionCallingConfig"]["mode"].as_str());
    match word?.to_ascii_lowercase().as_str() {
        "auto" => Some(Choice::Auto),
        "none" => Some(Choice::None),
        "any" | "required" => Some(Choice::Any),
        "tool" | "function" => {
            let name = value["name"].as_str().or_else(|| value["function"]["name"].as_str())?;
            Some(Choice::Tool(name.to_owned()))
        }
        _ => None,
    }
}

fn write_choice(to: Wire, choice: &Choice, params: &mut Map<String, Value>) {
    let value = match (to, choice) {
        (Wire::AnthropicMessages, Choice::Auto) => json!({ "type": "auto" }),
        (Wire::AnthropicMessages, Choice::None) => json!({ "type": "none" }),
        (Wire::AnthropicMessages, Choice::Any) => json!({ "type": "any" }),
        (Wire::AnthropicMessages, Choice::Tool(name)) => json!({ "type": "tool", "name": name }),
        (Wire::Gemini, choice) => {
            let mode = match choice {
                Choice::Auto => "AUTO",
                Choice::None => "NONE",
                Choice::Any | Choice::Tool(_) => "ANY",
            };
            let mut config = json!({ "mode": mode });
            if let Choice::Tool(name) = choice {
                config["allowedFunctionNames"] = json!([name]);
            }
            params.insert("toolConfig".to_owned(), json!({ "functionCallingConfig": config }));
            return;
        }
        (_, Choice::Auto) => json!("auto"),
        (_, Choice::None) => json!("none"),
        (_, Choice::Any) => json!("required"),
        (Wire::OpenaiResponses, Choice::Tool(name)) => json!({ "type": "function", "name": name }),
        (_, Choice::Tool(name)) => json!({ "type": "function", "function": { "name": name } }),
    };
    params.insert("tool_choice".to_owned(), value);
}

/// The schema an answer has to fit; `true` for any JSON.
fn format(name: &str, value: &Value) -> Option<Value> {
    match name {
        "responseSchema" | "responseJsonSchema" => Some(value.clone()),
        "responseMimeType" => (value == "application/json").then_some(Value::Bool(true)),
        _ => {
            let format = value.get("format").unwrap_or(value);
            match format["type"].as_str()? {
                "json_object" => Some(Value::Bool(true)),
                "json_schema" => format.get("schema").or_else(|| format["json_schema"].get("schema")).cloned(),
                _ => None,
            }
        }
    }
}

fn write_format(to: Wire, schema: Value, params: &mut Map<String, Value>) {
    let any = schema == Value::Bool(true);
    match to {
        Wire::Gemini => {
            params.insert("responseMimeType".to_owned(), json!("application/json"));
            if !any {
                params.insert("responseJsonSchema".to_owned(), schema);
            }
        }
        Wire::OpenaiResponses => {
            let format = match any {
                true => json!({ "type": "json_object" }),
                false => json!({ "type": "json_schema", "name": "answer", "schema": schema }),
            };
            params.insert("text".to_owned(), json!({ "format": format }));
        }
        _ => {
            let format = match any {
                true => json!({ "type": "json_object" }),
                false => json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": schema } }),
            };
            params.insert("response_format".to_owned(), format);
        }
    }
}
