//! Secrets known by what stands before them: assignments, addresses with passwords, query parameters, authorisation and
//! cookie headers quoted in a text.

use std::ops::Range;

use base64::Engine as _;

use super::headers::is_secret_parameter;
use super::random::{is_mixed, is_random};
use super::scan::Found;
use super::shapes::Finder;

/// Words to stop at.
pub const WORDS: &[(&str, Finder)] = &[
    ("://", Finder::Look(address)),
    ("earer ", Finder::Look(bearer)),
    ("EARER ", Finder::Look(bearer)),
    ("asic ", Finder::Look(basic)),
    ("ookie: ", Finder::Look(cookie)),
    ("pass", Finder::Look(assigned)),
    ("Pass", Finder::Look(assigned)),
    ("PASS", Finder::Look(assigned)),
    ("_pwd", Finder::Look(assigned)),
    ("_PWD", Finder::Look(assigned)),
    ("Pwd=", Finder::Look(assigned)),
    ("ecret", Finder::Look(assigned)),
    ("ECRET", Finder::Look(assigned)),
    ("oken", Finder::Look(assigned)),
    ("OKEN", Finder::Look(assigned)),
    ("_key", Finder::Look(assigned)),
    ("-key", Finder::Look(assigned)),
    ("-Key", Finder::Look(assigned)),
    ("_KEY", Finder::Look(assigned)),
    ("pikey", Finder::Look(assigned)),
    ("APIKEY", Finder::Look(assigned)),
    ("iKey", Finder::Look(assigned)),
    ("sKey", Finder::Look(assigned)),
    ("tKey", Finder::Look(assigned)),
    ("eKey", Finder::Look(assigned)),
    ("nKey", Finder::Look(assigned)),
    ("gKey", Finder::Look(assigned)),
    ("hKey", Finder::Look(assigned)),
    ("uthorization", Finder::Look(assigned)),
    ("key=", Finder::Look(parameter)),
    ("oken=", Finder::Look(parameter)),
    ("sig=", Finder::Look(parameter)),
    ("ignature=", Finder::Look(parameter)),
    ("Credential=", Finder::Look(parameter)),
    ("auth=", Finder::Look(parameter)),
];

/// Endings of names that hold secrets; lower case, `-`, `_` and `.` taken out.
const NAMES: &[(&str, &str)] = &[
    ("password", "password"),
    ("passwd", "password"),
    ("passphrase", "password"),
    ("pass", "password"),
    ("pwd", "password"),
    ("secret", "secret"),
    ("token", "token"),
    ("apikey", "api-key"),
    ("secretkey", "secret"),
    ("accesskey", "secret"),
    ("privatekey", "secret"),
    ("authkey", "secret"),
    ("accountkey", "secret"),
    ("masterkey", "secret"),
    ("sharedkey", "secret"),
    ("subscriptionkey", "api-key"),
    ("encryptionkey", "secret"),
    ("signingkey", "secret"),
    ("authorization", "authorization"),
];
/// Names with such an ending that hold no secret.
const HARMLESS: &[&str] = &[
    "bypass",
    "compass",
    "pagetoken",
    "nexttoken",
    "continuationtoken",
    "synctoken",
    "stoptoken",
    "eostoken",
    "bostoken",
    "padtoken",
    "unktoken",
    "masktoken",
    "endtoken",
    "maxtoken",
    "pertoken",
    "publickey",
];
/// What people write where a secret goes.
const STAND_INS: &[&str] =
    &["your", "xxxx", "****", "...", "changeme", "change_me", "placeholder", "replace", "insert", "[redacted"];
const LONGEST: usize = 4096;

/// `name = value`, in env files, YAML, JSON (also inside a JSON string), code, headers and connection strings.
fn assigned(text: &[u8], at: usize) -> Option<Found> {
    let name = name_around(text, at);
    // Most stops are at words of prose, which nothing is assigned to: that is the cheapest thing to see.
    let (value, quoted) = value_after(text, &name)?;
    let plain = plain(&text[name.clone()]);
    let kind = NAMES.iter().rev().find(|(end, _)| plain.ends_with(end)).map(|(_, kind)| *kind)?;
    if HARMLESS.iter().any(|end| plain.ends_with(end)) || !is_own_word(&text[name.clone()], kind) {
        return None;
    }
    let value = if kind == "authorization" { after_scheme(text, value) } else { value };
    let secret = &text[value.clone()];
    if is_stand_in(secret) {
        return None;
    }
    // An environment variable; what stands before its name (a colour, say) may be anything.
    let shouted = text[name.end - 4..name.end].iter().all(|b| !b.is_ascii_lowercase());
    let fits = match kind {
        "password" => is_password(secret, quoted, shouted && text[name.end] == b'='),
        _ => (secret.len() >= 16 && is_random(secret)) || (secret.len() >= 32 && is_mixed(secret) && is_plain(secret)),
    };
    fits.then_some(Found { range: value, kind })
}

/// The whole name that a word is part of.
fn name_around(text: &[u8], at: usize) -> Range<usize> {
    let letter = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let before = text[..at].iter().rev().take(64).take_while(|b| letter(b) || **b == b'.').count();
    let after = text[at..].iter().take(64).take_while(|b| letter(b)).count();
    let start = at - before;
    // The letter of an escape (`\n`) is not part of the name.
    let escaped = start > 0 && text[start - 1] == b'\\' && before > 0;
    start + usize::from(escaped)..at + after
}

fn plain(name: &[u8]) -> String {
    name.iter().filter(|b| b.is_ascii_alphanumeric()).map(|b| b.to_ascii_lowercase() as char).collect()
}

/// `pass` and `pwd` only where they are a word: `db_pass`, `dbPass`, not `bypass`; and `PWD` alone is a directory.
fn is_own_word(name: &[u8], kind: &str) -> bool {
    if kind != "password" || name.len() < 4 {
        return true;
    }
    let short = [b"pass".as_slice(), b"pwd"].into_iter().find(|end| name.to_ascii_lowercase().ends_with(end));
    let Some(short) = short else { return true };
    match name[..name.len() - short.len()].last() {
        None => short == b"pass",
        Some(before) => {
            !before.is_ascii_alphabetic() || (before.is_ascii_lowercase() && name[name.len() - short.len()] == b'P')
        }
    }
}

/// The value that is assigned to a name, and whether it is in quotes.
fn value_after(text: &[u8], name: &Range<usize>) -> Option<(Range<usize>, bool)> {
    let mut at = name.end;
    let flag = text[..name.start].ends_with(b"--") || text[name.clone()].starts_with(b"--");
    at += quotes(&text[at..]).0;
    let spaces = blanks(&text[at..]);
    let rest = &text[at + spaces..];
    let sign = match rest {
        [b'=', b'=', ..] => return None,
        [b':', b'=', ..] | [b'=', b'>', ..] => 2,
        [b'=' | b':', ..] => 1,
        [b'>', ..] if text[..name.start].ends_with(b"<") => 1,
        _ if flag && spaces > 0 => 0,
        _ => return None,
    };
    at += spaces + sign;
    at += blanks(&text[at..]);
    let (skip, quote) = quotes(&text[at..]);
    at += skip;
    let len = match quote {
        Some(quote) => quoted_len(&text[at..], quote, skip - 1),
        None => bare_len(&text[at..]),
    };
    (len > 0).then_some((at..at + len, quote.is_some()))
}

fn blanks(text: &[u8]) -> usize {
    text.iter().take(8).take_while(|b| matches!(b, b' ' | b'\t')).count()
}

/// Backslashes and a quote: how long, and which quote. Backslashes without a quote are nothing.
fn quotes(text: &[u8]) -> (usize, Option<u8>) {
    let slashes = text.iter().take(8).take_while(|b| **b == b'\\').count();
    match text.get(slashes) {
        Some(quote @ (b'"' | b'\'' | b'`')) => (slashes + 1, Some(*quote)),
        _ => (0, None),
    }
}

/// Up to the quote that closes: one with no more backslashes before it than the one that opened. A double quote closes
/// single ones too, because it ends the JSON string they stand in.
fn quoted_len(text: &[u8], quote: u8, slashes: usize) -> usize {
    let mut run = 0;
    for (at, byte) in text.iter().enumerate().take(LONGEST) {
        match *byte {
            b'\\' => run += 1,
            b'\n' | b'\r' => return at - run,
            b if (b == quote || b == b'"') && run <= slashes => return at - run,
            _ => run = 0,
        }
    }
    0
}

fn bare_len(text: &[u8]) -> usize {
    let ends =
        |b: &u8| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'`' | b'\\' | b',' | b';' | b'&' | b'<' | b'>');
    let len = text.iter().take(LONGEST).take_while(|b| !ends(b)).count();
    let closers = text[..len].iter().rev().take_while(|b| matches!(b, b')' | b']' | b'}' | b'|')).count();
    len - closers
}

fn after_scheme(text: &[u8], value: Range<usize>) -> Range<usize> {
    // A scheme is a bare word, so the value that was found ends with it when there are no quotes around.
    let word = text[value.clone()].iter().take_while(|b| b.is_ascii_alphabetic()).count();
    if word == 0 || text.get(value.start + word) != Some(&b' ') {
        return value;
    }
    let start = value.start + word + 1;
    start..(start + bare_len(&text[start..])).max(value.end).max(start)
}

/// Something that stands for a secret instead of being one: a variable, an expression, a word of the manual.
fn is_stand_in(value: &[u8]) -> bool {
    let expression = value.iter().any(|b| matches!(b, b'(' | b'{' | b'<'));
    if expression || matches!(value.first(), None | Some(b'$' | b'%' | b'[' | b'@')) {
        return true;
    }
    let lower = value.to_ascii_lowercase();
    STAND_INS.iter().any(|word| memchr::memmem::find(&lower, word.as_bytes()).is_some())
}

fn is_password(value: &[u8], quoted: bool, shouted: bool) -> bool {
    let dotted = value.contains(&b'.') || value.contains(&b'/');
    let symbols =
        value.iter().any(|b| matches!(b, b'!' | b'@' | b'#' | b'$' | b'%' | b'^' | b'*' | b'+' | b'~' | b'?' | b'='));
    let letters = value.iter().any(u8::is_ascii_alphabetic);
    if value.contains(&b' ') || value.iter().all(|b| b.is_ascii_digit()) && value.len() < 8 {
        return false;
    }
    if shouted && value.len() >= 6 && !value.starts_with(b"/") && !value.starts_with(b"http") {
        return true;
    }
    value.len() >= 8 && letters && (is_random(value) || ((is_mixed(value) || symbols) && (quoted || !dotted)))
}

fn is_plain(value: &[u8]) -> bool {
    value.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'+' | b'/' | b'=' | b'~'))
        && !value.starts_with(b"/")
}

/// `scheme://user:password@host`, and a token alone before the `@`.
fn address(text: &[u8], at: usize) -> Option<Found> {
    let start = at + 3;
    let ends =
        |b: &u8| b.is_ascii_whitespace() || matches!(b, b'/' | b'"' | b'\'' | b'<' | b'>' | b'\\' | b'?' | b'`' | b',');
    let authority = &text[start..];
    let len = authority.iter().take(512).take_while(|b| !ends(b)).count();
    let host = memchr::memrchr(b'@', &authority[..len])?;
    let user = &authority[..host];
    let found = |range: Range<usize>, kind| Some(Found { range: start + range.start..start + range.end, kind });
    match memchr::memchr(b':', user) {
        Some(colon) => {
            let password = &user[colon + 1..];
            let template = password.is_empty() || is_stand_in(password);
            if template { None } else { found(colon + 1..host, "password") }
        }
        None => {
            if user.len() >= 20 && is_random(user) {
                found(0..host, "token")
            } else {
                None
            }
        }
    }
}

/// `Bearer value` in a text.
fn bearer(text: &[u8], at: usize) -> Option<Found> {
    let start = at + "earer ".len();
    let letter =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'=' | b':');
    let len = text[start..].iter().take(LONGEST).take_while(|b| letter(b)).count();
    let value = &text[start..start + len];
    let fits = len >= 16 && is_mixed(value) && (is_random(value) || len >= 40) && !is_stand_in(value);
    (fits && at > 0 && text[at - 1].eq_ignore_ascii_case(&b'b'))
        .then_some(Found { range: start..start + len, kind: "bearer" })
}

/// `Basic value`, when the value is base64 for `user:password`.
fn basic(text: &[u8], at: usize) -> Option<Found> {
    let start = at + "asic ".len();
    let letter = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    let len = text[start..].iter().take(LONGEST).take_while(|b| letter(b)).count();
    let value = &text[start..start + len];
    if len < 8 || at == 0 || !text[at - 1].eq_ignore_ascii_case(&b'b') {
        return None;
    }
    let plain = base64::engine::general_purpose::STANDARD.decode(value).ok()?;
    let credentials = plain.contains(&b':') && plain.iter().all(|b| (b' '..=b'~').contains(b) || *b >= 0x80);
    credentials.then_some(Found { range: start..start + len, kind: "basic" })
}

/// `Cookie: name=value; …` and `Set-Cookie: …` in a text, up to the end of its line.
fn cookie(text: &[u8], at: usize) -> Option<Found> {
    let start = at + "ookie: ".len();
    let ends = |b: &u8| matches!(b, b'\n' | b'\r' | b'"' | b'\'' | b'\\' | b'`');
    let len = text[start..].iter().take(LONGEST).take_while(|b| !ends(b)).count();
    let line = &text[start..start + len];
    let equals = memchr::memchr(b'=', line)?;
    let name = &line[..equals];
    let value = line[equals + 1..].iter().take_while(|b| !matches!(b, b';' | b' ')).count();
    let named = !name.is_empty() && name.iter().all(|b| b.is_ascii_graphic()) && !line.starts_with(b"[redacted:");
    (named && value >= 8).then_some(Found { range: start..start + len, kind: "cookie" })
}

/// `?key=value` and `&sig=value` in an address inside a text.
fn parameter(text: &[u8], at: usize) -> Option<Found> {
    let letter = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let mut name = at - text[..at].iter().rev().take(48).take_while(|b| letter(b)).count();
    let equals = at + memchr::memchr(b'=', &text[at..])?;
    // The `&` of a query is `\u0026` in some JSON; then its last digits look like the name's first letters.
    let escaped = memchr::memmem::rfind(&text[name.saturating_sub(1)..equals], b"\\u0026")
        .map(|i| i + name.saturating_sub(1) + 6);
    name = escaped.unwrap_or(name);
    let first = escaped.is_some() || name.checked_sub(1).is_some_and(|i| matches!(text[i], b'?' | b'&' | b';' | b'#'));
    if !first || !is_secret_parameter(std::str::from_utf8(&text[name..equals]).ok()?) {
        return None;
    }
    let start = equals + 1;
    let ends = |b: &u8| {
        b.is_ascii_whitespace()
            || matches!(b, b'&' | b'"' | b'\'' | b'\\' | b'<' | b'>' | b'#' | b')' | b']' | b'`' | b',')
    };
    let len = text[start..].iter().take(LONGEST).take_while(|b| !ends(b)).count();
    let value = &text[start..start + len];
    let strong = matches!(text[name..equals].to_ascii_lowercase().as_slice(), b"key" | b"token" | b"auth" | b"code");
    let fits = if strong { len >= 12 && (is_random(value) || is_mixed(value)) } else { len >= 8 };
    (fits && !is_stand_in(value)).then_some(Found { range: start..start + len, kind: "query" })
}
