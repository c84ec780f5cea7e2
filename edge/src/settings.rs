//! Settings in layers: defaults give way to a TOML file, that to variables such as `TRACKER__HTTP__LISTEN`. A misspelt key is an
//! error with its line, a misspelt variable a warning: neither becomes a default in silence. Flags are the program's own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is a program's own in this.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Every variable begins with this and two underscores.
    pub program: &'static str,
    /// Variables that something else reads.
    pub others: &'static [&'static str],
    /// Settings that are names of files themselves: `TLS_KEY_FILE` would be taken for the key's own name, so there is none.
    pub paths: &'static [&'static str],
}

/// A variable whose name ends so names a file that holds the value, as secrets of containers and services do.
const FILE_SUFFIX: &str = "_FILE";

/// No setting is longer.
const VALUE_BYTES_MAX: u64 = 65_536;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the settings in {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}: {why}")]
    File {
        path: PathBuf,
        why: Box<toml::de::Error>,
    },
    #[error("{name}={value}: {why}")]
    Variable {
        name: String,
        value: String,
        why: String,
    },
    #[error("{name} is set, and {name}_FILE as well; use one of them")]
    Twice { name: String },
    #[error("{key} = {value} is out of range: {allowed}")]
    Range {
        key: &'static str,
        value: String,
        allowed: &'static str,
    },
    #[error("{key}: {why}")]
    List { key: &'static str, why: String },
    #[error("{key} = {value}: {why}")]
    Value {
        key: &'static str,
        value: String,
        why: String,
    },
}

/// The settings, and the variables with our prefix that nothing reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded<File> {
    pub file: File,
    pub unread: Vec<String>,
}

/// Merges the sources of settings.
pub fn load<File>(
    names: Names,
    path: Option<&Path>,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Loaded<File>, ConfigError>
where
    File: Default + Serialize + DeserializeOwned,
{
    let (mut file, mut table) = path.map_or(Ok(Default::default()), read)?;
    let settings = settings::<File>(names.program);
    let ours = format!("{}_", names.program);
    let mut unread = Vec::new();
    let mut said = BTreeMap::new();
    for (name, value) in variables {
        let name = name.to_string_lossy().into_owned();
        let Some((setting, from_file)) = named(&settings, names.paths, &name) else {
            if name.starts_with(&ours) && !names.others.contains(&name.as_str()) {
                unread.push(name);
            }
            continue;
        };
        let plain = name.strip_suffix(FILE_SUFFIX).filter(|_| from_file);
        let plain = plain.unwrap_or(&name).to_owned();
        if said.insert(plain.clone(), from_file).is_some() {
            return Err(ConfigError::Twice { name: plain });
        }
        let value = if from_file { content(&name, value)? } else { value };
        file = setting.put(&mut table, name, value)?;
    }
    Ok(Loaded { file, unread })
}

/// Whether a variable of this name is read at all.
pub fn reads<File: Default + Serialize>(names: Names, name: &str) -> bool {
    names.others.contains(&name) || named(&settings::<File>(names.program), names.paths, name).is_some()
}

/// The setting that a variable speaks of, and whether it names a file with the value.
fn named<'a>(
    settings: &'a BTreeMap<String, Setting>,
    paths: &[&str],
    name: &str,
) -> Option<(&'a Setting, bool)> {
    let direct = settings.get(name).map(|setting| (setting, false));
    direct.or_else(|| {
        let setting = settings.get(name.strip_suffix(FILE_SUFFIX)?)?;
        (!paths.contains(&setting.key.as_str())).then_some((setting, true))
    })
}

/// What stands in a file that a variable names, without the last line's end.
fn content(name: &str, path: OsString) -> Result<OsString, ConfigError> {
    let refused = |why: String| ConfigError::Variable {
        name: name.to_owned(),
        value: path.to_string_lossy().into_owned(),
        why,
    };
    let mut text = String::new();
    let opened = std::fs::File::open(&path);
    let read = opened.and_then(|file| file.take(VALUE_BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(refused(format!("cannot read the file: {error}"))),
        Ok(length) if length as u64 > VALUE_BYTES_MAX => Err(refused(format!(
            "the file is longer than {VALUE_BYTES_MAX} bytes"
        ))),
        Ok(_) => {
            let line = text.strip_suffix('\n').unwrap_or(&text);
            Ok(line.strip_suffix('\r').unwrap_or(line).into())
        }
    }
}

/// Reads a file, typed and as a table; where a key or a value is wrong, the error names its line.
fn read<File: DeserializeOwned>(path: &Path) -> Result<(File, toml::Table), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let parsed = toml::from_str(&text).and_then(|file| Ok((file, toml::from_str(&text)?)));
    parsed.map_err(|why| ConfigError::File {
        path: path.to_owned(),
        why: Box::new(why),
    })
}

/// Where a variable's value belongs, and what it replaces.
struct Setting {
    section: String,
    key: String,
    default: toml::Value,
}

/// One variable for every setting.
fn settings<File: Default + Serialize>(program: &str) -> BTreeMap<String, Setting> {
    let mut all = BTreeMap::new();
    for (section, keys) in toml::Table::try_from(File::default()).unwrap_or_default() {
        let Ok(keys) = keys.try_into::<toml::Table>() else {
            continue;
        };
        for (key, default) in keys {
            let name = format!("{program}__{section}__{key}").to_ascii_uppercase();
            let section = section.clone();
            all.insert(
                name,
                Setting {
                    section,
                    key,
                    default,
                },
            );
        }
    }
    all
}

impl Setting {
    /// Puts what a variable says into the table, and reads all of it anew.
    fn put<File: DeserializeOwned>(
        &self,
        table: &mut toml::Table,
        name: String,
        value: OsString,
    ) -> Result<File, ConfigError> {
        let refused = |value: String, why: &str| ConfigError::Variable {
            name,
            value,
            why: why.to_owned(),
        };
        let text = match value.into_string() {
            Ok(text) => text,
            Err(value) => return Err(refused(value.to_string_lossy().into_owned(), "is not UTF-8")),
        };
        let section = table
            .entry(&self.section)
            .or_insert_with(|| toml::Table::new().into());
        if let Some(section) = section.as_table_mut() {
            section.insert(self.key.clone(), self.value(&text));
        }
        let file = table.clone().try_into();
        file.map_err(|error: toml::de::Error| refused(text, error.message()))
    }

    /// The text as the kind of value that the setting has; what is no such value stays a text, which is refused later.
    fn value(&self, text: &str) -> toml::Value {
        let other = || toml::Value::from(text);
        match self.default {
            toml::Value::Integer(_) => text.parse().map_or_else(|_| other(), toml::Value::Integer),
            toml::Value::Boolean(_) => text.parse().map_or_else(|_| other(), toml::Value::Boolean),
            toml::Value::Array(_) => list(text),
            _ => other(),
        }
    }
}

/// A list as in the file, or just its items with commas between them; `[::1]:6969` alone is one of these.
fn list(text: &str) -> toml::Value {
    let table: Option<toml::Table> = format!("list = {text}").parse().ok();
    let written = table.and_then(|mut table| table.remove("list"));
    written.filter(toml::Value::is_array).unwrap_or_else(|| {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(toml::Value::from).collect::<Vec<_>>().into()
    })
}

/// Refuses a value that does not fit; `allowed` says in words what does.
pub fn within(
    key: &'static str,
    value: impl ToString,
    fits: bool,
    allowed: &'static str,
) -> Result<(), ConfigError> {
    if fits {
        Ok(())
    } else {
        Err(ConfigError::Range {
            key,
            value: value.to_string(),
            allowed,
        })
    }
}

/// Settings as a file that explains itself: the one that is shipped, with these values. With defaults it is that file.
pub fn explained(shipped: &str, settings: &impl Serialize) -> String {
    let table = toml::Table::try_from(settings).unwrap_or_default();
    let mut out = String::with_capacity(shipped.len());
    let mut section = None;
    for line in shipped.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = table.get(name.trim_end_matches(']'));
        }
        let key = line.split_once(" = ").map(|(key, _)| key);
        match key.and_then(|key| Some((key, section?.get(key)?))) {
            Some((key, value)) => {
                let _ = write!(out, "{key} = {value}");
            }
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}
