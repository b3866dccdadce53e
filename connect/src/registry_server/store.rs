//! What the registry remembers: schemas by id, versions by subject. No HTTP here.

use std::collections::{BTreeMap, HashMap};

/// One registered schema under one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The subject.
    pub subject: String,
    /// Global id of the schema text.
    pub id: u32,
    /// 1, 2, … within the subject.
    pub version: u32,
    /// The schema as it was sent.
    pub schema: String,
}

/// What a registry answers instead of a schema; the numbers are Confluent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryError {
    /// 40401
    SubjectNotFound,
    /// 40402
    VersionNotFound,
    /// 40403
    SchemaNotFound,
    /// 42201
    InvalidSchema,
    /// 42202
    InvalidVersion,
}

impl RegistryError {
    /// Confluent's error code; the first three digits are the HTTP status.
    pub fn code(self) -> u32 {
        match self {
            RegistryError::SubjectNotFound => 40401,
            RegistryError::VersionNotFound => 40402,
            RegistryError::SchemaNotFound => 40403,
            RegistryError::InvalidSchema => 42201,
            RegistryError::InvalidVersion => 42202,
        }
    }

    /// Confluent's message.
    pub fn message(self) -> &'static str {
        match self {
            RegistryError::SubjectNotFound => "Subject not found.",
            RegistryError::VersionNotFound => "Version not found.",
            RegistryError::SchemaNotFound => "Schema not found",
            RegistryError::InvalidSchema => "Invalid schema: it is not a JSON document",
            RegistryError::InvalidVersion => "The specified version is neither a positive number nor \"latest\"",
        }
    }
}

/// All schemas. Ids start at 1 and are given by schema text (JSON compared as parsed, so white space does not count).
#[derive(Clone, Debug, Default)]
pub struct SchemaStore {
    texts: Vec<String>,
    ids: HashMap<String, u32>,
    subjects: BTreeMap<String, Vec<u32>>,
}

impl SchemaStore {
    /// Registers a schema under a subject; repeats change nothing and return the same version.
    ///
    /// # Errors
    /// [`RegistryError::InvalidSchema`] when the text is not JSON.
    pub fn register(&mut self, subject: &str, schema: &str) -> Result<Version, RegistryError> {
        let normal = normalized(schema)?;
        let id = match self.ids.get(&normal) {
            Some(id) => *id,
            None => {
                self.texts.push(schema.to_owned());
                let id = u32::try_from(self.texts.len()).expect("fewer than 2^32 schemas");
                self.ids.insert(normal, id);
                id
            }
        };
        let versions = self.subjects.entry(subject.to_owned()).or_default();
        if !versions.contains(&id) {
            versions.push(id);
        }
        self.lookup(subject, schema)
    }

    /// Finds a schema under a subject without registering it.
    ///
    /// # Errors
    /// Subject or schema not found, or not JSON.
    pub fn lookup(&self, subject: &str, schema: &str) -> Result<Version, RegistryError> {
        let versions = self.versions(subject)?;
        let id = self.ids.get(&normalized(schema)?).ok_or(RegistryError::SchemaNotFound)?;
        let at = versions.iter().position(|known| known == id).ok_or(RegistryError::SchemaNotFound)?;
        self.version(subject, at)
    }

    /// The schema text of an id.
    ///
    /// # Errors
    /// [`RegistryError::SchemaNotFound`].
    pub fn schema(&self, id: u32) -> Result<&str, RegistryError> {
        let at = usize::try_from(id).ok().and_then(|id| id.checked_sub(1)).ok_or(RegistryError::SchemaNotFound)?;
        self.texts.get(at).map(String::as_str).ok_or(RegistryError::SchemaNotFound)
    }

    /// All subjects, sorted.
    pub fn subjects(&self) -> Vec<&str> {
        self.subjects.keys().map(String::as_str).collect()
    }

    /// Version numbers of a subject.
    ///
    /// # Errors
    /// [`RegistryError::SubjectNotFound`].
    pub fn version_numbers(&self, subject: &str) -> Result<Vec<usize>, RegistryError> {
        Ok((1..=self.versions(subject)?.len()).collect())
    }

    /// One version of a subject; `wanted` is a number or `latest`.
    ///
    /// # Errors
    /// Subject or version not found, or `wanted` is neither.
    pub fn named_version(&self, subject: &str, wanted: &str) -> Result<Version, RegistryError> {
        let count = self.versions(subject)?.len();
        let number = match wanted {
            "latest" => count,
            number => number.parse::<usize>().map_err(|_| RegistryError::InvalidVersion)?,
        };
        let at = number.checked_sub(1).ok_or(RegistryError::InvalidVersion)?;
        self.version(subject, at)
    }

    fn versions(&self, subject: &str) -> Result<&[u32], RegistryError> {
        self.subjects.get(subject).map(Vec::as_slice).ok_or(RegistryError::SubjectNotFound)
    }

    fn version(&self, subject: &str, at: usize) -> Result<Version, RegistryError> {
        let id = *self.versions(subject)?.get(at).ok_or(RegistryError::VersionNotFound)?;
        Ok(Version {
            subject: subject.to_owned(),
            id,
            version: u32::try_from(at + 1).expect("fewer than 2^32 versions"),
            schema: self.schema(id)?.to_owned(),
        })
    }
}

fn normalized(schema: &str) -> Result<String, RegistryError> {
    let parsed: serde_json::Value = serde_json::from_str(schema).map_err(|_| RegistryError::InvalidSchema)?;
    Ok(parsed.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"type": "string"}"#;

    #[test]
    fn the_same_text_has_one_id_under_all_subjects() {
        let mut store = SchemaStore::default();
        let first = store.register("a-key", TEXT).unwrap();
        assert_eq!((first.id, first.version), (1, 1));
        assert_eq!(store.register("a-key", r#"{"type":"string"}"#).unwrap(), first);
        assert_eq!(store.register("b-key", "\"long\"").unwrap().id, 2);
        let second = store.register("b-key", TEXT).unwrap();
        assert_eq!((second.id, second.version), (1, 2));
        assert_eq!(store.named_version("b-key", "latest").unwrap(), second);
        assert_eq!(store.subjects(), ["a-key", "b-key"]);
    }

    #[test]
    fn what_is_not_there_has_confluents_codes() {
        let mut store = SchemaStore::default();
        assert_eq!(store.schema(1).unwrap_err().code(), 40403);
        assert_eq!(store.schema(0).unwrap_err().code(), 40403);
        assert_eq!(store.lookup("a", TEXT).unwrap_err().code(), 40401);
        assert_eq!(store.register("a", "{").unwrap_err().code(), 42201);
        store.register("a", "\"int\"").unwrap();
        assert_eq!(store.lookup("a", TEXT).unwrap_err().code(), 40403);
        assert_eq!(store.named_version("a", "2").unwrap_err().code(), 40402);
        assert_eq!(store.named_version("a", "0").unwrap_err().code(), 42202);
    }
}
