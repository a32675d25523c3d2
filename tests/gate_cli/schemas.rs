//! What CI systems read is what their schemas allow: SARIF 2.1.0 as OASIS closes it, JUnit XML as Jenkins' XSD does.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use serde_json::Value;

use super::common::{Bench, code, run, times};

/// A store for each verdict, the last with a name that is no XML, no URI and no command.
fn verdicts() -> Vec<(&'static str, Bench)> {
    let good = || times(10, "pppppppp");
    let mut worse = good();
    worse[3] = "ffffffff".to_owned();
    let all = [
        ("pass", good(), times(20, "pppppppp")),
        ("regress", good(), worse),
        ("undecided", good(), times(10, "pp")),
        ("invalid", good(), times(10, "ppppiiii")),
    ];
    all.into_iter()
        .map(|(verdict, base, cand)| {
            let bench = Bench::new();
            let base = if verdict == "pass" { times(20, "pppppppp") } else { base };
            for (id, trials) in [("base", base), ("cand", cand)] {
                let mut record = run(id, &trials);
                let name = "pay | <b>now</b> & \"::error::\" \u{1b}[31m";
                record.tasks[3] = name.to_owned();
                record.trials.iter_mut().filter(|t| t.task == "t003").for_each(|t| t.task = name.to_owned());
                bench.keep(&record);
            }
            bench.write("check out.yaml", "suite: checkout\n");
            let files = ["--sarif", "gate.sarif", "--junit", "gate.xml", "--suite-file", "check out.yaml"];
            let output = bench.gate(&files);
            let expected = ["pass", "regress", "", "undecided", "invalid"].iter().position(|word| *word == verdict);
            assert_eq!(Some(code(&output) as usize), expected, "{verdict}");
            (verdict, bench)
        })
        .collect()
}

#[test]
fn sarif_of_every_verdict_is_what_the_schema_allows() {
    let schema: Value = serde_json::from_str(include_str!("../fixtures/sarif-2.1.0-part.schema.json")).unwrap();
    let schema = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    for (verdict, bench) in verdicts() {
        let sarif: Value = serde_json::from_str(&bench.read("gate.sarif")).unwrap();
        let errors: Vec<String> = schema.iter_errors(&sarif).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{verdict}: {errors:#?}");
    }
}

/// An element: its attributes (with an exclamation mark those that must be there) and children, as the XSD has them.
const JUNIT: &[(&str, &[&str], &[&str])] = &[
    ("testsuites", &["name", "time", "tests", "failures", "disabled", "errors", "uuid", "timestamp"], &["testsuite"]),
    (
        "testsuite",
        &[
            "name!",
            "tests!",
            "failures",
            "errors",
            "time",
            "disabled",
            "skipped",
            "timestamp",
            "hostname",
            "id",
            "package",
        ],
        &["properties", "testcase", "system-out", "system-err"],
    ),
    ("properties", &[], &["property"]),
    ("property", &["name!", "value!"], &[]),
    (
        "testcase",
        &["name!", "assertions", "time", "classname", "status", "timestamp"],
        &["skipped", "error", "failure", "system-out", "system-err"],
    ),
    ("failure", &["type", "message"], &[]),
    ("error", &["type", "message"], &[]),
    ("skipped", &["type", "message"], &[]),
    ("system-out", &[], &[]),
    ("system-err", &[], &[]),
];

fn check(element: &BytesStart<'_>, parent: Option<&str>) -> String {
    let name = String::from_utf8(element.name().as_ref().to_vec()).unwrap();
    let known = JUNIT.iter().find(|(known, ..)| *known == name);
    let (_, attributes, _) = known.unwrap_or_else(|| panic!("<{name}> is not known to JUnit"));
    match parent {
        None => assert_eq!(name, "testsuites"),
        Some(parent) => {
            let (_, _, children) = JUNIT.iter().find(|(known, ..)| *known == parent).unwrap();
            assert!(children.contains(&name.as_str()), "<{name}> in <{parent}>");
        }
    }
    let given: Vec<(String, String)> = element
        .attributes()
        .map(|attribute| {
            let attribute = attribute.unwrap();
            let key = String::from_utf8(attribute.key.as_ref().to_vec()).unwrap();
            (key, String::from_utf8(attribute.value.to_vec()).unwrap())
        })
        .collect();
    for (key, value) in &given {
        assert!(attributes.iter().any(|known| known.trim_end_matches('!') == key), "{key} of <{name}>");
        if ["tests", "failures", "errors", "disabled", "skipped"].contains(&key.as_str()) {
            assert!(value.parse::<u64>().is_ok(), "{key}={value:?} is no number");
        }
        if key == "time" {
            assert!(value.parse::<f64>().is_ok_and(|time| time >= 0.0), "{key}={value:?}");
        }
    }
    for must in attributes.iter().filter_map(|known| known.strip_suffix('!')) {
        assert!(given.iter().any(|(key, _)| key == must), "<{name}> lacks {must}");
    }
    name
}

#[test]
fn junit_of_every_verdict_is_what_the_schema_allows() {
    for (verdict, bench) in verdicts() {
        let text = bench.read("gate.xml");
        // XML 1.0 has no escape character, not even written as a number.
        assert!(!text.contains('\u{1b}') && !text.contains("&#27;") && !text.contains("&#x1b;"), "{verdict}");
        let mut reader = Reader::from_str(&text);
        let mut open: Vec<String> = Vec::new();
        let mut cases = 0;
        loop {
            match reader.read_event().unwrap() {
                Event::Start(element) => {
                    let name = check(&element, open.last().map(String::as_str));
                    cases += usize::from(name == "testcase");
                    open.push(name);
                }
                Event::Empty(element) => {
                    cases += usize::from(check(&element, open.last().map(String::as_str)) == "testcase");
                }
                Event::End(_) => drop(open.pop()),
                Event::Eof => break,
                _ => {}
            }
        }
        assert!(open.is_empty() && cases > 10, "{verdict}: {cases}");
    }
}
