//! Secrets to plant. They are put together at run time, so that no scanner of repositories takes this file for a leak.

const BASE62: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const HEX: &str = "0123456789abcdef";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const DIGITS: &str = "0123456789";

/// A secret in the text around it.
pub struct Planted {
    pub name: &'static str,
    pub text: String,
    /// The part that must not survive.
    pub secret: String,
}

/// Letters that look random and are the same in every run; one of each class stands in front, as in any real key.
pub fn letters(alphabet: &str, len: usize, seed: u64) -> String {
    let alphabet = alphabet.as_bytes();
    let mut state = (seed + 1000).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let ends = [alphabet[3], alphabet[alphabet.len() - 3], alphabet[alphabet.len() / 3]];
    let random = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        alphabet[usize::try_from(state >> 33).unwrap() % alphabet.len()]
    });
    ends.into_iter().chain(random).take(len).map(char::from).collect()
}

const PLAIN: [(&str, &str, &str, usize); 28] = [
    ("openai", "sk-", BASE62, 48),
    ("openai project", "sk-proj-", BASE62, 120),
    ("openai service", "sk-svcacct-", BASE62, 80),
    ("anthropic", "sk-ant-api03-", BASE62, 93),
    ("openrouter", "sk-or-v1-", HEX, 64),
    ("deepseek", "sk-", HEX, 32),
    ("google", "AIza", BASE62, 35),
    ("aws", "AKIA", UPPER, 16),
    ("aws temporary", "ASIA", UPPER, 16),
    ("github", "ghp_", BASE62, 36),
    ("github oauth", "gho_", BASE62, 36),
    ("github server", "ghs_", BASE62, 36),
    ("github refresh", "ghr_", BASE62, 76),
    ("github fine-grained", "github_pat_", BASE62, 82),
    ("gitlab", "glpat-", BASE62, 20),
    ("slack bot", "xoxb-123456789012-1234567890123-", BASE62, 24),
    ("slack user", "xoxp-123456789012-1234567890123-", BASE62, 32),
    ("stripe", "sk_live_", BASE62, 24),
    ("stripe restricted", "rk_live_", BASE62, 24),
    ("npm", "npm_", BASE62, 36),
    ("pypi", "pypi-AgEIcHlwaS5vcmc", BASE62, 120),
    ("groq", "gsk_", BASE62, 52),
    ("xai", "xai-", BASE62, 80),
    ("replicate", "r8_", BASE62, 37),
    ("digitalocean", "dop_v1_", HEX, 64),
    ("shopify", "shpat_", HEX, 32),
    ("databricks", "dapi", HEX, 32),
    ("vault", "hvs.", BASE62, 24),
];

/// All of them, each different in every round.
pub fn secrets(round: u64) -> Vec<Planted> {
    let seed = round * 1000;
    let plain = PLAIN.iter().zip(1..).map(|((name, start, alphabet, len), at)| {
        let key = format!("{start}{}", letters(alphabet, *len, seed + at));
        Planted { name, text: key.clone(), secret: key }
    });
    plain.chain(in_context(seed)).collect()
}

fn in_context(seed: u64) -> Vec<Planted> {
    let a = |len, at| letters(BASE62, len, seed + at);
    let mut all = Vec::new();
    let mut plant = |name, before: &str, secret: String, after: &str| {
        all.push(Planted { name, text: format!("{before}{secret}{after}"), secret });
    };
    plant("sendgrid", "", format!("SG.{}.{}", a(22, 50), a(43, 51)), "");
    plant("telegram", "", format!("{}:AA{}", letters(DIGITS, 10, seed + 52), a(33, 53)), "");
    plant("jwt", "", format!("eyJ{}.eyJ{}.{}", a(33, 56), a(80, 57), a(43, 58)), "");
    plant("aws secret", "aws_secret_access_key = ", a(40, 64), "");
    let account = "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=";
    plant("azure storage", account, format!("{}==", a(86, 65)), ";EndpointSuffix=core");
    plant("azure openai", "AZURE_OPENAI_API_KEY=", letters(HEX, 32, seed + 66), "");
    plant("connection string", "postgres://shop:", a(18, 67), "@db.internal:5432/shop");
    plant("basic address", "https://ci:", a(20, 68), "@git.example.com/shop.git");
    plant("env password", "DB_PASSWORD=", a(18, 76), "");
    plant("yaml secret", "client_secret: ", a(32, 69), "");
    plant("bearer", "Authorization: Bearer ", a(40, 70), "");
    plant("query", "https://maps.example.com/v1?key=", a(39, 71), "&lang=en");
    plant("cookie", "Set-Cookie: session=", a(40, 72), "; HttpOnly");
    let key = format!("MII{}\n{}\n{}", a(61, 73), a(64, 74), a(20, 75));
    let (begin, end) = ("-----BEGIN RSA PRIVATE", "-----END RSA PRIVATE");
    plant("pem", &format!("{begin} KEY-----\n"), key, &format!("\n{end} KEY-----\n"));
    all
}
