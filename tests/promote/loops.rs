//! Cases of whole runs: the loop is run again against its tape.

use std::path::Path;

use serde_json::json;

use super::traces::{long, store};
use super::{json, run};

const SHOP: &str = r#"{"A-17": {"item": "kettle", "late": true, "paid": 12.5}}"#;

/// A shop, and the run of its agent that goes wrong, recorded under the name `stuck`.
fn stuck(dir: &Path, prompt: &str) {
    let shop = dir.join("shop");
    std::fs::create_dir_all(&shop).unwrap();
    std::fs::write(shop.join("orders.json"), SHOP).unwrap();
    let agent = assert_cmd::cargo::cargo_bin("holdback").display().to_string();
    let words = ["--store", "../.holdback", "record", "-q", "--name", "stuck", "--", &agent, "demo", "agent", prompt];
    let (code, _, stderr) = run(&shop, &words);
    assert_eq!(code, 1, "it gives up: {stderr}");
}

#[test]
fn a_run_that_went_wrong_is_run_again_up_to_there_and_has_to_go_another_way() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    stuck(dir, "Refund order B-99.");
    let promote = ["promote", "stuck", "--level", "loop", "--workspace", "shop"];
    let (code, stdout, stderr) = run(dir, &promote);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("proven red: does-not-repeat") && !dir.join("traces").exists(), "{stdout}{stderr}");
    let made = json(dir, &[&promote[..], &["--yes", "--json"]].concat());
    let case = &made["cases"][0];
    assert_eq!(case["added"], true, "{made:#}");
    let suite = std::fs::read_to_string(dir.join("suites/regressions-loop.yaml")).unwrap();
    assert!(suite.contains("live_from: 2") && suite.contains("workspace: \"../shop\""), "{suite}");
    let eval = |model: &str| {
        let document = json(dir, &["eval", "suites/regressions-loop.yaml", "--model", model, "-q", "--json"]);
        let grades = document["run"]["trials"][0]["grades"].as_array().unwrap().clone();
        let failed = grades.iter().filter(|grade| grade["pass"] == false).map(|grade| grade["label"].to_string());
        (document["exit"].clone(), failed.collect::<Vec<_>>().join(" "), grades)
    };
    let (exit, failed, _) = eval("mock/script:demo");
    assert_eq!((exit, failed.as_str()), (json!(1), "\"does-not-repeat\""), "the old behaviour is caught");
    let (exit, _, grades) = eval("mock/script:demo-fixed");
    assert_eq!(exit, 0, "the new one passes: {grades:#?}");
    let cases = json(dir, &["cases", "--json"]);
    assert_eq!(
        (&cases["cases"][0]["level"], &cases["cases"][0]["state"]),
        (&json!("loop"), &json!("fixed")),
        "{cases:#}"
    );
    // The loop itself is another one by now: it leaves its way before the call that failed.
    std::fs::write(dir.join("shop/orders.json"), SHOP.replace("A-17", "B-99")).unwrap();
    let (exit, failed, grades) = eval("mock/script:demo-fixed");
    assert_eq!((exit, failed.as_str()), (json!(1), "\"keeps-to-its-path\""), "{grades:#?}");
    assert!(json!(grades).to_string().contains("lookup_order answered otherwise"), "{grades:#?}");
    let again = json(dir, &[&promote[..], &["--yes", "--json"]].concat());
    assert_eq!(again["cases"][0]["present"], true, "one case, not two: {again:#}");
}

#[test]
fn a_run_that_can_not_be_run_again_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    long(&store(dir), 1, "proxied");
    let refused = |args: &[&str], word: &str| {
        let (code, _, stderr) = run(dir, &[&["promote", "--level", "loop", "--yes"], args].concat());
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains(word), "{word}: {stderr}");
        assert!(!dir.join("suites").exists() && !dir.join("traces").exists(), "nothing is written");
    };
    refused(&["proxied"], "which command the loop was is not known");
    stuck(dir, "Refund order B-99.");
    // Without its files its tools answer otherwise, and it is another run.
    std::fs::create_dir(dir.join("other")).unwrap();
    std::fs::write(dir.join("other/orders.json"), SHOP.replace("A-17", "B-99")).unwrap();
    refused(&["stuck", "--workspace", "other"], "can't be proven red by running it again");
    stuck(dir, "I am ada@lovelace.org. Refund order B-99.");
    refused(&["stuck", "--workspace", "shop"], "1 pieces of personal data");
}
