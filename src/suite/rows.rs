//! Tasks from files of rows: JSONL with one task a line, CSV with one task a row.

use serde_json::{Map, Value};

use super::error::SuiteError;
use super::near::nearest;
use super::types::Task;

const FIELDS: [&str; 13] = [
    "id",
    "prompt",
    "vars",
    "tags",
    "graders",
    "workspace",
    "expected",
    "trace",
    "tape",
    "live_from",
    "tape_tools",
    "trials",
    "seconds",
];

/// Reads the tasks of one file; what its name ends in says what it is.
pub(super) fn tasks(file: &str, text: &str) -> Result<Vec<Task>, Vec<SuiteError>> {
    if file.ends_with(".jsonl") || file.ends_with(".ndjson") {
        jsonl(file, text)
    } else if file.ends_with(".csv") {
        csv(file, text)
    } else {
        let help = Some(
            "use a .jsonl file with one task a line, a .csv file with one task a row, or a folder of Harbor tasks"
                .to_owned(),
        );
        Err(vec![at(file, 0, "tasks can't be read from a file of this kind".to_owned(), help)])
    }
}

fn at(file: &str, line: u64, message: String, help: Option<String>) -> SuiteError {
    SuiteError { message, file: file.to_owned(), line, column: u64::from(line > 0), offset: 0, len: 0, help }
}

/// Fields a task has are the task's; all others become its variables.
fn task(mut row: Map<String, Value>, number: u64) -> Result<Task, String> {
    let extra: Vec<String> = row.keys().filter(|key| !FIELDS.contains(&key.as_str())).cloned().collect();
    let mut vars = match row.remove("vars") {
        Some(Value::Object(vars)) => vars,
        None | Some(Value::Null) => Map::new(),
        Some(other) => return Err(format!("vars must be an object, not {other}")),
    };
    for key in extra {
        if let Some(value) = row.remove(&key) {
            vars.insert(key, value);
        }
    }
    row.insert("vars".to_owned(), Value::Object(vars));
    match row.get("id") {
        None | Some(Value::Null) => {
            row.insert("id".to_owned(), Value::String(format!("row-{number}")));
        }
        Some(Value::Number(id)) => {
            let id = id.to_string();
            row.insert("id".to_owned(), Value::String(id));
        }
        Some(_) => {}
    }
    serde_json::from_value(Value::Object(row)).map_err(|error| error.to_string())
}

fn jsonl(file: &str, text: &str) -> Result<Vec<Task>, Vec<SuiteError>> {
    let (mut tasks, mut errors) = (Vec::new(), Vec::new());
    for (number, line) in (1_u64..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str::<Map<String, Value>>(line).map_err(|error| error.to_string()) {
            Ok(row) => match task(row, number) {
                Ok(task) => tasks.push(task),
                Err(message) => errors.push(at(file, number, message, None)),
            },
            Err(message) => {
                let help = Some("each line is one task as a JSON object".to_owned());
                errors.push(at(file, number, format!("not a JSON object: {message}"), help));
            }
        }
    }
    if errors.is_empty() { Ok(tasks) } else { Err(errors) }
}

fn csv(file: &str, text: &str) -> Result<Vec<Task>, Vec<SuiteError>> {
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(error) => return Err(vec![at(file, 1, error.to_string(), None)]),
    };
    let (mut tasks, mut errors) = (Vec::new(), Vec::new());
    for column in &header {
        let slip =
            nearest(column, FIELDS).filter(|field| *field != column && super::near::distance(field, column) == 1);
        if let (Some(field), true) = (slip, !header.iter().any(|other| Some(other) == slip)) {
            errors.push(at(file, 1, format!("unknown column {column:?}"), Some(format!("did you mean {field:?}?"))));
        }
    }
    for (number, row) in (1_u64..).zip(reader.records()) {
        let row = match row {
            Ok(row) => row,
            Err(error) => {
                let line = error.position().map_or(number + 1, csv::Position::line);
                errors.push(at(file, line, error.to_string(), None));
                continue;
            }
        };
        let line = row.position().map_or(number + 1, csv::Position::line);
        let fields = header.iter().zip(&row).filter(|(_, cell)| !cell.is_empty());
        let fields = fields.map(|(name, cell)| (name.to_owned(), cell_value(name, cell))).collect();
        match task(fields, number) {
            Ok(task) => tasks.push(task),
            Err(message) => errors.push(at(file, line, message, None)),
        }
    }
    if errors.is_empty() { Ok(tasks) } else { Err(errors) }
}

/// Lists and objects stand in a cell as JSON; tags may be words with semicolons between them.
fn cell_value(name: &str, cell: &str) -> Value {
    match name {
        "vars" | "graders" | "trials" | "seconds" => serde_json::from_str(cell).unwrap_or_else(|_| cell.into()),
        "tags" if !cell.starts_with('[') => cell.split(';').map(|tag| tag.trim().to_owned()).collect(),
        "tags" => serde_json::from_str(cell).unwrap_or_else(|_| cell.into()),
        _ => cell.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn jsonl_and_csv_say_the_same() {
        let jsonl = "{\"id\":\"a\",\"prompt\":\"Hi\",\"expected\":\"Ho\",\"tags\":[\"x\",\"y\"],\"order\":\"A-1\"}\n\n{\"id\":7}\n";
        let csv = "id,prompt,expected,tags,order\na,Hi,Ho,x;y,A-1\n7,,,,\n";
        let from_jsonl = tasks("t.jsonl", jsonl).unwrap();
        let from_csv = tasks("t.csv", csv).unwrap();
        assert_eq!(from_jsonl, from_csv);
        assert_eq!(from_csv[0].vars["order"], json!("A-1"));
        assert_eq!(from_csv[1].id, "7");
        assert_eq!(tasks("t.jsonl", "{\"prompt\":\"x\"}").unwrap()[0].id, "row-1");
    }

    #[test]
    fn bad_rows_are_named_by_line() {
        let error = tasks("t.jsonl", "{\"id\":\"a\"}\nnope\n[1]\n").unwrap_err();
        assert_eq!(error.iter().map(|error| error.line).collect::<Vec<_>>(), [2, 3]);
        let error = tasks("t.csv", "id,promt\na,b\n").unwrap_err();
        assert_eq!(error[0].to_string(), "t.csv:1:1: unknown column \"promt\" (did you mean \"prompt\"?)");
        let error = tasks("t.csv", "id,prompt\na,b,c\n").unwrap_err();
        assert_eq!(error[0].line, 2);
        assert!(tasks("t.xlsx", "").unwrap_err()[0].to_string().contains(".jsonl"));
        assert!(tasks("t.jsonl", "{\"vars\":3}").unwrap_err()[0].message.contains("vars must be an object"));
    }
}
