//! Turns rows of the change log into the records to publish.

use std::collections::HashMap;

use topology::data::Value;
use topology::record::Operation;
use topology::{Error, ErrorKind, Result, Stage};

use super::form::{fit, shape_column};
use super::image::Image;
use super::log::LoggedChange;
use super::table::CapturedTable;
use crate::capture::RegisterSchema;
use crate::capture::envelope::{
    NEW_KEY_HEADER, OLD_KEY_HEADER, Provenance, SchemaIds, ShapedRow, key_document, record, tombstone,
};
use crate::capture::publisher::OutRecord;
use crate::capture::shape::RowShape;

/// Knows names and schemas.
pub(super) struct Translator {
    site: String,
    database: String,
    topics: String,
    registry: Box<dyn RegisterSchema>,
    /// By table and shape: schemas in the registry never change.
    ids: HashMap<(String, RowShape), SchemaIds>,
}

impl Translator {
    /// `topics` is the pattern with `{table}` in it.
    pub(super) fn new(site: &str, database: &str, topics: &str, registry: Box<dyn RegisterSchema>) -> Translator {
        Translator {
            site: site.to_owned(),
            database: database.to_owned(),
            topics: topics.to_owned(),
            registry,
            ids: HashMap::new(),
        }
    }

    /// The records of one change, in order: one; two for a delete, three for a change of the key.
    ///
    /// # Errors
    /// Those of the registry; `Environment` when the change is not what our triggers write.
    pub(super) async fn records(
        &mut self,
        change: &LoggedChange,
        captured_at_ms: i64,
        out: &mut Vec<OutRecord>,
    ) -> Result<()> {
        let topic = topic_of(&self.topics, &change.table.name);
        let site = self.site.clone();
        let database = self.database.clone();
        let from = Provenance {
            site: &site,
            database: &database,
            table: &change.table.name,
            change: change.id,
            tag: change.tag.as_deref(),
            is_snapshot: change.operation == Operation::Read,
            committed_at_ms: change.committed_at_ms,
            captured_at_ms,
        };
        let odd = || odd(change.id);
        match change.operation {
            Operation::Create | Operation::Read => {
                let after = self.shaped(&topic, change, change.after.as_ref()).await?;
                out.push(record(&topic, change.operation, &after.as_after(None), &from).ok_or_else(odd)?);
            }
            Operation::Delete => {
                let before = self.shaped(&topic, change, change.before.as_ref()).await?;
                let delete = record(&topic, Operation::Delete, &before.as_before(), &from).ok_or_else(odd)?;
                let end = tombstone(&delete);
                out.extend([delete, end]);
            }
            Operation::Update => {
                let after = self.shaped(&topic, change, change.after.as_ref()).await?;
                if key_of(&change.table, change.after.as_ref()).ok_or_else(odd)? == change.key {
                    let before = fitted(&after.shape, change.before.as_ref());
                    out.push(
                        record(&topic, Operation::Update, &after.as_after(before.as_deref()), &from).ok_or_else(odd)?,
                    );
                } else {
                    let before = self.shaped(&topic, change, change.before.as_ref()).await?;
                    let mut delete = record(&topic, Operation::Delete, &before.as_before(), &from).ok_or_else(odd)?;
                    let mut create = record(&topic, Operation::Create, &after.as_after(None), &from).ok_or_else(odd)?;
                    let new_key = key_document(&after.shape, &after.cells).ok_or_else(odd)?;
                    let old_key = key_document(&before.shape, &before.cells).ok_or_else(odd)?;
                    delete.header = Some((NEW_KEY_HEADER, new_key));
                    create.header = Some((OLD_KEY_HEADER, old_key));
                    let end = tombstone(&delete);
                    out.extend([delete, end, create]);
                }
            }
            Operation::Truncate => return Err(odd()),
        }
        Ok(())
    }

    async fn shaped(&mut self, topic: &str, change: &LoggedChange, image: Option<&Image>) -> Result<Shaped> {
        let table = &change.table;
        let image = image.filter(|image| describes(table, image)).ok_or_else(|| odd(change.id))?;
        let columns =
            table.columns.iter().zip(image).map(|(column, (_, stored))| shape_column(column, stored)).collect();
        let shape = RowShape { columns, key: table.key.clone() };
        let cells = fitted(&shape, Some(image)).ok_or_else(|| odd(change.id))?;
        let known = (table.name.clone(), shape);
        let ids = match self.ids.get(&known) {
            Some(ids) => *ids,
            None => {
                let key = self.registry.register(&format!("{topic}-key"), &known.1.key_schema(topic)).await?;
                let value = self.registry.register(&format!("{topic}-value"), &known.1.value_schema(topic)).await?;
                let ids = SchemaIds { key, value };
                self.ids.insert(known.clone(), ids);
                ids
            }
        };
        Ok(Shaped { shape: known.1, ids, cells })
    }
}

/// The topic of a table. Characters that Kafka does not allow become underscores, as Debezium makes them.
pub(super) fn topic_of(pattern: &str, table: &str) -> String {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let table: String = table.chars().map(|c| if is_legal(c) { c } else { '_' }).collect();
    pattern.replace("{table}", &table)
}

struct Shaped {
    shape: RowShape,
    ids: SchemaIds,
    cells: Vec<Value>,
}

impl Shaped {
    fn as_after<'a>(&'a self, before: Option<&'a [Value]>) -> ShapedRow<'a> {
        ShapedRow { shape: &self.shape, ids: self.ids, before, after: Some(&self.cells) }
    }

    fn as_before(&self) -> ShapedRow<'_> {
        ShapedRow { shape: &self.shape, ids: self.ids, before: Some(&self.cells), after: None }
    }
}

fn describes(table: &CapturedTable, image: &Image) -> bool {
    image.len() == table.columns.len()
        && image.iter().zip(&table.columns).all(|((name, _), column)| *name == column.name)
}

/// All cells in the forms of the shape, or none: an image of the past whose storage classes were others is left out, as PostgreSQL
/// leaves it out.
fn fitted(shape: &RowShape, image: Option<&Image>) -> Option<Vec<Value>> {
    let image = image.filter(|image| image.len() == shape.columns.len())?;
    let cells = shape.columns.iter().zip(image).map(|(column, (_, stored))| {
        let value = fit(column.form, stored)?;
        (column.nullable || value != Value::Null).then_some(value)
    });
    cells.collect()
}

fn key_of(table: &CapturedTable, image: Option<&Image>) -> Option<Image> {
    let image = image?;
    table.key.iter().map(|at| image.get(*at).cloned()).collect()
}

fn odd(id: i64) -> Error {
    Error::new(
        ErrorKind::Environment,
        Stage::Capture,
        "cannot publish a captured change",
        format!(
            "tidelock_changes id {id} is not what our triggers write; install the capture again and repair or delete the row"
        ),
    )
}
