//! JSON for machines: the whole report under a format name.

use serde::Serialize;

use crate::gate::GateReport;

/// The format's name; the number grows when a reader of the old one would read the new one wrongly.
pub const FORMAT: &str = "holdback-gate/1";

#[derive(Serialize)]
struct Document<'a, T> {
    format: &'a str,
    holdback: &'a str,
    #[serde(flatten)]
    content: &'a T,
}

/// A verdict.
pub fn gate(report: &GateReport) -> String {
    document(FORMAT, report)
}

/// Anything else the gate computes (a comparison, a plan, a calibration), under its own format name.
pub fn document<T: Serialize>(format: &str, content: &T) -> String {
    let document = Document { format, holdback: env!("CARGO_PKG_VERSION"), content };
    let mut text = serde_json::to_string_pretty(&document).expect("reports are plain data, which always becomes JSON");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_comes_back_as_it_went() {
        for (name, report) in super::super::samples::all() {
            let text = gate(&report);
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["format"], FORMAT);
            assert_eq!(value["verdict"], report.verdict.as_str(), "{name}");
            let again: GateReport = serde_json::from_value(value).unwrap();
            assert_eq!(serde_json::to_string(&again).unwrap(), serde_json::to_string(&report).unwrap(), "{name}");
        }
    }

    #[test]
    fn the_shape_is_held() {
        insta::with_settings!({filters => vec![(r#""holdback": "[0-9.]+""#, r#""holdback": "VERSION""#)]}, {
            insta::assert_snapshot!(gate(&super::super::samples::invalid()));
        });
    }
}
