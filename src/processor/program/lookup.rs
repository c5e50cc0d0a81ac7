//! Finds the program before the first job starts, and explains why it can't be run.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::error::{Code, UserError};
use crate::runtime::suggest::nearest;

/// Entries of PATH that are searched for a similar name; a folder with more entries is not a folder of programs.
const MAX_NAMES: usize = 20_000;

/// The absolute path of `name`, as a shell would find it.
pub(super) fn find(name: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, UserError> {
    let shown = name.display().to_string();
    if name.as_bytes().contains(&b'/') {
        let given = Path::new(name);
        return match problem(given) {
            None => std::path::absolute(given).map_err(|error| refused(&shown, "can't be found", error.to_string())),
            Some(problem) => Err(refused(&shown, problem, format!("{:?} was given", given.display().to_string()))),
        };
    }
    let mut found_unfit = None;
    let folders =
        || std::env::split_paths(path.unwrap_or_default()).filter(|folder| folder.is_absolute() && !name.is_empty());
    for folder in folders() {
        let candidate = folder.join(name);
        match problem(&candidate) {
            None => return Ok(candidate),
            Some(problem) if problem != NOT_FOUND => {
                found_unfit = found_unfit.or_else(|| Some(refused(&shown, problem, candidate.display().to_string())));
            }
            _ => {}
        }
    }
    if let Some(error) = found_unfit {
        return Err(error);
    }
    let names: Vec<String> = folders().flat_map(programs_in).take(MAX_NAMES).collect();
    let hint = nearest(&shown, names.iter().map(String::as_str));
    let path = path.map(|path| path.display().to_string()).filter(|path| !path.is_empty());
    let cause = path.map_or("PATH is not set".into(), |path| format!("not in PATH ({path})"));
    let mut error = refused(&shown, NOT_FOUND, cause);
    if let Some(hint) = hint {
        error.help = format!("did you mean {hint:?}?  {}", error.help);
    }
    Err(error)
}

const NOT_FOUND: &str = "not found";

fn problem(path: &Path) -> Option<&'static str> {
    match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Some("can't be reached"),
        Err(_) => Some(NOT_FOUND),
        Ok(found) if found.is_dir() => Some("is a directory"),
        Ok(_) if access(path, AccessFlags::X_OK).is_err() => Some("is not executable"),
        Ok(_) => None,
    }
}

fn refused(name: &str, problem: &str, cause: String) -> UserError {
    let help = match problem {
        "is not executable" => "make it so with  chmod +x , or name its interpreter, e.g.  -- python3 script.py".into(),
        "is a directory" => "name the program inside it".into(),
        _ => format!("give a full path, or check with:  command -v {}", name.escape_debug()),
    };
    UserError::usage(Code::ProgramNotFound, format!("program {name:?} {problem}"), cause, help)
}

fn programs_in(folder: PathBuf) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| OsString::into_string(entry.file_name()).ok());
    names.take(MAX_NAMES).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn message(name: &str, path: &str) -> String {
        find(OsStr::new(name), Some(OsStr::new(path))).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_with_a_program_is_said_before_the_first_job() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let program = folder.path().join("convert");
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        assert!(message("convert", path).contains("is not executable"));
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(OsStr::new("convert"), Some(OsStr::new(path))).unwrap(), program);
        let missing = message("convrt", path);
        assert!(missing.starts_with("error[BP112]: program \"convrt\" not found"), "{missing}");
        assert!(missing.contains("did you mean \"convert\"?"), "{missing}");
        assert!(message(path, "").contains("is a directory"));
        assert!(message("./no/such", "").contains("not found"));
        assert!(message("", path).contains("not found"));
        assert!(message("zzzz\n", path).contains("\\n"));
    }
}
