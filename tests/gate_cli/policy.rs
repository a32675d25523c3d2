//! The policy's schema in the repository, and the example beside it.

use holdback::gate::{Policy, PolicyFile, PolicySchema};
use serde_json::Value;

use super::common::repository;

/// `HOLDBACK_BLESS=1 cargo test --test gate_cli` writes the file anew.
#[test]
fn the_policy_schema_in_the_repository_is_the_one_the_types_make() {
    let path = repository().join("schemas/policy.schema.json");
    let made = serde_json::to_string_pretty(&PolicySchema::json()).unwrap() + "\n";
    if std::env::var_os("HOLDBACK_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == made, "schemas/policy.schema.json is old: run the test with HOLDBACK_BLESS=1 to write it anew");
}

#[test]
fn the_example_policy_is_valid_and_shows_the_defaults() {
    let text = std::fs::read_to_string(repository().join("ci/policy.example.yaml")).unwrap();
    assert!(text.starts_with("# yaml-language-server: $schema=../schemas/policy.schema.json\n"));
    let value: Value = holdback::suite::yaml(&text).unwrap();
    let schema = jsonschema::validator_for(&PolicySchema::json()).unwrap();
    let errors: Vec<String> = schema.iter_errors(&value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let file = PolicyFile::parse(&text).unwrap();
    for kind in ["regression", "capability"] {
        let shown = file.resolve("some other suite", kind).unwrap();
        assert_eq!(shown, Policy::for_kind(kind), "what the file says for all suites are the defaults");
    }
    // every field there is, is shown
    let properties = PolicySchema::json();
    for field in properties["properties"].as_object().unwrap().keys() {
        assert!(text.contains(&format!("{field}:")), "the example doesn't show {field}");
    }
    assert_eq!(file.resolve("checkout", "regression").unwrap().k, 4);
}
