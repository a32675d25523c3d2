//! The shapes of known keys: a beginning that only they have, and what follows it.

use super::scan::Found;
use super::{blocks, context};

/// What may follow a beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letters {
    Alnum,
    /// Letters, digits, `-` and `_`.
    Word,
    /// `Word` and dots.
    Dotted,
    Hex,
    Upper,
}

/// What tells a key from a word that begins alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Any,
    /// A letter and a digit at least.
    Mixed,
    /// Upper and lower case.
    Cased,
}

/// A kind of key.
#[derive(Debug)]
pub struct Shape {
    kind: &'static str,
    start: &'static str,
    letters: Letters,
    /// How many letters must follow; `exact` ones have no more either.
    len: usize,
    exact: bool,
    look: Look,
}

const fn shape(kind: &'static str, start: &'static str, letters: Letters, len: usize, look: Look) -> Shape {
    Shape { kind, start, letters, len, exact: false, look }
}

const fn exact(kind: &'static str, start: &'static str, letters: Letters, len: usize, look: Look) -> Shape {
    Shape { kind, start, letters, len, exact: true, look }
}

use Letters::{Alnum, Dotted, Hex, Upper, Word};
use Look::{Any, Cased, Mixed};

#[rustfmt::skip]
static SHAPES: &[Shape] = &[
    exact("aws-key-id", "ABIA", Upper, 16, Mixed),
    exact("aws-key-id", "ACCA", Upper, 16, Mixed),
    exact("aws-key-id", "AKIA", Upper, 16, Any),
    exact("aws-key-id", "ASIA", Upper, 16, Any),
    shape("age-key", "AGE-SECRET-KEY-1", Upper, 40, Any),
    exact("google-key", "AIza", Word, 35, Any),
    shape("google-oauth", "GOCSPX-", Word, 24, Any),
    shape("google-token", "ya29.", Word, 24, Mixed),
    shape("atlassian-token", "ATATT3x", Word, 40, Any),
    shape("cerebras-key", "csk-", Alnum, 32, Mixed),
    shape("databricks-token", "dapi", Hex, 32, Mixed),
    shape("digitalocean-token", "doo_v1_", Hex, 40, Any),
    shape("digitalocean-token", "dop_v1_", Hex, 40, Any),
    shape("digitalocean-token", "dor_v1_", Hex, 40, Any),
    shape("doppler-token", "dp.pt.", Alnum, 32, Any),
    shape("figma-token", "figd_", Word, 32, Mixed),
    shape("github-token", "ghp_", Alnum, 30, Mixed),
    shape("github-token", "gho_", Alnum, 30, Mixed),
    shape("github-token", "ghu_", Alnum, 30, Mixed),
    shape("github-token", "ghs_", Alnum, 30, Mixed),
    shape("github-token", "ghr_", Alnum, 30, Mixed),
    shape("github-token", "github_pat_", Word, 40, Mixed),
    shape("gitlab-token", "glpat-", Dotted, 20, Mixed),
    shape("gitlab-token", "gldt-", Word, 20, Mixed),
    shape("gitlab-token", "glptt-", Word, 20, Mixed),
    shape("gitlab-token", "glrt-", Dotted, 20, Mixed),
    shape("grafana-token", "glsa_", Word, 32, Mixed),
    shape("groq-key", "gsk_", Alnum, 32, Mixed),
    shape("huggingface-token", "hf_", Alnum, 30, Cased),
    shape("langsmith-key", "lsv2_", Word, 32, Mixed),
    shape("linear-key", "lin_api_", Alnum, 32, Any),
    shape("mailgun-key", "key-", Hex, 32, Mixed),
    shape("notion-token", "ntn_", Alnum, 32, Mixed),
    shape("npm-token", "npm_", Alnum, 36, Mixed),
    shape("nvidia-key", "nvapi-", Word, 40, Mixed),
    shape("perplexity-key", "pplx-", Alnum, 32, Mixed),
    shape("pypi-token", "pypi-", Word, 50, Mixed),
    exact("replicate-token", "r8_", Alnum, 37, Mixed),
    shape("sendgrid-key", "SG.", Dotted, 40, Mixed),
    shape("sentry-token", "sntrys_", Alnum, 40, Any),
    shape("shopify-token", "shpat_", Hex, 32, Any),
    shape("shopify-token", "shpca_", Hex, 32, Any),
    shape("shopify-token", "shppa_", Hex, 32, Any),
    shape("shopify-token", "shpss_", Hex, 32, Any),
    shape("slack-token", "xoxa-", Word, 16, Mixed),
    shape("slack-token", "xoxb-", Word, 16, Mixed),
    shape("slack-token", "xoxe", Dotted, 24, Mixed),
    shape("slack-token", "xoxp-", Word, 16, Mixed),
    shape("slack-token", "xoxr-", Word, 16, Mixed),
    shape("slack-token", "xoxs-", Word, 16, Mixed),
    shape("slack-token", "xapp-", Word, 24, Mixed),
    shape("stripe-key", "rk_live_", Alnum, 16, Mixed),
    shape("stripe-key", "rk_test_", Alnum, 16, Mixed),
    shape("stripe-key", "sk_live_", Alnum, 16, Mixed),
    shape("stripe-key", "sk_test_", Alnum, 16, Mixed),
    shape("stripe-key", "whsec_", Alnum, 24, Mixed),
    shape("supabase-key", "sb_secret_", Word, 20, Mixed),
    shape("supabase-token", "sbp_", Hex, 40, Any),
    shape("tavily-key", "tvly-", Word, 24, Mixed),
    shape("vault-token", "hvb.", Word, 24, Mixed),
    shape("vault-token", "hvs.", Word, 24, Mixed),
    shape("xai-key", "xai-", Alnum, 32, Mixed),
];

/// Who looks closer where a word was found.
#[derive(Debug, Clone, Copy)]
pub enum Finder {
    Shape(&'static Shape),
    /// Takes the text and where the word begins.
    Look(fn(&[u8], usize) -> Option<Found>),
}

impl Finder {
    /// The secret at a word, if there is one.
    pub fn at(&self, text: &[u8], at: usize) -> Option<Found> {
        match self {
            Finder::Shape(shape) => shape.at(text, at),
            Finder::Look(look) => look(text, at),
        }
    }
}

/// Every word to stop at, with who looks closer there.
pub fn all() -> impl Iterator<Item = (&'static str, Finder)> {
    let shapes = SHAPES.iter().map(|shape| (shape.start, Finder::Shape(shape)));
    shapes.chain([("sk-", Finder::Look(sk))]).chain(blocks::WORDS.iter().copied()).chain(context::WORDS.iter().copied())
}

impl Letters {
    fn has(self, byte: u8) -> bool {
        match self {
            Alnum => byte.is_ascii_alphanumeric(),
            Word => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
            Hex => byte.is_ascii_hexdigit(),
            Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
        }
    }

    fn run(self, text: &[u8]) -> usize {
        text.iter().take_while(|byte| self.has(**byte)).count()
    }
}

impl Look {
    fn fits(self, key: &[u8]) -> bool {
        match self {
            Any => true,
            Mixed => key.iter().any(u8::is_ascii_digit) && key.iter().any(u8::is_ascii_alphabetic),
            Cased => key.iter().any(u8::is_ascii_uppercase) && key.iter().any(u8::is_ascii_lowercase),
        }
    }
}

impl Shape {
    fn at(&self, text: &[u8], at: usize) -> Option<Found> {
        let key = at + self.start.len();
        if !begins(text, at) {
            return None;
        }
        let run = self.letters.run(&text[key..]);
        let enough = if self.exact { run == self.len } else { run >= self.len };
        let range = at..key + run;
        (enough && self.look.fits(&text[key..key + run])).then_some(Found { range, kind: self.kind })
    }
}

/// `sk-`: OpenAI and the many who took its shape over.
fn sk(text: &[u8], at: usize) -> Option<Found> {
    const NAMED: &[(&str, &str)] = &[
        ("ant-", "anthropic-key"),
        ("proj-", "openai-key"),
        ("svcacct-", "openai-key"),
        ("admin-", "openai-key"),
        ("None-", "openai-key"),
        ("or-v1-", "openrouter-key"),
        ("lf-", "langfuse-key"),
    ];
    if !begins(text, at) {
        return None;
    }
    let rest = &text[at + 3..];
    let key = &rest[..Word.run(rest)];
    let range = at..at + 3 + key.len();
    for (name, kind) in NAMED {
        if let Some(key) = key.strip_prefix(name.as_bytes()) {
            return (key.len() >= 20 && Mixed.fits(key)).then_some(Found { range, kind });
        }
    }
    // Slugs and class names are words between hyphens; a key has a long stretch without one, letters and digits mixed.
    let dense = key.split(|b| matches!(b, b'-' | b'_')).any(|run| run.len() >= 16 && Mixed.fits(run));
    (key.len() >= 20 && dense).then_some(Found { range, kind: "openai-key" })
}

/// Whether something may begin here: no letter or digit before it, unless that belongs to an escape sequence (`\n`,
/// `\u0026`, `%3D`) or to a terminal's colour.
pub fn begins(text: &[u8], at: usize) -> bool {
    let before = &text[..at];
    let Some(last) = before.last() else { return true };
    if !last.is_ascii_alphanumeric() {
        return true;
    }
    let back = |n: usize| before.len().checked_sub(n).map(|i| before[i]);
    let hex = |n: usize| back(n).is_some_and(|b| b.is_ascii_hexdigit());
    if back(2) == Some(b'\\') && matches!(last, b'n' | b'r' | b't' | b'b' | b'f') {
        return true;
    }
    if back(3) == Some(b'%') && hex(1) && hex(2) {
        return true;
    }
    if back(6) == Some(b'\\') && back(5) == Some(b'u') && (1..=4).all(hex) {
        return true;
    }
    let colour = before[..at - 1].iter().rev().take(12).skip_while(|b| b.is_ascii_digit() || **b == b';');
    *last == b'm' && colour.copied().next() == Some(b'[')
}
