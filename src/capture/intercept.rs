//! TLS interception, only when it was asked for by name: for agents that have an address compiled in.
//!
//! A certificate authority is made for one run. Its key never leaves memory, its certificate lies in a folder that is gone
//! after the run, and only the child is told to trust it, through its environment. No store of certificates is changed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use super::clock;
use crate::trace::TraceId;

/// Where systems keep the certificates they trust.
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];
/// Variables that name a file with everything that is trusted.
const BUNDLES: [&str; 6] =
    ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "GIT_SSL_CAINFO", "CARGO_HTTP_CAINFO"];
/// Variables that name a file with what is trusted besides.
const EXTRAS: [&str; 3] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT", "CODEX_CA_CERTIFICATE"];
const PROXIES: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];

/// Why interception can't be had.
#[derive(Debug, thiserror::Error)]
pub enum InterceptError {
    #[error("cannot make certificates for --tls-intercept: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("cannot set up TLS for --tls-intercept: {0}")]
    Tls(#[from] rustls::Error),
    #[error("cannot write the certificates for --tls-intercept: {0}")]
    Write(std::io::Error),
    #[error("{variable} is set, and --tls-intercept cannot go through another proxy: unset it for this run")]
    Chained { variable: &'static str },
}

/// The authority of one run.
pub(super) struct Intercept {
    pub(super) trace: TraceId,
    hosts: Vec<String>,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    /// By host.
    made: Mutex<HashMap<String, TlsAcceptor>>,
}

impl Intercept {
    /// For these hosts: `api.example.com`, `api.example.com:8443`, `*.example.com`, `*`.
    pub(super) fn new(trace: TraceId, hosts: &[String]) -> Result<Self, InterceptError> {
        let key = KeyPair::generate()?;
        let mut params = dated(CertificateParams::new(Vec::new())?);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, format!("holdback, for the run {trace} only"));
        let pem = params.self_signed(&key)?.pem();
        let hosts = hosts.iter().map(|host| host.trim().to_ascii_lowercase()).collect();
        Ok(Intercept { trace, hosts, issuer: Issuer::new(params, key), pem, made: Mutex::default() })
    }

    /// Whether what goes to this host is to be read.
    pub(super) fn lists(&self, host: &str, port: u16) -> bool {
        let host = host.to_ascii_lowercase();
        self.hosts.iter().any(|listed| {
            let listed = match listed.rsplit_once(':') {
                Some((name, wanted)) if wanted.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => {
                    if wanted.parse() != Ok(port) {
                        return false;
                    }
                    name
                }
                _ => listed,
            };
            match listed.strip_prefix('*') {
                Some(end) => host.ends_with(end),
                None => host == listed,
            }
        })
    }

    /// What answers a client that believes it speaks to `host`.
    pub(super) fn acceptor(&self, host: &str) -> Result<TlsAcceptor, InterceptError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(acceptor) = made.get(host) {
            return Ok(acceptor.clone());
        }
        let key = KeyPair::generate()?;
        let mut params = dated(CertificateParams::new(vec![host.trim_matches(['[', ']']).to_owned()])?);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.distinguished_name.push(DnType::CommonName, "holdback");
        let leaf = params.signed_by(&key, &self.issuer)?.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![leaf], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        made.insert(host.to_owned(), acceptor.clone());
        Ok(acceptor)
    }

    /// The variables that bring a child's calls here and make it trust what it meets. Files go to `scratch`.
    pub(super) fn variables(
        &self,
        environment: &[(String, String)],
        scratch: &Path,
        proxy: std::net::SocketAddr,
    ) -> Result<Vec<(String, String)>, InterceptError> {
        let get = |name: &str| {
            let found = environment.iter().rev().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
        };
        let others = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
        if let Some(variable) = others.into_iter().find(|name| get(name).is_some()) {
            return Err(InterceptError::Chained { variable });
        }
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let mut trusted = Vec::new();
        // Someone who names a bundle means that one, not the system's.
        let own: Vec<&str> = BUNDLES.iter().filter_map(|name| get(name)).collect();
        trusted.extend(SYSTEM.into_iter().find_map(read).filter(|_| get("SSL_CERT_FILE").is_none()));
        trusted.extend(own.into_iter().filter_map(read));
        let mut extra: Vec<String> = EXTRAS.iter().filter_map(|name| read(get(name)?)).collect();
        for list in [&mut trusted, &mut extra] {
            list.sort();
            list.dedup();
            list.push(self.pem.clone());
        }
        let (bundle, besides) = (scratch.join("trusted.pem"), scratch.join("trusted-besides.pem"));
        std::fs::write(&bundle, trusted.join("\n")).map_err(InterceptError::Write)?;
        std::fs::write(&besides, extra.join("\n")).map_err(InterceptError::Write)?;
        let mut variables = Vec::new();
        let mut set = |names: &[&str], value: String| {
            variables.extend(names.iter().map(|name| ((*name).to_owned(), value.clone())));
        };
        set(&BUNDLES, bundle.to_string_lossy().into_owned());
        set(&EXTRAS, besides.to_string_lossy().into_owned());
        set(&PROXIES, format!("http://{proxy}"));
        // Node reads no proxy variable unless told to.
        set(&["NODE_USE_ENV_PROXY"], "1".to_owned());
        let direct = get("NO_PROXY").or_else(|| get("no_proxy"));
        let direct = direct.map_or_else(|| "127.0.0.1".to_owned(), |others| format!("{others},127.0.0.1"));
        set(&["NO_PROXY", "no_proxy"], direct);
        Ok(variables)
    }
}

/// Valid from yesterday for two months: what is valid for years is refused by some.
fn dated(mut params: CertificateParams) -> CertificateParams {
    let day = |days: i64| {
        let then = jiff::Timestamp::from_microsecond(clock::now().0 + days * 86_400_000_000).unwrap_or_default();
        let date = jiff::tz::Offset::UTC.to_datetime(then).date();
        let number = |number: i8| u8::try_from(number).unwrap_or(1);
        rcgen::date_time_ymd(i32::from(date.year()), number(date.month()), number(date.day()))
    };
    (params.not_before, params.not_after) = (day(-1), day(60));
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_listed_by_name_port_and_pattern() {
        let hosts = ["API.openai.com", "localhost:8443", "*.example.com", "[::1]:9"].map(str::to_owned);
        let intercept = Intercept::new(TraceId(1), &hosts).unwrap();
        for (host, port, listed) in [
            ("api.OpenAI.com", 443, true),
            ("api.openai.com", 8443, true),
            ("localhost", 8443, true),
            ("localhost", 443, false),
            ("a.example.com", 443, true),
            ("example.com", 443, false),
            ("api.openai.com.evil", 443, false),
            ("[::1]", 9, true),
        ] {
            assert_eq!(intercept.lists(host, port), listed, "{host}:{port}");
        }
        assert!(intercept.acceptor("api.openai.com").is_ok() && intercept.acceptor("[::1]").is_ok());
    }

    #[test]
    fn a_child_trusts_what_it_trusted_and_this_run() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own.pem");
        std::fs::write(&own, "OWN").unwrap();
        let intercept = Intercept::new(TraceId(1), &[]).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let at = "127.0.0.1:9".parse().unwrap();
        let given = [pair("SSL_CERT_FILE", own.to_str().unwrap()), pair("NO_PROXY", "corp")];
        let variables = intercept.variables(&given, folder.path(), at).unwrap();
        let bundle = std::fs::read_to_string(folder.path().join("trusted.pem")).unwrap();
        assert!(bundle.starts_with("OWN") && bundle.ends_with("END CERTIFICATE-----\n") && !bundle.contains("PRIVATE"));
        assert!(variables.contains(&pair("HTTPS_PROXY", "http://127.0.0.1:9")));
        assert!(variables.contains(&pair("no_proxy", "corp,127.0.0.1")));
        let refused = intercept.variables(&[pair("https_proxy", "http://corp")], folder.path(), at).unwrap_err();
        assert!(refused.to_string().starts_with("https_proxy is set"), "{refused}");
    }
}
