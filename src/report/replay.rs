//! Where a replay left the recorded way, for a terminal and as a page.

use std::fmt::Write;

use super::escape_html as escape;
use crate::replay::{Change, Divergence, How, Report};

/// Divergences shown in full on a terminal.
const SHOWN: usize = 3;

/// For a terminal.
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    let (recorded, trace) = (&report.recorded.to_string()[..8], &report.trace.to_string()[..8]);
    let live = if report.live > 0 { format!(", {} live", report.live) } else { String::new() };
    let _ = match report.divergences {
        0 => writeln!(
            text,
            "{trace} went the way of {recorded}: {} of {} calls matched{live}, no divergence",
            report.matched, report.calls
        ),
        1 => writeln!(
            text,
            "{trace} left the way of {recorded}: {} of {} calls matched{live}, 1 divergence",
            report.matched, report.calls
        ),
        count => {
            writeln!(
                text,
                "{trace} left the way of {recorded}: {} of {} calls matched{live}, {count} divergences",
                report.matched, report.calls
            )
        }
    };
    for divergence in report.all.iter().take(SHOWN) {
        let _ = writeln!(text, "\n{}", divergence.says);
        for change in &divergence.changes {
            text.push_str(&one_change(change));
        }
        if let Some(cause) = &divergence.cause {
            let _ = writeln!(text, "  it came about by the result of {}({})", cause.tool, one_line(&cause.arguments));
        }
        if divergence.let_through {
            let _ = writeln!(text, "  it was let through to the provider");
        }
    }
    if report.all.len() > SHOWN {
        let _ = writeln!(text, "\n{} more: see --json or --html", report.divergences - SHOWN);
    }
    text
}

fn word(how: How) -> &'static str {
    match how {
        How::Added => "added",
        How::Removed => "removed",
        How::Changed => "changed",
    }
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut: String = line.chars().take(120).collect();
    if cut.len() < line.len() { format!("{cut}…") } else { cut }
}

fn one_change(change: &Change) -> String {
    let mut text = format!("  {} {}\n", change.place, word(change.how));
    match (&change.diff, change.how) {
        (Some(diff), _) if !diff.is_empty() => diff.lines().for_each(|line| {
            let _ = writeln!(text, "    {line}");
        }),
        (_, how) => {
            let (sign, body) = if how == How::Removed { ('-', &change.before) } else { ('+', &change.after) };
            for line in body.iter().flat_map(|body| body.lines()).take(12) {
                let _ = writeln!(text, "    {sign}{line}");
            }
        }
    }
    text
}

/// As a page that stands on its own.
pub fn html(report: &Report) -> String {
    let mut body = String::new();
    let _ = write!(
        body,
        "<h1>{}</h1><p>trace <code>{}</code> against <code>{}</code>: {} of {} calls matched, {} live, {} divergences</p>",
        if report.divergences == 0 { "It went the recorded way" } else { "It left the recorded way" },
        report.trace,
        report.recorded,
        report.matched,
        report.calls,
        report.live,
        report.divergences
    );
    for divergence in &report.all {
        body.push_str(&section(divergence));
    }
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>holdback replay</title>\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <style>{STYLE}</style><body>{body}</body></html>\n"
    )
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d2327;background:#fff}\
    h1{font-size:1.4rem}h2{font-size:1.05rem;margin-top:2rem}pre{overflow-x:auto;background:#f6f7f7;padding:.6rem;border-radius:4px}\
    .add{color:#0a6b2d}.del{color:#a3141c}.why{border-left:3px solid #b26200;padding-left:.7rem}";

fn section(divergence: &Divergence) -> String {
    let mut text = format!("<section><h2>{}</h2>", escape(&divergence.says));
    for change in &divergence.changes {
        let _ = write!(text, "<h3>{} {}</h3><pre>", escape(&change.place), word(change.how));
        for line in one_change(change).lines().skip(1) {
            let line = line.strip_prefix("    ").unwrap_or(line);
            let class = match line.as_bytes().first() {
                Some(b'+') => "add",
                Some(b'-') => "del",
                _ => "",
            };
            let _ = writeln!(text, "<span class=\"{class}\">{}</span>", escape(line));
        }
        text.push_str("</pre>");
    }
    if let Some(cause) = &divergence.cause {
        let _ = write!(
            text,
            "<p class=\"why\">It came about by the result of <code>{}({})</code></p>",
            escape(&cause.tool),
            escape(&one_line(&cause.arguments))
        );
    }
    text.push_str("</section>");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::{Cause, Kind};
    use crate::trace::TraceId;

    #[test]
    fn a_report_says_where_and_why_and_trusts_nothing() {
        let change = Change {
            place: "message 3: result of bash".into(),
            how: How::Changed,
            before: Some("a".into()),
            after: Some("<script>".into()),
            diff: Some("@@ -1 +1 @@\n-a\n+<script>".into()),
        };
        let cause = Cause { tool: "bash".into(), arguments: "{\"cmd\":\"ls\"}".into(), before: None, after: None };
        let divergence = Divergence {
            kind: Kind::Changed,
            number: Some(2),
            call: None,
            recorded_number: Some(2),
            recorded_call: None,
            agent: None,
            says: "request 2 differs".into(),
            changes: vec![change],
            cause: Some(cause),
            let_through: false,
        };
        let report = Report::new(TraceId(1), TraceId(2), 3, 1, vec![divergence]);
        let text = text(&report);
        for word in [
            "1 of 3 calls matched, 1 divergence",
            "message 3: result of bash changed",
            "+<script>",
            "bash({\"cmd\":\"ls\"})",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let page = html(&report);
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"));
    }
}
