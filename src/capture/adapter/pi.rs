//! pi: it reads addresses from `models.json` only, so it gets its own folder through `PI_CODING_AGENT_DIR`, where everything
//! is a link to the user's except that file.

use std::path::Path;

use serde_json::{Value, json};

use super::{Adapter, AdapterError, Pointed, Setting, json as files};

pub(super) struct Pi;

const DIR: &str = "PI_CODING_AGENT_DIR";
/// Providers it knows by itself: name, upstream, path behind the upstream's address.
const BUILT_IN: [(&str, &str, &str); 3] =
    [("anthropic", "anthropic", ""), ("openai", "openai", "/v1"), ("google", "gemini", "/v1beta")];

impl Adapter for Pi {
    fn name(&self) -> &'static str {
        "pi"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["pi", "pi-coding-agent"]
    }

    fn point(&self, at: &Setting<'_>) -> Result<Pointed, AdapterError> {
        let mut pointed = Pointed::default();
        let Some(own) = at.folder(DIR, ".pi/agent") else { return Ok(pointed) };
        let mut models = files::read(&own.join("models.json"))?.unwrap_or_else(|| json!({}));
        point_models(&mut models, at, &mut pointed)?;
        let folder = at.scratch.join("pi-agent");
        let failed = |source| AdapterError::Scratch { path: folder.clone(), source };
        // What pi would write into its own folder has to land there, so that folder must exist to be linked into.
        std::fs::create_dir_all(own.join("sessions")).map_err(failed)?;
        link_all(&own, &folder).map_err(failed)?;
        std::fs::write(folder.join("models.json"), models.to_string()).map_err(failed)?;
        pointed.set(DIR, folder.to_string_lossy());
        Ok(pointed)
    }
}

fn point_models(models: &mut Value, at: &Setting<'_>, pointed: &mut Pointed) -> Result<(), AdapterError> {
    let Some(all) = models.as_object_mut() else { return Ok(()) };
    let Some(providers) = all.entry("providers").or_insert_with(|| json!({})).as_object_mut() else { return Ok(()) };
    for (name, upstream, path) in BUILT_IN {
        let provider = providers.entry(name).or_insert_with(|| json!({}));
        if provider.get("baseUrl").is_none() {
            provider["baseUrl"] = format!("{}/up/{upstream}{path}", at.base).into();
        }
    }
    for (name, provider) in providers.iter_mut() {
        let given = provider.get("baseUrl").and_then(Value::as_str).filter(|given| !given.starts_with(at.base));
        if let Some(given) = given.map(str::to_owned) {
            provider["baseUrl"] = pointed.redirect(at, &format!("providers.{name}.baseUrl"), name, &given)?.into();
        }
    }
    Ok(())
}

fn link_all(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() != "models.json" {
            std::os::unix::fs::symlink(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::adapter::tests::BASE;

    #[test]
    fn the_folder_is_linked_and_only_addresses_change() {
        let (home, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let own = home.path().join(".pi/agent");
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join("auth.json"), "{}").unwrap();
        let before = r#"{"providers":{"fake":{"baseUrl":"http://127.0.0.1:9/v1","api":"openai-completions"}}}"#;
        std::fs::write(own.join("models.json"), before).unwrap();
        let environment = [("HOME".to_owned(), home.path().to_string_lossy().into_owned())];
        let at = Setting {
            base: BASE,
            command: &[],
            environment: &environment,
            cwd: scratch.path(),
            scratch: scratch.path(),
        };
        let pointed = Pi.point(&at).unwrap();
        let folder = Path::new(&pointed.variables[0].1);
        let models = files::read(&folder.join("models.json")).unwrap().unwrap();
        assert_eq!(
            models["providers"]["fake"],
            json!({ "baseUrl": format!("{BASE}/up/fake/v1"), "api": "openai-completions" })
        );
        assert_eq!(models["providers"]["anthropic"]["baseUrl"], format!("{BASE}/up/anthropic"));
        assert_eq!(std::fs::read_to_string(own.join("models.json")).unwrap(), before);
        std::fs::write(folder.join("auth.json"), "new").unwrap();
        std::fs::write(folder.join("sessions/one"), "s").unwrap();
        assert_eq!(std::fs::read_to_string(own.join("auth.json")).unwrap(), "new");
        assert!(own.join("sessions/one").exists());
        assert_eq!(pointed.upstreams[0].1.origin(), "http://127.0.0.1:9");
    }
}
