//! Searches that are kept: records in the log, so that they outlive a browser and are the same for everybody who looks at the
//! store. A kept search is a link.

use maud::{Markup, html};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::door::{Ask, Reply, escaped};
use super::{Error, View};
use crate::capture::clock;
use crate::report::page::words::shorten;
use crate::store::log::Reader;

/// The kind of record.
const FILTER: &str = "filter";
/// Fields that a search may have.
const FIELDS: [&str; 8] = ["q", "tool", "model", "tag", "outcome", "cost", "since", "until"];
/// Searches that are shown, and letters of a value that are kept.
const MOST: usize = 100;
const LONG: usize = 500;

/// A search that was kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Filter {
    name: String,
    /// As it stands in an address, without the question mark.
    query: String,
    /// Somebody wants it no more.
    #[serde(default)]
    gone: bool,
}

/// What of a query is a search, in an order of its own: the same search has the same address.
fn search(pairs: &[(String, String)]) -> Vec<(&'static str, String)> {
    let value = |name: &&str| {
        let (_, value) = pairs.iter().find(|(key, value)| key == name && !value.trim().is_empty())?;
        Some(value.trim().chars().take(LONG).collect::<String>())
    };
    FIELDS.iter().filter_map(|name| Some((*name, value(name)?))).collect()
}

fn address(search: &[(&str, String)]) -> String {
    search.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect::<Vec<_>>().join("&")
}

/// A search in words.
fn words(search: &[(&str, String)]) -> String {
    let word = |(name, value): &(&str, String)| if *name == "q" { value.clone() } else { format!("{name}: {value}") };
    search.iter().map(word).collect::<Vec<_>>().join(", ")
}

fn kept(reader: &Reader) -> Result<Vec<(String, Filter)>, Error> {
    let records = reader.records(FILTER)?.into_iter();
    let read = records.filter_map(|record| Some((record.id, serde_json::from_value::<Filter>(record.data).ok()?)));
    Ok(read.filter(|(_, filter)| !filter.gone).take(MOST).collect())
}

/// The kept searches as links, and below the search where somebody who may can keep this one.
pub fn shown(view: &View, ask: &Ask) -> Result<(Markup, Markup), Error> {
    let all = kept(&view.reader()?)?;
    let now = search(&ask.query);
    let here = address(&now);
    let known = all.iter().any(|(_, filter)| filter.query == here);
    let links = html! { @if !all.is_empty() {
        nav.kept aria-label="Kept searches" { @for (id, filter) in &all {
            span.chip {
                a href={ "/traces?" (filter.query) } aria-current=[(filter.query == here).then_some("true")] { (shorten(&filter.name, 80)) }
                @if let Some(csrf) = &ask.csrf {
                    form method="post" action="/filters/forget" { input type="hidden" name="csrf" value=(csrf); input type="hidden" name="id" value=(id);
                        button type="submit" aria-label={ "Forget " (filter.name) } { "×" } }
                }
            }
        } }
    } };
    let keep = html! { @if let Some(csrf) = ask.csrf.as_ref().filter(|_| !known && !now.is_empty()) {
        form.inline.keep method="post" action="/filters" {
            input type="hidden" name="csrf" value=(csrf);
            @for (name, value) in &now { input type="hidden" name=(name) value=(value); }
            label { "Keep this search as " input name="name" value=(shorten(&words(&now), 80)) maxlength="120" autocomplete="off"; }
            button type="submit" id="keep-filter" { "Keep" }
        }
    } };
    Ok((links, keep))
}

/// Keeps a search.
pub fn keep(view: &View, ask: &Ask) -> Result<Reply, Error> {
    let asked = search(&ask.form);
    if asked.is_empty() {
        return Err(Error::Asked("an empty search need not be kept: /traces shows all".to_owned()));
    }
    let name: String = ask.field("name").chars().take(120).collect();
    let filter =
        Filter { name: if name.is_empty() { words(&asked) } else { name }, query: address(&asked), gone: false };
    let id: String = Sha256::digest(&filter.query).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    record(view, &id, &filter)?;
    Ok(Reply::There(format!("/traces?{}", filter.query)))
}

/// Forgets one.
pub fn forget(view: &View, ask: &Ask) -> Result<Reply, Error> {
    let id = ask.field("id");
    let found = kept(&view.reader()?)?.into_iter().find(|(known, _)| known == id);
    let (id, filter) = found.ok_or_else(|| Error::Missing("there is no such search".to_owned()))?;
    record(view, &id, &Filter { gone: true, ..filter })?;
    Ok(Reply::There("/traces".to_owned()))
}

fn record(view: &View, id: &str, filter: &Filter) -> Result<(), Error> {
    let data = serde_json::to_value(filter).expect("texts are always JSON");
    Ok(view.store.writer()?.record(FILTER, id, clock::now(), &data)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_has_one_address_whatever_else_was_asked() {
        let pairs = |text: &[(&str, &str)]| -> Vec<(String, String)> {
            text.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let one = search(&pairs(&[("tag", "a=b&c"), ("after", "9"), ("q", " no order "), ("tool", ""), ("x", "y")]));
        assert_eq!(address(&one), "q=no%20order&tag=a%3Db%26c");
        assert_eq!(words(&one), "no order, tag: a=b&c");
        assert!(search(&pairs(&[("page", "3")])).is_empty());
    }
}
