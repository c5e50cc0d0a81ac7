//! Finds and reads the configuration files.
//!
//! A file says which program is run on whose data, so one that others may write to is refused. Bounded: the
//! size of a file; a pipe without a writer can't hold us up.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Code, UserError};

/// The largest configuration file worth reading; a real one has some dozen lines.
const MAX_FILE: u64 = 1 << 20;

/// Reads the configuration files: the one that `named` names, else those that are there, the nearest first.
pub fn files(named: Option<&str>, variables: &BTreeMap<String, String>) -> Result<Vec<(PathBuf, String)>, UserError> {
    let variable = |name: &str| variables.get(name).map(String::as_str).filter(|text| !text.is_empty());
    match named.or(variable("BATCHPIPE_CONFIG")) {
        Some("none") => return Ok(Vec::new()),
        Some(path) => return Ok(vec![(PathBuf::from(path), read_file(Path::new(path), true)?.unwrap_or_default())]),
        None => {}
    }
    let absolute = |text: &&str| text.starts_with('/');
    let home = variable("HOME").filter(absolute).map(|home| Path::new(home).join(".config"));
    let personal = variable("XDG_CONFIG_HOME").filter(absolute).map(PathBuf::from).or(home);
    let mut paths = vec![PathBuf::from("batchpipe.toml")];
    paths.extend(personal.map(|base| base.join("batchpipe/config.toml")));
    paths.push(PathBuf::from("/etc/batchpipe/config.toml"));
    let read = |path: PathBuf| Ok(read_file(&path, false)?.map(|text| (path, text)));
    paths.into_iter().filter_map(|path| read(path).transpose()).collect()
}

fn read_file(path: &Path, required: bool) -> Result<Option<String>, UserError> {
    let wrong = |cause: String, help: &str| {
        let what = format!("cannot read the configuration {:?}", path.display().to_string());
        UserError::usage(Code::Configuration, what, cause, help)
    };
    let help = "name another with  --config FILE , or none with  --config none";
    // Not blocking, so that a pipe nobody writes to can't hold us up.
    let opened = fs::OpenOptions::new().read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if !required && error.kind() != std::io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(wrong(error.to_string(), help)),
    };
    let metadata = file.metadata().map_err(|error| wrong(error.to_string(), help))?;
    if !metadata.is_file() {
        return Err(wrong("it is not a regular file".to_owned(), help));
    }
    if metadata.mode() & 0o002 != 0 {
        return Err(wrong(
            "everybody on this machine may write to it".to_owned(),
            "take that right away:  chmod o-w FILE",
        ));
    }
    if metadata.len() > MAX_FILE {
        return Err(wrong(format!("it has {} bytes, more than a configuration ever has", metadata.len()), help));
    }
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_FILE).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string(), help))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Err(wrong(format!("it is not UTF-8 at byte {at}"), "save it as UTF-8"))
        }
    }
}
