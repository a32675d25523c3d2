//! A comparison of runs as text, as Markdown, and as one HTML page that needs nothing else.

use super::calm;
use crate::gate::{Comparison, Moved, Pair, Standing, TaskMove, p_value};
use crate::stats::Counts;

/// A table: heading, column names, rows of plain text, and words for when there are no rows.
struct Table {
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    none: &'static str,
}

/// A comparison in parts that every format writes in its own way.
struct Section {
    title: String,
    notes: Vec<String>,
    tables: Vec<Table>,
}

/// Markdown.
pub fn markdown(comparison: &Comparison) -> String {
    use super::markdown::escape;
    let mut out = String::from("## Comparison\n");
    for section in sections(comparison) {
        out.push_str(&format!("\n### {}\n\n", escape(&section.title)));
        section.notes.iter().for_each(|n| out.push_str(&format!("- {}\n", escape(n))));
        for table in section.tables {
            out.push_str(&format!("\n#### {}\n\n", escape(&table.title)));
            if table.rows.is_empty() {
                out.push_str(&format!("{}\n", table.none));
                continue;
            }
            out.push_str(&format!("| {} |\n|{}\n", table.columns.join(" | "), "---|".repeat(table.columns.len())));
            for row in table.rows {
                let cells: Vec<String> = row.iter().map(|c| escape(c)).collect();
                out.push_str(&format!("| {} |\n", cells.join(" | ")));
            }
        }
    }
    out
}

/// Plain text, with columns in line.
pub fn text(comparison: &Comparison) -> String {
    let mut out = String::new();
    for section in sections(comparison) {
        let gap = if out.is_empty() { "" } else { "\n" };
        out.push_str(&format!("{gap}{}\n", calm(&section.title)));
        section.notes.iter().for_each(|n| out.push_str(&format!("  {}\n", calm(n))));
        for table in section.tables {
            out.push_str(&format!("\n  {}\n", calm(&table.title)));
            if table.rows.is_empty() {
                out.push_str(&format!("    {}\n", table.none));
                continue;
            }
            let head = table.columns.iter().map(|c| (*c).to_owned()).collect();
            let rows: Vec<Vec<String>> = std::iter::once(head).chain(table.rows).collect();
            let width = |i: usize| rows.iter().map(|r| calm(&r[i]).chars().count()).max().unwrap_or(0);
            let widths: Vec<usize> = (0..table.columns.len()).map(width).collect();
            for row in &rows {
                let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{:<width$}", calm(cell)));
                out.push_str(&format!("    {}\n", cells.collect::<Vec<_>>().join("  ").trim_end()));
            }
        }
    }
    out
}

/// HTML.
pub fn html(comparison: &Comparison) -> String {
    let mut out = String::from(concat!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
        "<meta name=\"viewport\" content=\"width=device-width\"><title>holdback compare</title>\n<style>",
        "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}",
        "table{border-collapse:collapse}td,th{padding:.2rem .8rem;border-bottom:1px solid #ccc;text-align:left}",
        "@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}td,th{border-color:#444}}",
        "</style></head><body>\n<h1>Comparison</h1>\n"
    ));
    for section in sections(comparison) {
        out.push_str(&format!("<h2>{}</h2>\n<ul>\n", escape_html(&section.title)));
        section.notes.iter().for_each(|n| out.push_str(&format!("<li>{}</li>\n", escape_html(n))));
        out.push_str("</ul>\n");
        for table in section.tables {
            out.push_str(&format!("<h3>{}</h3>\n", escape_html(&table.title)));
            if table.rows.is_empty() {
                out.push_str(&format!("<p>{}</p>\n", table.none));
                continue;
            }
            let head: String = table.columns.iter().map(|c| format!("<th>{c}</th>")).collect();
            out.push_str(&format!("<table>\n<tr>{head}</tr>\n"));
            for row in table.rows {
                let cells: String = row.iter().map(|c| format!("<td>{}</td>", escape_html(c))).collect();
                out.push_str(&format!("<tr>{cells}</tr>\n"));
            }
            out.push_str("</table>\n");
        }
    }
    out.push_str("</body></html>\n");
    out
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn sections(comparison: &Comparison) -> Vec<Section> {
    comparison.others.iter().map(|pair| section(comparison, pair)).collect()
}

fn section(comparison: &Comparison, pair: &Pair) -> Section {
    let mut notes = vec![format!(
        "pass^1 {} -> {} (95 % intervals, exactly these tasks)",
        super::estimate(comparison.first_rate.as_ref()),
        super::estimate(pair.other_rate.as_ref())
    )];
    if !pair.measurement_changes.is_empty() {
        notes.push(format!(
            "The measurement changed ({}): differences below need not come from the loop.",
            pair.measurement_changes.join(", ")
        ));
    }
    if !pair.loop_changes.is_empty() {
        notes.push(format!("Changed in the loop: {}", pair.loop_changes.join("; ")));
    }
    for (which, tasks) in [("first", &pair.only_first), ("second", &pair.only_other)] {
        if !tasks.is_empty() {
            notes.push(format!("Only in the {which}: {}", tasks.join(", ")));
        }
    }
    notes.extend(super::judge_lines(&pair.judges));
    let flips: Vec<&TaskMove> = pair.tasks.iter().filter(|t| t.real).collect();
    let unsteady = pair.tasks.iter().filter(|t| t.other_standing == Standing::Flaky && !t.real);
    let broken = pair.tasks.iter().filter(|t| t.other_standing == Standing::Broken && !t.real);
    let task_table = |title: &str, tasks: Vec<&TaskMove>, none| Table {
        title: title.to_owned(),
        columns: vec!["Task", "First", "Second", "p", "q"],
        rows: tasks.iter().map(|t| task_row(t)).collect(),
        none,
    };
    Section {
        title: format!("{} and {}", super::source(&comparison.first), super::source(&pair.other)),
        notes,
        tables: vec![
            task_table(
                "Tasks that differ beyond noise",
                flips,
                "None (at most a tenth of those listed would be by chance).",
            ),
            task_table("Flaky: now this, now that", unsteady.collect(), "None."),
            task_table("Broken in both, or too few trials to tell", broken.collect(), "None."),
            Table {
                title: "Graders".to_owned(),
                columns: vec!["Grader", "First", "Second", "p", "Beyond noise"],
                rows: pair
                    .graders
                    .iter()
                    .map(|g| {
                        let real = if g.real { "yes" } else { "no" };
                        vec![g.grader.clone(), share(g.first), share(g.other), p_value(g.p), real.to_owned()]
                    })
                    .collect(),
                none: "No grader graded in both.",
            },
            Table {
                title: "Cost and time of a trial".to_owned(),
                columns: vec!["", "First p50", "Second p50", "Ratio", "First p95", "Second p95"],
                rows: pair.moved.iter().map(moved_row).collect(),
                none: "Not known.",
            },
        ],
    }
}

fn task_row(task: &TaskMove) -> Vec<String> {
    vec![task.task.clone(), share(task.first), share(task.other), p_value(task.p), p_value(task.q)]
}

fn share(counts: Counts) -> String {
    format!("{}/{}", counts.c, counts.n)
}

fn moved_row(moved: &Moved) -> Vec<String> {
    let ratio = match (moved.ratio, moved.ratio_bounds) {
        (Some(ratio), Some(bounds)) => format!("{ratio:.2} [{:.2}, {:.2}]", bounds.lower, bounds.upper),
        (Some(ratio), None) => format!("{ratio:.2}"),
        (None, _) => "–".to_owned(),
    };
    let name =
        if moved.unknown > 0 { format!("{} ({} unknown)", moved.what, moved.unknown) } else { moved.what.clone() };
    let number = |x: f64| format!("{x:.4}");
    vec![name, number(moved.first), number(moved.other), ratio, number(moved.first_p95), number(moved.other_p95)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::compare;
    use crate::gate::testing::arm;

    fn sample() -> Comparison {
        let first = arm("a", &[("<broken>", "pppppppp"), ("flaky", "pfpfpfpf"), ("same", "pppppppp"), ("gone", "pp")]);
        let other = arm("b", &[("<broken>", "ffffffff"), ("flaky", "pfpfpfff"), ("same", "pppppppp"), ("new", "pp")]);
        compare(&first, &[&other])
    }

    #[test]
    fn both_formats_read_well_and_let_no_name_through() {
        let (md, page) = (markdown(&sample()), html(&sample()));
        assert!(page.contains("&lt;broken&gt;") && !page.contains("<broken>"));
        assert!(md.contains("&lt;broken&gt;") && !md.contains("<broken>"));
        insta::assert_snapshot!(md);
    }

    #[test]
    fn text_keeps_its_columns_and_its_lines() {
        let mut comparison = sample();
        comparison.others[0].tasks[0].task = "a\nb\u{1b}[2J".to_owned();
        let text = text(&comparison);
        assert!(text.contains("a b [2J") && !text.contains('\u{1b}'), "{text}");
        let table: Vec<&str> = text.lines().skip_while(|l| !l.contains("beyond noise")).skip(1).take(2).collect();
        let column = |line: &str| line.chars().count() - line.trim_start().chars().count();
        assert!(table[0].starts_with("    Task") && table.iter().all(|l| column(l) == 4), "{text}");
        assert_eq!(table[0].find("First"), table[1].find("8/8"), "{text}");
    }
}
