//! Header values that were looked at before and had nothing to hide. A loop sends the same headers with every call.

use std::collections::HashSet;

use super::Redactor;
use super::headers::{is_secret_header, redact_target};
use crate::trace::Headers;

/// Values remembered in each of two generations; the older one goes when the younger is full.
const REMEMBERED: usize = 1024;
/// A longer value is looked at each time.
const LONGEST: usize = 512;

/// Values that are as they may be kept. Only for one redactor.
#[derive(Debug, Default)]
pub struct Clean {
    young: HashSet<String>,
    old: HashSet<String>,
}

impl Clean {
    /// What [`Redactor::headers`] gives, sooner.
    pub fn headers(&mut self, redactor: &Redactor, headers: Headers) -> (Headers, u32) {
        let mut replaced = 0;
        let kept = headers.into_iter().map(|(name, value)| {
            // Names are looked at first: what is harmless under one may be a key under another.
            if !is_secret_header(&name) && self.knows(&value) {
                return (name, value);
            }
            let (mut kept, count) = redactor.headers(&vec![(name, value)]);
            replaced += count;
            let (name, value) = kept.pop().expect("as many headers as were given");
            if count == 0 && !is_secret_header(&name) {
                self.remember(&value);
            }
            (name, value)
        });
        (kept.collect(), replaced)
    }

    /// What [`Redactor::target`] gives, sooner.
    pub fn target(&mut self, redactor: &Redactor, target: &str) -> (String, u32) {
        // In a target names count as well: it is remembered under what no header value begins with.
        let known = format!("\n{target}");
        if self.knows(&known) {
            return (target.to_owned(), 0);
        }
        let (kept, count) = redact_target(&redactor.scanner, target);
        if count == 0 {
            self.remember(&known);
        }
        (kept, count)
    }

    fn knows(&mut self, value: &str) -> bool {
        if self.young.contains(value) {
            return true;
        }
        let known = self.old.contains(value);
        if known {
            self.remember(value);
        }
        known
    }

    fn remember(&mut self, value: &str) {
        if value.len() > LONGEST {
            return;
        }
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Rules;

    #[test]
    fn what_is_remembered_changes_nothing() {
        let redactor = Redactor::new(&Rules::default()).unwrap();
        let mut clean = Clean::default();
        let key = format!("ghp_{}", "0123456789abcdefghijABCDEFGHIJ012345");
        let lists: [&[(&str, &str)]; 4] = [
            &[("accept", "text/plain"), ("authorization", "Bearer abcdefgh"), ("x-note", &key)],
            &[("authorization", "text/plain"), ("x-api-key", "text/plain")],
            &[("accept", "text/plain"), ("x-note", "Bearer abcdefgh")],
            &[("x-odd", "/v1?key=abcdefghij0123456789")],
        ];
        for round in 0..2 {
            for list in lists {
                let headers: Headers = list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
                assert_eq!(clean.headers(&redactor, headers.clone()), redactor.headers(&headers), "{round}");
            }
            for target in ["/v1/messages?beta=true", "/v1?key=abcdefghij0123456789", "text/plain"] {
                assert_eq!(clean.target(&redactor, target), redactor.target(target), "{round} {target}");
            }
        }
        for number in 0..10_000 {
            clean.headers(&redactor, vec![("x-request-id".to_owned(), number.to_string())]);
        }
        assert!(clean.young.len() + clean.old.len() <= 2 * REMEMBERED);
    }
}
