//! docs/schema.md is held to the real schema, both ways, and its example queries are run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::database::Database;

/// Column and type, in order, by table or view.
type Schema = BTreeMap<String, Vec<(String, String)>>;

fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema.md")).unwrap()
}

fn written(document: &str) -> Schema {
    let mut schema = Schema::new();
    let mut name = String::new();
    for line in document.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            name = heading.to_owned();
            schema.insert(name.clone(), Vec::new());
        } else if line.starts_with("| ") && !line.starts_with("| column") && !name.is_empty() {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            assert!(cells.len() == 3 && !cells[2].is_empty(), "{name}: {line}");
            let columns = schema.get_mut(&name).unwrap();
            columns.push((cells[0].to_owned(), cells[1].to_owned()));
        }
    }
    schema
}

fn real(database: &Database) -> Schema {
    let connection = database.connection();
    let texts = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let mut names: Vec<(String, String)> = texts(
        "SELECT table_name FROM information_schema.tables WHERE table_catalog = current_database() AND table_schema = 'main'",
    )
    .into_iter()
    .map(|name| (name.clone(), name))
    .collect();
    for name in
        texts("SELECT function_name FROM duckdb_functions() WHERE NOT internal AND function_type = 'table_macro'")
    {
        assert_eq!(name, "call_messages", "a new macro: say here how to call it");
        names.push(("call_messages(call)".to_owned(), "call_messages('x')".to_owned()));
    }
    let columns = |from: &str| {
        let mut statement =
            connection.prepare(&format!("SELECT column_name, column_type FROM (DESCRIBE FROM {from})")).unwrap();
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    names.into_iter().map(|(name, from)| (name, columns(&from))).collect()
}

#[test]
fn every_table_view_and_column_is_documented_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::create(&dir.path().join("index.duckdb")).unwrap();
    let (written, real) = (written(&document()), real(&database));
    assert_eq!(written.keys().collect::<Vec<_>>(), real.keys().collect::<Vec<_>>());
    for (name, columns) in &real {
        assert_eq!(&written[name], columns, "{name} in docs/schema.md");
    }
}

#[test]
fn every_example_query_runs_and_reads_only() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::create(&dir.path().join("index.duckdb")).unwrap();
    let document = document();
    let examples: Vec<&str> =
        document.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!((5..=10).contains(&examples.len()), "{} examples", examples.len());
    for example in examples {
        let sql = super::guard::one_reading_statement(example).unwrap();
        let answer = super::Answer::to(database.connection(), sql);
        assert!(answer.is_ok(), "{example}\n{}", answer.unwrap_err());
    }
}
