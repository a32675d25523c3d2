//! Headers and targets: what carries keys by its name is replaced whatever it looks like.

use std::ops::Range;

use super::edit::{self, Edit};
use super::scan::Scanner;
use crate::trace::Headers;

/// Headers that carry credentials in every provider's and cloud's dialect, lower case.
const SECRET_HEADERS: &[&str] = &[
    "api-key",
    "apikey",
    "authorization",
    "cf-access-client-id",
    "cf-access-client-secret",
    "cf-access-jwt-assertion",
    "cf-access-token",
    "cookie",
    "helicone-auth",
    "ocp-apim-subscription-key",
    "private-token",
    "proxy-authenticate",
    "proxy-authorization",
    "set-cookie",
    "set-cookie2",
    "x-access-token",
    "x-amz-security-token",
    "x-api-key",
    "x-auth-key",
    "x-auth-token",
    "x-authorization",
    "x-csrf-token",
    "x-forwarded-access-token",
    "x-goog-api-key",
    "x-goog-iam-authorization-token",
    "x-portkey-api-key",
    "x-session-token",
    "x-vault-token",
    "x-xsrf-token",
];
/// Words that make any header's name one that carries a credential.
const SECRET_ENDINGS: &[&str] =
    &["api-key", "apikey", "api_key", "-token", "-secret", "-password", "authorization", "cookie"];
/// Header names with such an ending that carry no secret: counters and limits.
const HARMLESS: &[&str] = &["anthropic-ratelimit-", "x-ratelimit-", "x-rate-limit-", "ratelimit-"];
/// Schemes that stay readable before the value that goes.
const SCHEMES: &[&str] = &["Basic", "Bearer", "Bot", "Digest", "Negotiate", "Token"];
/// Query parameters whose value is a credential, lower case, `-` and `_` taken out.
const SECRET_PARAMETERS: &[&str] = &[
    "accesskey",
    "accesstoken",
    "apikey",
    "apitoken",
    "auth",
    "authkey",
    "authorization",
    "authtoken",
    "awsaccesskeyid",
    "bearer",
    "clientsecret",
    "code",
    "credential",
    "idtoken",
    "jwt",
    "key",
    "pass",
    "passwd",
    "password",
    "refreshtoken",
    "secret",
    "secretkey",
    "sessiontoken",
    "sig",
    "signature",
    "subscriptionkey",
    "token",
    "xamzcredential",
    "xamzsecuritytoken",
    "xamzsignature",
    "xgoogcredential",
    "xgoogsignature",
];

/// Whether a header's value is never kept.
pub fn is_secret_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if HARMLESS.iter().any(|start| name.starts_with(start)) {
        return false;
    }
    SECRET_HEADERS.contains(&name.as_str()) || SECRET_ENDINGS.iter().any(|end| name.ends_with(end))
}

/// Whether a query parameter's value is a credential whatever it looks like.
pub fn is_secret_parameter(name: &str) -> bool {
    let plain: String = name.chars().filter(|c| !matches!(c, '-' | '_')).map(|c| c.to_ascii_lowercase()).collect();
    SECRET_PARAMETERS.contains(&plain.as_str())
}

/// Headers without their secrets, and how many there were.
pub fn redact(scanner: &Scanner, headers: &Headers) -> (Headers, u32) {
    let mut replaced = 0;
    let kept = headers.iter().map(|(name, value)| {
        let (value, count) = if is_secret_header(name) { whole(scanner, name, value) } else { scanned(scanner, value) };
        replaced += count;
        (name.clone(), value)
    });
    (kept.collect(), replaced)
}

fn whole(scanner: &Scanner, name: &str, value: &str) -> (String, u32) {
    let scheme =
        value.split_once(' ').filter(|(scheme, _)| SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme)));
    let (before, secret) = match scheme {
        Some((scheme, secret)) => (format!("{scheme} "), secret.trim()),
        None => (String::new(), value.trim()),
    };
    if secret.is_empty() || scanner.is_placeholder(secret) {
        return (value.to_owned(), 0);
    }
    (format!("{before}{}", scanner.placeholder(&name.to_ascii_lowercase(), secret.as_bytes())), 1)
}

fn scanned(scanner: &Scanner, value: &str) -> (String, u32) {
    let edits = scanner.find(value.as_bytes());
    (String::from_utf8_lossy(&edit::apply(value.as_bytes(), &edits)).into_owned(), edit::count(&edits))
}

/// A path and query without its secrets, and how many there were.
pub fn redact_target(scanner: &Scanner, target: &str) -> (String, u32) {
    let mut edits: Vec<Edit> = Vec::new();
    for (name, range) in parameters(target) {
        let value = &target[range.clone()];
        if is_secret_parameter(name) && !value.is_empty() && !scanner.is_placeholder(value) {
            let with = scanner.placeholder(&name.to_ascii_lowercase(), value.as_bytes());
            edits.push(Edit { range, with, counts: true });
        }
    }
    let named = edit::apply(target.as_bytes(), &edits);
    let (text, count) = scanned(scanner, &String::from_utf8_lossy(&named));
    (text, count + edit::count(&edits))
}

/// The parameters of a target's query, each with the place of its value.
fn parameters(target: &str) -> impl Iterator<Item = (&str, Range<usize>)> {
    let query = target.find('?').map_or(target.len(), |at| at + 1);
    let mut from = query;
    target[query..].split(['&', ';']).filter_map(move |pair| {
        let start = from;
        from += pair.len() + 1;
        let (name, value) = pair.split_once('=')?;
        let at = start + name.len() + 1;
        Some((name, at..at + value.len()))
    })
}
