//! Models that cost something: asked when it is wished, so often as it is wished, and what they say is kept.

use serde_json::json;

use super::traces::{Model, Script, answer, asks, long, named, result, says, short, store, user};
use super::{json, run};
use holdback::trace::TraceOutcome;

fn again() -> String {
    answer(&asks("z", "deploy", &json!({"region": "eu-1"})))
}

#[test]
fn a_failure_that_vanishes_on_the_first_ask_is_said_to_be_flaky_and_kept_so() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    short(&store(dir), 1, "release");
    let model =
        Model::start(|number, _| (200, if number % 2 == 0 { again() } else { answer(&says("The quota is used up.")) }));
    let upstream = format!("openai={}", model.url);
    let (code, stdout, stderr) = run(dir, &["promote", "release", "--yes"]);
    assert_eq!((code, model.asked()), (0, 0), "nobody is asked unless it is wished: {stdout} {stderr}");
    let (suite, again) =
        ("suites/other.yaml", ["promote", "release", "--yes", "--json", "-k", "1", "--upstream", &upstream]);
    let made = json(dir, &[&again[..], &["--suite", suite]].concat());
    let rate = &made["cases"][0]["rate"];
    assert_eq!((&rate["failed"], &rate["asked"], &rate["at_once"]), (&json!(0), &json!(1), &json!(false)), "{made:#}");
    assert!(rate["upper"].as_f64().unwrap() > 0.9, "one answer says little: {made:#}");
    assert!(made["cases"][0]["notes"][0].as_str().unwrap().contains("did not come back"), "{made:#}");
    assert_eq!(made["cases"][0]["added"], true, "it is no reason to refuse: {made:#}");
    let (_, stdout, stderr) =
        run(dir, &["promote", "release", "--yes", "--suite", "suites/third.yaml", "-k", "6", "--upstream", &upstream]);
    assert!(stdout.contains("failed 3 of 6 times, 95 % [12, 88] %") && stdout.contains("flaky"), "{stdout}{stderr}");
    let cases = json(dir, &["cases", "--json"]);
    let states: Vec<_> = cases["cases"].as_array().unwrap().iter().map(|case| case["state"].clone()).collect();
    assert_eq!(states, ["open", "open", "flaky"], "{cases:#}");
    assert_eq!(cases["cases"][2]["details"]["failed_again"]["asked"], 6, "{cases:#}");
    assert_eq!(cases["cases"][0]["model"], "openai/gpt-5-mini");
    let asked = model.asked();
    let twice = json(dir, &[&again[..], &["--suite", suite]].concat());
    assert_eq!((twice["cases"][0]["present"].clone(), model.asked()), (json!(true), asked), "asked for nothing");
    let answers = json(dir, &["sql", "select count(*) as n from traces where tags->>'ask' = 'promote'", "--json"]);
    assert_eq!(answers[0]["n"], 2, "what was answered is in the store: {answers}");
}

#[test]
fn where_it_is_said_to_be_fixed_every_answer_has_to_be_green() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    short(&store(dir), 1, "release");
    let model = Model::start(|number, body| match body["model"].as_str() {
        Some("good") => (200, answer(&says("The quota is used up."))),
        Some("shy") => (401, json!({"error": {"message": "no such key", "type": "auth"}}).to_string()),
        _ => (200, if number < 3 { answer(&says("Hm.")) } else { again() }),
    });
    let upstream = format!("local={}", model.url);
    // -k asks the failing model too; it is not there.
    let (code, _, stderr) = run(dir, &["promote", "release", "--fixed", "local/shy", "--upstream", &upstream]);
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.contains("local/shy") && stderr.contains("no such key"), "{stderr}");
    let (code, stdout, stderr) = run(dir, &["promote", "release", "--fixed", "local/good", "--upstream", &upstream]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("proven green: local/good failed 0 of 1 times"), "{stdout}");
    let upstream = format!("openai={}", model.url);
    let (code, _, stderr) =
        run(dir, &["promote", "release", "--fixed", "openai/bad", "-k", "4", "--upstream", &upstream]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("red there too, 4 of 4 times: does-not-repeat"), "{stderr}");
}

#[test]
fn a_run_of_sixty_calls_ends_as_the_few_messages_that_matter() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    long(&store(dir), 1, "release");
    let made = json(dir, &["promote", "release", "--yes", "--json"]);
    let case = &made["cases"][0];
    assert_eq!(case["before"]["messages"], 120, "{made:#}");
    assert_eq!((&case["after"]["messages"], &case["after"]["tools"]), (&json!(4), &json!(1)), "{made:#}");
    assert!(case["after"]["bytes"].as_u64().unwrap() < 1_500, "{made:#}");
    let (code, stdout, stderr) = run(dir, &["eval", "suites/regressions.yaml", "--model", "mock/echo"]);
    assert_eq!(code, 0, "an answer in words passes: {stdout}{stderr}");
}

#[test]
fn what_only_the_model_can_tell_is_made_smaller_with_as_many_questions_as_are_granted() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let mut script = Script::begin(&store(dir), 1, named("advice"));
    let mut messages = vec![user("What is my balance?")];
    for n in 0..10 {
        let id = format!("c{n}");
        let said = asks(&id, "read_file", &json!({"path": format!("page_{n}")}));
        let came = if n == 6 { "The balance was 12 in March.".to_owned() } else { format!("page {n} is empty") };
        messages.extend([said, result(&id, &came)]);
    }
    script.call(&messages, &says("Your balance is 12, as of today."));
    script.end(TraceOutcome::Ok);
    script.score(0.0, "that was in March");
    let model = Model::start(|_, body| {
        let wrong = body.to_string().contains("12 in March");
        (200, answer(&says(if wrong { "Your balance is 12, as of today." } else { "I can't find it anywhere." })))
    });
    let upstream = format!("openai={}", model.url);
    let left = json(dir, &["promote", "advice", "--json"]);
    let case = &left["cases"][0];
    assert_eq!(case["before"], case["after"], "{left:#}");
    assert!(case["notes"][0].as_str().unwrap().contains("--asks"), "{left:#}");
    let few = json(dir, &["promote", "advice", "--json", "--asks", "3", "--upstream", &upstream]);
    assert_eq!(model.asked(), 3, "no more than granted: {few:#}");
    let made = json(dir, &["promote", "advice", "--yes", "--json", "--asks", "200", "--upstream", &upstream]);
    let case = &made["cases"][0];
    assert_eq!(case["after"]["messages"], 3, "{made:#}");
    assert!(model.asked() < 60, "{}", model.asked());
}

#[test]
fn a_judge_gets_a_drafted_question_if_it_sees_the_failure() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let mut script = Script::begin(&store(dir), 1, named("advice"));
    script.call(&[user("What is my balance?")], &says("Your balance is 12, as of today."));
    script.end(TraceOutcome::Ok);
    script.score(0.0, "that was in March");
    drop(script);
    let blind = json(dir, &["promote", "advice", "--judge", "mock/judge?say=yes", "--json"]);
    assert!(blind["cases"][0]["rubric"].is_null(), "{blind:#}");
    assert!(blind["cases"][0]["notes"].to_string().contains("finds nothing wrong"), "{blind:#}");
    let strict = "mock/judge?say=yes&flip=1";
    let drafted = json(dir, &["promote", "advice", "--judge", strict, "--json"]);
    assert!(drafted["cases"][0]["rubric"].as_str().unwrap().contains("that was in March"), "{drafted:#}");
    let review = std::fs::read_to_string(dir.join("suites/regressions.review.yaml")).unwrap();
    assert!(review.contains("# a draft of rubrics/") && review.contains("\"required\":false"), "{review}");
    assert!(!dir.join("rubrics").exists(), "nobody has said yes");
    let (code, stdout, stderr) = run(dir, &["promote", "advice", "--judge", strict, "--yes"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("a draft: the judge"), "{stdout}");
    let rubric = std::fs::read_dir(dir.join("rubrics")).unwrap().flatten().next().unwrap().path();
    let (code, _, stderr) = run(dir, &["rubric", "lint", rubric.to_str().unwrap()]);
    assert_eq!(code, 0, "{stderr}");
    let (code, stdout, stderr) = run(dir, &["eval", "suites/regressions.yaml", "--model", "mock/echo"]);
    assert_eq!(code, 0, "a draft does not block: {stdout}{stderr}");
    let (code, _, stderr) =
        run(dir, &["promote", "advice", "--judge", "mock/judge?say=prose", "--suite", "suites/b.yaml"]);
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.contains("gave no verdict"), "{stderr}");
}
