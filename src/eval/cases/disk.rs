//! Files of cases: read beside a suite, written whole or not at all, for everybody who has the repository.

use std::io::{self, Write};
use std::path::Path;

use super::CaseError;
use crate::suite::Files;

/// The files beside a suite.
pub struct Beside<'a>(pub &'a Path);

impl Files for Beside<'_> {
    fn read(&self, path: &str) -> Result<String, String> {
        std::fs::read_to_string(self.0.join(path)).map_err(|error| error.to_string())
    }

    fn exists(&self, path: &str) -> bool {
        self.0.join(path).exists()
    }

    fn folders(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.join(path)).into_iter().flatten().filter_map(Result::ok);
        let mut names: Vec<String> = entries
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// An error of the disk, with the file it is about.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> CaseError {
    let path = path.to_owned();
    move |source| CaseError::Io { path: path.clone(), source }
}

/// A file that a person named.
pub(super) fn text(path: &Path) -> Result<String, CaseError> {
    std::fs::read_to_string(path).map_err(|error| CaseError::Asked(format!("{}: {error}", path.display())))
}

/// Writes a file beside its place first, then moves it there; says how big it is.
pub(super) fn publish(path: &Path, bytes: &[u8]) -> Result<u64, CaseError> {
    let at = at(path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(&at)?;
    let mut part = tempfile::NamedTempFile::new_in(folder).map_err(&at)?;
    part.write_all(bytes).map_err(&at)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // What belongs in git is for everybody who has the repository.
        part.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(&at)?;
    }
    part.persist(path).map_err(|error| at(error.error))?;
    Ok(bytes.len() as u64)
}
