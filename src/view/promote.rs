//! A failed trace becomes a regression case: first what would be written is shown, then whoever may writes it. All of it is
//! [`cases::promote`], the same as on the command line; no live model is asked from here.

use std::path::{Component, Path, PathBuf};

use maud::{Markup, html};

use super::door::{Ask, Reply, escaped};
use super::{Error, View, frame};
use crate::eval::cases::{self, CaseError, Mocked, Promoted, Rate, Wish};
use crate::promote::Hint;
use crate::report::page::words::{count, shorten};

/// Where cases go when nothing else is said.
const SUITE: &str = "suites/regressions.yaml";
/// What may be said about a case, as it stands in addresses and forms.
const FIELDS: [&str; 6] = ["what", "suite", "never", "call", "whole", "keep_personal"];

/// The page: what is meant, what would be written, and the button that writes it.
pub fn page(view: &View, ask: &Ask) -> Result<Reply, Error> {
    let wish = wish(view, &|name| ask.get(name).to_owned())?;
    let shown = match wish.what.is_empty() {
        true => None,
        false => Some(cases::show(&view.store, &wish, &mut Mocked)),
    };
    let body = html! {
        nav.crumbs aria-label="Where" { a href="/failures" { "Failures" } " / promote" }
        h1 { "Promote" }
        p.lead { "A failed trace becomes a case of a regression suite: one request, made small and freed of personal data, and graders that are proven to see the failure." }
        (form(ask))
        @match shown {
            None => {}
            Some(Ok(shown)) => { (told(ask, &shown)) }
            Some(Err(CaseError::Asked(why) | CaseError::Refused(why) | CaseError::Unanswered(why))) => {
                div.card.refused { p { span.tag.open { "no case" } " " (why) }
                    p.note { "On this page " code { "--never" } " is the tool that it must not call, and " code { "--call" } " the call that failed." } }
            }
            Some(Err(other)) => { div.card.refused { p { span.tag.bad { "broken" } " " (other) } } }
        }
    };
    Ok(Reply::Page(frame::page("/failures", "Promote", &body)))
}

/// Writes the case: suite, tape, record.
pub fn write(view: &View, ask: &Ask) -> Result<Reply, Error> {
    let wish = Wish { add: true, ..wish(view, &|name| ask.field(name).to_owned())? };
    if wish.what.is_empty() {
        return Err(Error::Asked("what is to become a case is not named".to_owned()));
    }
    cases::promote(&view.store, &wish, &mut Mocked).map_err(refused)?;
    // The page says that it is there; loading it again writes nothing.
    Ok(Reply::There(address(&|name| ask.field(name).to_owned())))
}

fn refused(error: CaseError) -> Error {
    match error {
        CaseError::Asked(why) | CaseError::Refused(why) | CaseError::Unanswered(why) => Error::Asked(why),
        other => other.into(),
    }
}

/// Where a trace or a group is promoted.
pub fn link(what: &str) -> String {
    format!("/promote?what={}", escaped(what))
}

fn address(said: &dyn Fn(&str) -> String) -> String {
    let said = FIELDS.iter().map(|name| (name, said(name))).filter(|(_, value)| !value.is_empty());
    format!(
        "/promote?{}",
        said.map(|(name, value)| format!("{name}={}", escaped(&value))).collect::<Vec<_>>().join("&")
    )
}

fn wish(view: &View, said: &dyn Fn(&str) -> String) -> Result<Wish, Error> {
    let call = match said("call").as_str() {
        "" => None,
        call => Some(call.parse().map_err(|_| Error::Asked(format!("call {call:?}: expected a call's number")))?),
    };
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(Wish {
        hint: Hint { never: some(said("never")), call },
        whole: !said("whole").is_empty(),
        keep_personal: !said("keep_personal").is_empty(),
        ..Wish::new(&said("what"), suite(&view.desk.folder, &said("suite"))?)
    })
}

/// The suite's file: a YAML file in the folder where the view was started, or below it, and nowhere else.
fn suite(folder: &Path, asked: &str) -> Result<PathBuf, Error> {
    let asked = Path::new(if asked.is_empty() { SUITE } else { asked });
    let inside = asked
        .components()
        .all(|part| matches!(part, Component::Normal(name) if !name.to_string_lossy().starts_with('.')));
    let yaml = asked.extension().is_some_and(|end| end == "yaml" || end == "yml");
    if !inside || !yaml {
        let words = format!("suite {asked:?}: expected a YAML file below the folder of this view, like {SUITE}");
        return Err(Error::Asked(words));
    }
    Ok(if folder == Path::new(".") { asked.to_owned() } else { folder.join(asked) })
}

fn form(ask: &Ask) -> Markup {
    let input = |name: &str, says: &str, hint: &str| {
        let wide = matches!(name, "what" | "suite");
        html! { label.wide[wide] { span { (says) } input name=(name) value=(ask.get(name)) placeholder=(hint) autocomplete="off"; } }
    };
    html! {
        form.search.card method="get" action="/promote" {
            (input("what", "Trace or group", "id, name, last-failed"))
            (input("suite", "Into the suite", SUITE))
            (input("never", "Must not call", "a tool"))
            (input("call", "Call that failed", "its number"))
            div.do {
                button.main type="submit" { "Show" }
                label.tick { input type="checkbox" name="whole" value="yes" checked[!ask.get("whole").is_empty()]; " leave the conversation whole" }
                label.tick { input type="checkbox" name="keep_personal" value="yes" checked[!ask.get("keep_personal").is_empty()]; " keep personal data" }
            }
        }
    }
}

fn told(ask: &Ask, shown: &Promoted) -> Markup {
    let (before, after) = (shown.before, shown.after);
    let suite = shown.suite.display().to_string();
    html! {
        section {
            h2 { (shown.case) " " @if shown.present { span.tag.good { "in the suite" } } }
            @if shown.present { p { "It is in " code { (suite) } " already: one case, not two. " code { "holdback eval " (suite) } " asks it again." } }
            dl.facts.card {
                div.long { dt { "what went wrong" } dd { (shorten(&shown.reason, 600)) } }
                div.long { dt { "proven red" } dd { (shorten(&shown.proven_red, 600)) } }
                div { dt { "request" } dd { (before.messages) " messages, " (before.tools) " tools, " (before.bytes) " bytes" } }
                div { dt { "on the tape" } dd { (after.messages) " messages, " (after.tools) " tools, " (after.bytes) " bytes" } }
                @if shown.personal > 0 { div { dt { "personal data" } dd { (count(shown.personal as u64, "piece")) " replaced" } } }
                @if let Some(rate) = &shown.rate { div.long { dt { "asked again" } dd { (share(rate)) } } }
            }
            @for note in shown.notes.iter().chain(&shown.besides) { p.note { (shorten(note, 600)) } }
            h3 { @if shown.present { "The task" } @else { "What would be written to " code { (suite) } } }
            pre.card.code tabindex="0" { (shown.task) }
            @if !shown.present { (button(ask)) }
        }
    }
}

fn share(rate: &Rate) -> String {
    let (low, high) = (100.0 * rate.lower, 100.0 * rate.upper);
    format!("{} failed {} of {} times, 95 % [{low:.0}, {high:.0}] %", rate.model, rate.failed, rate.asked)
}

fn button(ask: &Ask) -> Markup {
    html! {
        @match &ask.csrf {
            Some(csrf) => {
                form.inline method="post" action="/promote" {
                    input type="hidden" name="csrf" value=(csrf);
                    @for name in FIELDS { @if !ask.get(name).is_empty() { input type="hidden" name=(name) value=(ask.get(name)); } }
                    button.main type="submit" id="promote" data-key="w" { "Write it " kbd { "w" } }
                    span.note { "the task above, a tape of the request beside the suite, and a record of the case" }
                }
            }
            None => { div.card.empty { p { "This view only reads." } p { code { "holdback view --write" } } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_lies_below_the_folder_and_is_yaml() {
        let here = Path::new(".");
        assert_eq!(suite(here, "").unwrap(), Path::new(SUITE));
        assert_eq!(suite(Path::new("/x"), "a/b.yml").unwrap(), Path::new("/x/a/b.yml"));
        for bad in
            ["../x.yaml", "/etc/x.yaml", "a/../../x.yaml", "x.sh", ".git/x.yaml", "a/.b/x.yaml", "suites", "./x.yaml"]
        {
            assert!(suite(here, bad).is_err(), "{bad}");
        }
    }
}
