//! The report and the view in a real browser: no complaints, readable by everyone, by mouse and by keyboard. Where there is no
//! chromium these tests say so and pass.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_macros)]

mod cdp;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cdp::Browser;
use serde_json::Value;

/// A folder with everything that the demo leaves, and a view of it.
struct Demo {
    folder: tempfile::TempDir,
    view: Child,
    /// With the token in it.
    address: String,
}

impl Demo {
    fn new() -> Demo {
        let folder = tempfile::tempdir().unwrap();
        let holdback = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_holdback"));
            command.args(args).current_dir(folder.path()).env_remove("HOLDBACK_STORE");
            command
        };
        let done = holdback(&["demo"]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        holdback(&["gate", "--baseline", "demo-before", "--candidate", "demo-after:mock/script:small-2.yaml"])
            .output()
            .unwrap();
        judged(folder.path());
        holdback(&["eval", "suites/fruit.yaml", "--name", "fruit"]).output().unwrap();
        let label = ["judge", "label", "fruit", "--rubric", "suites/fruit-rubric.yaml", "--by", "ben"];
        let mut labels =
            holdback(&label).stdin(Stdio::piped()).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let _ = labels.stdin.take().unwrap().write_all("n\n2\ny\n3\nn\nu\n".as_bytes());
        labels.wait().unwrap();
        let mut view = holdback(&["view", "--write", "--by", "ann", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(view.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Demo { folder, view, address: address.trim().to_owned() }
    }

    fn at(&self, path: &str) -> String {
        let host = self.address.split("/?").next().unwrap();
        format!("{host}{path}")
    }

    fn json(&self, args: &[&str]) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdback"));
        let out = command.args(args).current_dir(self.folder.path()).env_remove("HOLDBACK_STORE").output().unwrap();
        serde_json::from_slice(&out.stdout).unwrap_or_default()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.view.kill();
        let _ = self.view.wait();
    }
}

/// A suite with a rubric, whose judge fails everything that says pear.
fn judged(folder: &Path) {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "suites/judge.yaml",
        "criteria:\n  a:\n    - {when: pear, say: no, reason: A pear.}\n    - {say: yes, reason: No pear.}\n  kind:\n    - {say: 2, reason: Fine.}\n",
    );
    write(
        "suites/fruit-rubric.yaml",
        "rubric: fruit\njudge: {model: 'mock/judge:judge.yaml'}\nprinciples: [{principle: No pears, criteria: [\
        {id: a, ask: Is it free of pears?, see: [prompt, answer], required: true, yes: {means: no pear is named}},\
        {id: kind, ask: How friendly is it?, see: [answer], levels: [{means: rude}, {means: plain}, {means: friendly}]}]}]\n",
    );
    write(
        "suites/fruit.yaml",
        "suite: fruit\nkind: capability\ntarget: {prompt: {}}\nmodels: [mock/echo]\ntrials: 2\n\
        graders: [{type: stops}, {type: rubric, label: fruit, rubric: fruit-rubric.yaml}]\ntasks:\n  - {id: apple, prompt: an apple}\n  \
        - {id: pear, prompt: a pear}\n",
    );
}

/// axe-core, which knows what keeps people out; fetched once by a script.
fn axe() -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/get-axe.sh");
    let out = Command::new("sh").arg(script).output().unwrap();
    let path = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    let source = std::fs::read_to_string(path).ok();
    if source.is_none() {
        println!("skipped: axe-core can't be had here");
    }
    source
}

/// What axe finds serious in the page.
fn barriers(browser: &mut Browser, axe: &str) -> Vec<String> {
    browser.value(&format!("{axe}; 1"));
    let found = browser.value(
        "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations
         .filter(v => v.impact === 'serious' || v.impact === 'critical')
         .map(v => v.id + ': ' + v.nodes.slice(0, 3).map(n => n.target.join(' ') + ' ' + n.failureSummary).join(' | ')))",
    );
    found.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_page_is_without_complaint_and_open_to_everyone() {
    let Some(mut browser) = Browser::start() else { return };
    let (demo, axe) = (Demo::new(), axe());
    let trace = demo.json(&["traces", "show", "demo-stuck", "--json"])["id"].as_str().unwrap().to_owned();
    let verdict =
        demo.json(&["sql", "--json", "SELECT verdict_id FROM verdicts"])[0]["verdict_id"].as_str().unwrap().to_owned();
    let report = format!("file://{}", demo.folder.path().join("reports/demo.html").display());
    demo.json(&["report", "--production", "--since", "30d", "-o", "reports/production.html"]);
    let production = format!("file://{}", demo.folder.path().join("reports/production.html").display());
    let mut pages = vec![report, production, demo.address.clone()];
    for path in [
        "/traces?q=refund&outcome=ok".to_owned(),
        format!("/traces/{trace}"),
        format!("/traces/{trace}/calls/2"),
        "/diff?a=demo-refund&b=demo-stuck".to_owned(),
        "/runs".to_owned(),
        "/runs/demo-after?outcome=fail".to_owned(),
        "/compare".to_owned(),
        "/compare?baseline=demo-before&candidate=demo-after".to_owned(),
        "/verdicts".to_owned(),
        format!("/verdicts/{verdict}"),
        "/failures".to_owned(),
        "/failures/groups".to_owned(),
        "/promote".to_owned(),
        "/promote?what=demo-stuck".to_owned(),
        "/promote?what=demo-refund".to_owned(),
        "/label".to_owned(),
        "/label/traces".to_owned(),
        "/label/runs/fruit".to_owned(),
        "/calibration".to_owned(),
        "/calibration/fruit".to_owned(),
        "/live".to_owned(),
    ] {
        pages.push(demo.at(&path));
    }
    let mut wrong = Vec::new();
    for page in &pages {
        for (width, dark) in [(1280, false), (1280, true), (390, false)] {
            browser.look(width, 900, dark);
            browser.goto(page);
            let complaints = browser.complaints();
            wrong.extend(complaints.into_iter().map(|one| format!("{page}: {one}")));
            let wide = browser.value("document.documentElement.scrollWidth - innerWidth");
            if wide.as_f64().unwrap() > 1.0 {
                wrong.push(format!("{page} at {width}: {wide} pixels too wide"));
            }
            if let Some(axe) = axe.as_ref().filter(|_| width == 1280) {
                let said = barriers(&mut browser, axe);
                wrong.extend(said.into_iter().map(|one| format!("{page} (dark: {dark}): {one}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// From a group of failures to a case of a suite: what would be written is shown, then written.
fn a_case_is_made(browser: &mut Browser, demo: &Demo) {
    let suite = demo.folder.path().join("suites/regressions.yaml");
    browser.goto(&demo.at("/failures"));
    browser.until("document.querySelector('#groups table a.button') !== null");
    browser.click("#groups a[href^='/traces/']");
    browser.loaded();
    browser.click("a[href^='/promote']");
    browser.loaded();
    assert!(browser.value("document.body.innerText").as_str().unwrap().contains("proven red") && !suite.exists());
    browser.click("#promote");
    browser.loaded();
    browser.until("document.querySelector('h2 .tag.good') !== null");
    assert!(suite.is_file());
    // The same by keyboard, into another suite.
    browser.goto(&demo.at("/promote?what=demo-stuck&suite=suites%2Fother.yaml"));
    browser.key("w");
    browser.loaded();
    browser.until("document.querySelector('h2 .tag.good') !== null && location.search.includes('other.yaml')");
    assert!(demo.folder.path().join("suites/other.yaml").is_file());
}

#[test]
fn from_search_to_trace_to_diff_to_promote_to_label_by_mouse_and_by_keyboard() {
    let Some(mut browser) = Browser::start() else { return };
    let demo = Demo::new();
    browser.look(1280, 900, false);
    browser.goto(&demo.address);
    browser.value("localStorage.clear()");

    // By mouse: search, open, fold, side by side.
    browser.click("#search");
    browser.type_in("no order");
    browser.click("button.main");
    browser.loaded();
    assert_eq!(browser.value("document.querySelectorAll('table.list tbody tr').length"), 1);
    browser.click("#keep-filter");
    browser.loaded();
    browser.until("document.querySelectorAll('.kept a[aria-current]').length === 1");
    browser.click("table.list a.open");
    browser.loaded();
    assert!(browser.value("document.querySelector('h1').innerText").as_str().unwrap().contains("demo-stuck"));
    let late = "document.querySelector('#c8 .talk') !== null";
    assert_eq!(browser.value(late), false, "late calls wait until they are opened");
    browser.click("#c8 > summary");
    browser.until(late);
    browser.click("input[name=b]");
    browser.type_in("demo-refund");
    browser.key("Enter");
    browser.loaded();
    browser.until("document.querySelectorAll('table.sides td.come').length > 0");

    a_case_is_made(&mut browser, &demo);

    // By keyboard alone: the search, two ticks, the diff.
    browser.goto(&demo.at("/traces?tag=demo%3Dyes"));
    browser.key("/");
    browser.until("document.activeElement.id === 'search'");
    browser.type_in("A-17");
    browser.key("Enter");
    browser.loaded();
    browser.until("document.querySelectorAll('table.list a.open').length >= 1");
    browser.goto(&demo.at("/traces?tag=demo%3Dyes"));
    browser.key("j");
    browser.key("x");
    browser.key("j");
    browser.key("x");
    assert_eq!(browser.value("document.querySelectorAll('input[name=t]:checked').length"), 2);
    browser.value("document.getElementById('diff-chosen').focus()");
    browser.key("Enter");
    browser.loaded();
    browser.until("document.querySelectorAll('table.sides tr').length > 3");
    browser.goto(&demo.at("/traces/demo-stuck"));
    browser.key("j");
    browser.key("j");
    browser.until("document.activeElement.closest('.call').id === 'c2'");

    // A label by one key, kept in the log.
    browser.goto(&demo.at("/label/traces?q=no+order"));
    browser.key("f");
    browser.loaded();
    browser.until("location.pathname === '/label/traces'");
    let scores = demo.json(&["traces", "show", "demo-stuck", "--json"])["scores"].clone();
    assert_eq!((scores[0][1]["label"].as_str(), scores[0][1]["by"].as_str()), (Some("fail"), Some("human")));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn trials_are_labelled_by_keyboard_and_by_mouse_and_the_judge_is_measured() {
    let Some(mut browser) = Browser::start() else { return };
    let demo = Demo::new();
    browser.look(1280, 900, false);
    browser.goto(&demo.address);
    browser.goto(&demo.at("/label"));
    browser.click("a[href^='/label/runs/']");
    browser.loaded();
    let asks = "document.querySelector('h1').innerText";
    assert_eq!(browser.value(asks), "Is it free of pears?");
    let press = |browser: &mut Browser, key: &str| {
        browser.key(key);
        browser.loaded();
    };
    // By keyboard: an answer, a level, one taken back, one skipped, one that can't be told.
    press(&mut browser, "n");
    assert_eq!(browser.value(asks), "How friendly is it?");
    press(&mut browser, "3");
    assert_eq!(browser.value(asks), "Is it free of pears?");
    press(&mut browser, "z");
    assert_eq!(browser.value(asks), "How friendly is it?");
    press(&mut browser, "2");
    press(&mut browser, "s");
    assert_eq!(browser.value(asks), "How friendly is it?");
    press(&mut browser, "u");
    // By mouse.
    browser.click("button[value=yes]");
    browser.loaded();
    browser.click("a[data-key=s]");
    browser.loaded();
    let labels = demo.json(&["judge", "labels", "--rubric", "suites/fruit-rubric.yaml", "--export", "labels.json"]);
    assert!(labels.is_null(), "it goes to a file");
    let file: Value = serde_json::from_slice(&std::fs::read(demo.folder.path().join("labels.json")).unwrap()).unwrap();
    let own = file["items"].as_array().unwrap().iter().filter(|item| item["by"] == "ann");
    let said: usize = own.map(|item| item["labels"].as_object().unwrap().len()).sum();
    assert_eq!(said, 4, "{file}");
    browser.goto(&demo.at("/calibration/fruit"));
    assert_eq!(browser.value("document.querySelectorAll('table.confusion tbody tr').length"), 3);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
