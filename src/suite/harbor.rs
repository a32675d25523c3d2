//! Tasks from Harbor's task folders: `task.toml`, `instruction.md`, `environment/`, `tests/test.sh`.
//!
//! The instruction becomes the prompt, the environment's files the workspace, the tests the grader. A container is not built here: the
//! loop works where holdback keeps it, and what that leaves out is said.

use serde_json::{Map, Value, json};
use toml_edit::{DocumentMut, Item, Table};

use super::error::SuiteError;
use super::load::Files;
use super::types::{GraderSpec, Task};

/// Whether a name in `tasks_from` is a folder of tasks, or one task.
pub fn is_folder(path: &str, files: &dyn Files) -> bool {
    is_task(path, files) || files.folders(path).iter().any(|name| is_task(&format!("{path}/{name}"), files))
}

fn is_task(path: &str, files: &dyn Files) -> bool {
    files.exists(&format!("{path}/task.toml"))
}

/// Reads a task, or all tasks of a folder, by name.
pub(super) fn tasks(path: &str, files: &dyn Files, left: &mut Vec<String>) -> Result<Vec<Task>, Vec<SuiteError>> {
    let path = path.trim_end_matches('/');
    let mut folders = match is_task(path, files) {
        true => vec![path.to_owned()],
        false => files.folders(path).iter().map(|name| format!("{path}/{name}")).collect(),
    };
    folders.retain(|folder| is_task(folder, files));
    folders.sort();
    let (mut tasks, mut errors) = (Vec::new(), Vec::new());
    for folder in folders {
        match task(&folder, files, left) {
            Ok(task) => tasks.push(task),
            Err((file, message)) => {
                let (line, column, offset, len, help) = (0, 0, 0, 0, None);
                errors.push(SuiteError { message, file, line, column, offset, len, help });
            }
        }
    }
    if errors.is_empty() { Ok(tasks) } else { Err(errors) }
}

fn task(folder: &str, files: &dyn Files, left: &mut Vec<String>) -> Result<Task, (String, String)> {
    let file = format!("{folder}/task.toml");
    let text = files.read(&file).map_err(|why| (file.clone(), format!("can't be read: {why}")))?;
    let config: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| (file.clone(), error.message().to_owned()))?;
    let asked = format!("{folder}/instruction.md");
    if config.get("steps").is_some() || files.exists(&format!("{folder}/steps")) {
        return Err((
            file,
            "a task of several steps can't be carried over: each of them is a task of its own here".to_owned(),
        ));
    }
    let instruction = files.read(&asked).map_err(|why| (asked.clone(), format!("can't be read: {why}")))?;
    if !files.exists(&format!("{folder}/tests/test.sh")) {
        return Err((file, format!("{folder}/tests/test.sh is missing: nothing says whether the task was done")));
    }
    let name = folder.rsplit('/').next().unwrap_or(folder);
    let config = config.as_table();
    let id = text_at(config, "task", "name").unwrap_or(name).to_owned();
    left.extend(not_carried(folder, config, files).into_iter().map(|what| format!("{folder}: {what}")));
    let mut grader = Map::new();
    grader.insert("type".to_owned(), json!("harbor"));
    grader.insert("tests".to_owned(), json!(format!("{{{{suite_dir}}}}/{folder}/tests")));
    if let Some(workdir) =
        text_at(config, "environment", "workdir").map(str::to_owned).or_else(|| workdir(folder, files))
    {
        grader.insert("workdir".to_owned(), json!(workdir));
    }
    if let Some(seconds) = number_at(config, "verifier", "timeout_sec") {
        grader.insert("seconds".to_owned(), json!(seconds));
    }
    let env = config.get("verifier").and_then(|verifier| verifier.get("env")).and_then(Item::as_table_like);
    let env: Map<String, Value> = env
        .into_iter()
        .flat_map(|env| env.iter())
        .filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_str()?))))
        .collect();
    if !env.is_empty() {
        grader.insert("env".to_owned(), Value::Object(env));
    }
    let environment = format!("{folder}/environment");
    Ok(Task {
        id,
        // The text goes in as a value, so that its own braces stay what they are.
        prompt: Some("{{instruction}}".to_owned()),
        vars: [("instruction".to_owned(), json!(instruction.trim_end()))].into(),
        tags: tags(config),
        graders: vec![GraderSpec(Value::Object(grader))],
        workspace: files.exists(&environment).then_some(environment),
        seconds: number_at(config, "agent", "timeout_sec"),
        ..Task::default()
    })
}

fn at<'a>(config: &'a Table, table: &str, key: &str) -> Option<&'a Item> {
    config.get(table)?.get(key)
}

fn text_at<'a>(config: &'a Table, table: &str, key: &str) -> Option<&'a str> {
    at(config, table, key)?.as_str().filter(|text| !text.is_empty())
}

fn number_at(config: &Table, table: &str, key: &str) -> Option<f64> {
    let item = at(config, table, key)?;
    item.as_float().or_else(|| item.as_integer().map(|number| number as f64)).filter(|number| *number > 0.0)
}

/// Keywords, tags, category and difficulty.
fn tags(config: &Table) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for (table, key) in [("task", "keywords"), ("metadata", "tags")] {
        let list = at(config, table, key).and_then(Item::as_array);
        tags.extend(list.into_iter().flatten().filter_map(|tag| tag.as_str().map(str::to_owned)));
    }
    for key in ["category", "difficulty"] {
        tags.extend(text_at(config, "metadata", key).map(str::to_owned));
    }
    tags.dedup();
    tags
}

/// Where the container's loop would have worked: the last WORKDIR of its Dockerfile.
fn workdir(folder: &str, files: &dyn Files) -> Option<String> {
    let text = files.read(&format!("{folder}/environment/Dockerfile")).ok()?;
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("WORKDIR "));
    lines.map(|dir| dir.trim().trim_matches('"').to_owned()).rfind(|dir| dir.starts_with('/'))
}

fn not_carried(folder: &str, config: &Table, files: &dyn Files) -> Vec<String> {
    let mut left = Vec::new();
    if files.exists(&format!("{folder}/environment/Dockerfile")) {
        left.push("environment/Dockerfile is not built: what it installs and copies must be there already (its folder is the workspace)".to_owned());
    }
    if files.exists(&format!("{folder}/environment/docker-compose.yaml")) {
        left.push("environment/docker-compose.yaml: its services are not started".to_owned());
    }
    for (table, keys) in [
        (
            "environment",
            &[
                "docker_image",
                "cpus",
                "memory",
                "memory_mb",
                "storage",
                "storage_mb",
                "gpus",
                "mcp_servers",
                "skills_dir",
                "healthcheck",
                "env",
            ][..],
        ),
        ("environment", &["network_mode", "allow_internet"]),
        ("agent", &["user", "network_mode", "allowed_hosts"]),
        ("verifier", &["user", "environment_mode", "environment", "collect"]),
    ] {
        for key in keys.iter().filter(|key| at(config, table, key).is_some()) {
            left.push(format!("{table}.{key}"));
        }
    }
    for key in ["artifacts", "multi_step_reward_strategy"] {
        if config.get(key).is_some() {
            left.push(key.to_owned());
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Disk(BTreeMap<&'static str, &'static str>);

    impl Files for Disk {
        fn read(&self, path: &str) -> Result<String, String> {
            self.0.get(path).map(|text| (*text).to_owned()).ok_or_else(|| "no such file".to_owned())
        }
        fn exists(&self, path: &str) -> bool {
            self.0
                .keys()
                .any(|known| known.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        }
        fn folders(&self, path: &str) -> Vec<String> {
            let below = self.0.keys().filter_map(|known| known.strip_prefix(path)?.strip_prefix('/')?.split_once('/'));
            below.map(|(first, _)| first.to_owned()).collect::<std::collections::BTreeSet<_>>().into_iter().collect()
        }
    }

    fn disk(more: &[(&'static str, &'static str)]) -> Disk {
        let mut files = BTreeMap::from([
            (
                "h/hello/task.toml",
                "version = \"1.0\"\n[metadata]\ndifficulty = \"easy\"\ntags = [\"trivial\"]\n[agent]\ntimeout_sec = 120.0\n[verifier]\ntimeout_sec = 30\nenv = { KEY = \"v\" }\n[environment]\ncpus = 2\n",
            ),
            ("h/hello/instruction.md", "Write {{braces}} to hello.txt.\n"),
            ("h/hello/environment/Dockerfile", "FROM x\nWORKDIR /workspace\n"),
            ("h/hello/tests/test.sh", "echo 1 > /logs/verifier/reward.txt\n"),
            ("h/notes/readme.md", "no task"),
        ]);
        files.extend(more.iter().copied());
        Disk(files)
    }

    #[test]
    fn a_folder_becomes_a_task_and_what_is_left_out_is_said() {
        let disk = disk(&[]);
        assert!(is_folder("h", &disk) && is_folder("h/hello", &disk) && !is_folder("h/notes", &disk));
        let mut left = Vec::new();
        let all = tasks("h", &disk, &mut left).unwrap();
        assert_eq!(all, tasks("h/hello/", &disk, &mut Vec::new()).unwrap());
        let task = &all[0];
        assert_eq!(
            (task.id.as_str(), task.seconds, task.workspace.as_deref()),
            ("hello", Some(120.0), Some("h/hello/environment"))
        );
        assert_eq!(task.vars["instruction"], "Write {{braces}} to hello.txt.");
        assert_eq!(task.tags, ["trivial", "easy"]);
        assert_eq!(
            task.graders[0].0,
            json!({"type": "harbor", "tests": "{{suite_dir}}/h/hello/tests", "workdir": "/workspace", "seconds": 30.0, "env": {"KEY": "v"}})
        );
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left[0].contains("Dockerfile is not built") && left[1] == "h/hello: environment.cpus", "{left:?}");
    }

    #[test]
    fn what_is_no_whole_task_is_named() {
        for (path, text, words) in [
            ("h/bad/task.toml", "= nonsense", "h/bad/task.toml"),
            ("h/steps/task.toml", "[[steps]]\nname = \"a\"\n", "several steps"),
            ("h/empty/task.toml", "", "h/empty/instruction.md: can't be read"),
            ("h/named/task.toml", "[task]\nname = \"o/n\"\n", "h/named/instruction.md"),
        ] {
            let error = tasks("h", &disk(&[(path, text)]), &mut Vec::new()).unwrap_err();
            assert!(error[0].to_string().contains(words), "{words}: {}", error[0]);
        }
        let untested = disk(&[("h/u/task.toml", ""), ("h/u/instruction.md", "Do it.")]);
        assert!(tasks("h/u", &untested, &mut Vec::new()).unwrap_err()[0].to_string().contains("test.sh is missing"));
    }
}
