//! The page stands on its own, lets no name through, and stays small.

use super::super::overview::samples;
use super::html;

#[test]
fn nothing_is_fetched_from_anywhere() {
    for overview in [samples::regressed(), samples::small(), samples::broken(), samples::ragged()] {
        let page = html(&overview);
        for attribute in ["src=", "href=", "url(", "@import", "srcset", "action="] {
            for (at, _) in page.match_indices(attribute) {
                let value = page[at + attribute.len()..].trim_start_matches(['"', '\'']);
                assert!(
                    value.starts_with('#') || attribute == "src=" && page[..at].ends_with("&lt;img "),
                    "{attribute}{}",
                    &value[..40]
                );
            }
        }
    }
}

#[test]
fn no_name_becomes_html() {
    let page = html(&samples::regressed());
    assert!(!page.contains("<script>alert") && !page.contains("<img"), "a name got through");
    assert_eq!(page.matches("<script>").count(), 1);
    assert!(page.contains("&lt;script&gt;alert(1)"));
}

#[test]
fn the_verdict_comes_first_and_every_number_has_its_trials() {
    let page = html(&samples::regressed());
    let at = |words: &str| page.find(words).unwrap_or_else(|| panic!("{words} is not there"));
    assert!(at("is-regress") < at("pass^1") && at("is-regress") < at("What got worse"));
    assert!(page.contains("not measured") && page.contains("worse beyond noise"));
    assert!(html(&samples::broken()).contains("Nothing measured"));
}

#[test]
fn every_link_inside_leads_somewhere() {
    let page = html(&samples::regressed());
    let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    for target in page.split(" href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(ids.contains(&target), "#{target} leads nowhere");
    }
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ids.len(), "an id is there twice");
}

#[test]
fn what_could_not_be_measured_is_shown() {
    let page = html(&samples::ragged());
    for words in [
        "<b>2</b> not measurable",
        "<b>6</b> missing",
        "copies, counted once",
        "broken grades",
        "abstained grades",
        "a run has not finished",
        "too few trials",
        "not measured",
        "of these trials",
        "1 other",
        "Judges and people",
        "not valid",
        "not drawn",
    ] {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn a_model_has_one_colour_in_all_suites() {
    let mut overview = samples::regressed();
    let mut again = overview.arms[1].clone();
    again.suite = "other".to_owned();
    overview.arms.push(again);
    assert_eq!([0, 1, 2].map(|at| overview.paint(at)), [0, 1, 1]);
}

#[test]
fn a_thousand_trials_stay_below_two_megabytes() {
    let page = html(&samples::large(125, 8));
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
}
