//! An overview in the words and the style of a house: a minijinja template of its own.

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};

use super::overview::Overview;
use super::page::words;

/// A template that can't be filled in.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct BadTemplate(#[from] minijinja::Error);

/// Fills in a template. It sees the overview's fields (`headline`, `arms`, `tasks`, `failures`, …) and the filters `percent`,
/// `dollars`, `seconds`, `tokens` and `minute`. In a template named `….html` everything is escaped.
///
/// # Errors
/// When it is no template, or asks for what there isn't.
pub fn render(name: &str, source: &str, overview: &Overview) -> Result<String, BadTemplate> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.add_filter("percent", crate::gate::percent as fn(f64) -> String);
    environment.add_filter("dollars", words::dollars as fn(f64) -> String);
    environment.add_filter("seconds", words::seconds as fn(f64) -> String);
    environment.add_filter("tokens", words::tokens as fn(f64) -> String);
    environment.add_filter("minute", |at: i64| words::minute(crate::trace::Timestamp(at)));
    Ok(environment.render_named_str(name, source, Serde(overview))?)
}

#[cfg(test)]
mod tests {
    use super::super::overview::samples;
    use super::*;

    #[test]
    fn a_house_has_its_own_words() {
        let overview = samples::regressed();
        let source = "{{ headline.word }}{% for arm in arms %} {{ arm.passed }}/{{ arm.trials }} {{ arm.curve[0].estimate.value | percent }}{% endfor %}";
        assert_eq!(render("a.md", source, &overview).unwrap(), "Regression 56/56 100.0 % 46/55 83.9 %");
        let page = render("a.html", "<b>{{ title }}</b>", &overview).unwrap();
        assert!(page.starts_with("<b>pay &lt;") && !page.contains("<script>"), "{page}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let wrong = render("a.md", "fine\n{{ nonsense }}", &samples::small()).unwrap_err().to_string();
        assert!(wrong.contains("a.md:2"), "{wrong}");
    }
}
