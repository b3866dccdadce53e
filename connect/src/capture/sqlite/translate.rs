//! Turns rows of the change log into the records to publish.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use avro::{Event, SourceBlock, TopicEncoder, TopicSource};
use topology::data::{Layout, Value};
use topology::record::Operation;
use topology::{Error, ErrorKind, Result, Stage};

use super::form::Fitting;
use super::image::Image;
use super::log::LoggedChange;
use super::table::CapturedTable;
use crate::capture::RegisterSchema;
use crate::capture::envelope::{NEW_KEY_HEADER, OLD_KEY_HEADER, key_document, tombstone};
use crate::capture::publisher::OutRecord;

/// Knows names and schemas.
pub(super) struct Translator {
    site: String,
    database: String,
    topics: String,
    registry: Box<dyn RegisterSchema>,
    /// One per table and shape of its rows: schemas in the registry never change.
    encoders: HashMap<Shape, Rc<Encoder>>,
}

/// What decides the schemas of a row.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Shape {
    table: Arc<CapturedTable>,
    fittings: Vec<Fitting>,
}

struct Encoder {
    topic: String,
    layout: Layout,
    records: TopicEncoder,
}

/// A row in the shape that fits it.
struct ShapedRow {
    shape: Shape,
    cells: Vec<Value>,
    encoder: Rc<Encoder>,
}

impl Translator {
    /// `topics` is the pattern with `{table}` in it.
    pub(super) fn new(site: &str, database: &str, topics: &str, registry: Box<dyn RegisterSchema>) -> Translator {
        Translator {
            site: site.to_owned(),
            database: database.to_owned(),
            topics: topics.to_owned(),
            registry,
            encoders: HashMap::new(),
        }
    }

    /// Appends the records of one change, in order: one; two for a delete, three for a change of the key.
    ///
    /// # Errors
    /// Those of the registry; `Environment` when the change is not what our triggers write.
    pub(super) async fn records(&mut self, change: &LoggedChange, out: &mut Vec<OutRecord>) -> Result<()> {
        match change.operation {
            Operation::Create | Operation::Read => {
                let after = self.shaped(change, change.after.as_ref()).await?;
                out.push(after.record(change, change.operation, None, Some(&after.cells))?);
            }
            Operation::Delete => {
                let before = self.shaped(change, change.before.as_ref()).await?;
                let delete = before.record(change, Operation::Delete, Some(&before.cells), None)?;
                let end = tombstone(&delete);
                out.extend([delete, end]);
            }
            Operation::Update => {
                let after = self.shaped(change, change.after.as_ref()).await?;
                if !change.is_key_change() {
                    let before = fitted(&after.shape.fittings, change.before.as_ref());
                    out.push(after.record(change, Operation::Update, before.as_deref(), Some(&after.cells))?);
                    return Ok(());
                }
                let before = self.shaped(change, change.before.as_ref()).await?;
                let mut delete = before.record(change, Operation::Delete, Some(&before.cells), None)?;
                let mut create = after.record(change, Operation::Create, None, Some(&after.cells))?;
                delete.header = Some((NEW_KEY_HEADER, after.key_document().ok_or_else(|| odd(change.id))?));
                create.header = Some((OLD_KEY_HEADER, before.key_document().ok_or_else(|| odd(change.id))?));
                let end = tombstone(&delete);
                out.extend([delete, end, create]);
            }
            Operation::Truncate => return Err(odd(change.id)),
        }
        Ok(())
    }

    async fn shaped(&mut self, change: &LoggedChange, image: Option<&Image>) -> Result<ShapedRow> {
        let table = &change.table;
        let image = image.filter(|image| describes(table, image)).ok_or_else(|| odd(change.id))?;
        let fittings: Vec<Fitting> =
            table.columns.iter().zip(image).map(|(column, (_, stored))| Fitting::of(column, stored)).collect();
        let cells = fitted(&fittings, Some(image)).ok_or_else(|| odd(change.id))?;
        let shape = Shape { table: Arc::clone(table), fittings };
        let encoder = match self.encoders.get(&shape) {
            Some(encoder) => Rc::clone(encoder),
            None => {
                let encoder = Rc::new(self.register(&shape).await?);
                self.encoders.insert(shape.clone(), Rc::clone(&encoder));
                encoder
            }
        };
        Ok(ShapedRow { shape, cells, encoder })
    }

    async fn register(&mut self, shape: &Shape) -> Result<Encoder> {
        let table = &shape.table;
        let topic = topic_of(&self.topics, &table.name);
        let columns =
            table.columns.iter().zip(&shape.fittings).map(|(column, fitting)| fitting.column(column)).collect();
        let layout = Layout { columns };
        let source =
            TopicSource::Tidelock { name: self.site.clone(), db: self.database.clone(), table: table.name.clone() };
        let mut records = TopicEncoder::new(topic.as_str(), source, &layout, &table.key)?;
        let key = records.key_schema().unwrap_or_default();
        let key = self.registry.register(&format!("{topic}-key"), &key).await?;
        let value = self.registry.register(&format!("{topic}-value"), &records.value_schema()).await?;
        records.set_ids(key, value);
        Ok(Encoder { topic, layout, records })
    }
}

impl ShapedRow {
    /// A record with this row's key.
    fn record(
        &self,
        change: &LoggedChange,
        operation: Operation,
        before: Option<&[Value]>,
        after: Option<&[Value]>,
    ) -> Result<OutRecord> {
        let event = Event {
            operation,
            before,
            after,
            snapshot: (operation == Operation::Read).then_some("true"),
            committed_at_us: change.committed_at_ms.saturating_mul(1_000),
            source: SourceBlock::Tidelock { change_id: change.id, tag: change.tag.as_deref() },
        };
        let (mut key, mut value) = (Vec::new(), Vec::new());
        self.encoder.records.encode_key(&self.cells, &mut key)?;
        self.encoder.records.encode_value(&event, &mut value)?;
        Ok(OutRecord { topic: self.encoder.topic.clone(), key, value: Some(value), header: None })
    }

    fn key_document(&self) -> Option<Vec<u8>> {
        key_document(&self.encoder.layout, &self.shape.table.key, &self.cells)
    }
}

/// The topic of a table. Characters that Kafka does not allow become underscores, as Debezium makes them.
pub(super) fn topic_of(pattern: &str, table: &str) -> String {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let table: String = table.chars().map(|c| if is_legal(c) { c } else { '_' }).collect();
    pattern.replace("{table}", &table)
}

fn describes(table: &CapturedTable, image: &Image) -> bool {
    image.len() == table.columns.len()
        && image.iter().zip(&table.columns).all(|((name, _), column)| *name == column.name)
}

/// All cells in their forms, or none: an image of the past whose storage classes were others is left out, as PostgreSQL leaves it
/// out.
fn fitted(fittings: &[Fitting], image: Option<&Image>) -> Option<Vec<Value>> {
    let image = image.filter(|image| image.len() == fittings.len())?;
    fittings.iter().zip(image).map(|(fitting, (_, stored))| fitting.value(stored)).collect()
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
