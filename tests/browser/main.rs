//! The report and the view in a real browser: no complaints, readable by everyone, by mouse and by keyboard. Where there is no
//! chromium these tests say so and pass.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_macros)]

mod cdp;

use std::io::{BufRead, BufReader};
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
        let mut view = holdback(&["view", "--write", "--listen", "127.0.0.1:0"])
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
        serde_json::from_slice(&out.stdout).unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.view.kill();
        let _ = self.view.wait();
    }
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
    let mut pages = vec![report, demo.address.clone()];
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
        "/label".to_owned(),
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

#[test]
fn from_search_to_trace_to_diff_to_label_by_mouse_and_by_keyboard() {
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
    browser.click("#save-filter");
    browser.until("document.querySelectorAll('#filters a').length === 1");
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
    browser.goto(&demo.at("/label?q=no+order"));
    browser.key("f");
    browser.loaded();
    browser.until("location.pathname === '/label'");
    let scores = demo.json(&["traces", "show", "demo-stuck", "--json"])["scores"].clone();
    assert_eq!((scores[0][1]["label"].as_str(), scores[0][1]["by"].as_str()), (Some("fail"), Some("human")));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
