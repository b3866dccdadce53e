//! [`TopicEncoder`]: the schemas of one topic and the bytes of its events.

use std::cell::RefCell;

use topology::data::{Layout, Value};
use topology::record::Operation;
use topology::{Error, Result, Stage};

use super::column::ColumnEncoder;
use super::schema;
use super::write::{bytes, long, optional_long, optional_text};

/// Whose events a topic carries, and from where: the part of the source block that never changes.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields are Debezium's own: name is topic.prefix; db, schema and table are the table's
pub enum TopicSource {
    /// Tidelock's trigger capture.
    Tidelock { name: String, db: String, table: String },
    /// Debezium for MySQL.
    MySql { name: String, db: String, table: String },
    /// Debezium for MariaDB.
    MariaDb { name: String, db: String, table: String },
    /// Debezium for PostgreSQL.
    Postgres { name: String, db: String, schema: String, table: String },
}

/// The part of the source block that changes with each event. It must fit the topic's [`TopicSource`].
#[derive(Clone, Copy, Debug)]
pub enum SourceBlock<'a> {
    /// Of [`TopicSource::Tidelock`].
    Tidelock {
        /// Number of the change in the capture's table.
        change_id: i64,
        /// Origin tag of the writer; `None` for an ordinary client.
        tag: Option<&'a str>,
    },
    /// Of [`TopicSource::MySql`] and [`TopicSource::MariaDb`].
    Binlog {
        /// Server that wrote the event.
        server_id: i64,
        /// `uuid:number`, or `domain-server-number`.
        gtid: Option<&'a str>,
        /// Name of the binlog file.
        file: &'a str,
        /// Position in it.
        position: i64,
        /// Row inside the event.
        row: i32,
    },
    /// Of [`TopicSource::Postgres`].
    Wal {
        /// Transaction id.
        transaction_id: Option<i64>,
        /// LSN of the last commit before.
        commit_lsn: Option<i64>,
        /// LSN of the change.
        lsn: i64,
        /// Replication origin of the session.
        origin: Option<&'a str>,
    },
}

/// One event to encode.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// What happened.
    pub operation: Operation,
    /// The row before, one value per column of the layout.
    pub before: Option<&'a [Value]>,
    /// The row after.
    pub after: Option<&'a [Value]>,
    /// Value of `source.snapshot`; `None` for streamed events.
    pub snapshot: Option<&'a str>,
    /// Commit time in microseconds since the epoch; also taken as the time of processing.
    pub committed_at_us: i64,
    /// The rest of the source block.
    pub source: SourceBlock<'a>,
}

/// Encodes keys and values of one topic. Register [`TopicEncoder::key_schema`] and [`TopicEncoder::value_schema`] first and give
/// the ids to [`TopicEncoder::set_ids`].
#[derive(Clone, Debug)]
pub struct TopicEncoder {
    topic: String,
    source: TopicSource,
    columns: Vec<ColumnEncoder>,
    /// Columns of the key: index in the row, and its encoder.
    key: Vec<(usize, ColumnEncoder)>,
    key_id: u32,
    value_id: u32,
    /// Text of one value while its length is not known; kept for its memory.
    scratch: RefCell<Vec<u8>>,
}

impl TopicEncoder {
    /// An encoder for rows of `layout`, keyed by the columns at `key_columns` (in key order; none for a table without key).
    ///
    /// # Errors
    /// Configuration when a key column is not in the layout.
    pub fn new(
        topic: impl Into<String>,
        source: TopicSource,
        layout: &Layout,
        key_columns: &[usize],
    ) -> Result<TopicEncoder> {
        let topic = topic.into();
        let mut key = Vec::with_capacity(key_columns.len());
        for index in key_columns {
            let Some(column) = layout.columns.get(*index) else {
                return Err(Error::new(
                    topology::ErrorKind::Configuration,
                    Stage::Capture,
                    "cannot encode topic",
                    format!("topic \"{topic}\": key column {index} is not one of {} columns", layout.columns.len()),
                ));
            };
            // SQLite lets NULL into primary keys that do not say NOT NULL; such a row must reach the target to be refused there.
            let nullable = column.nullable && matches!(source, TopicSource::Tidelock { .. });
            key.push((*index, ColumnEncoder { nullable, ..ColumnEncoder::new(column) }));
        }
        let columns = layout.columns.iter().map(ColumnEncoder::new).collect();
        Ok(TopicEncoder { topic, source, columns, key, key_id: 0, value_id: 0, scratch: RefCell::default() })
    }

    /// Avro schema of the keys; `None` for a table without key, whose records have a null key.
    pub fn key_schema(&self) -> Option<String> {
        let columns: Vec<&ColumnEncoder> = self.key.iter().map(|(_, column)| column).collect();
        (!columns.is_empty()).then(|| schema::key(&self.topic, &columns).to_string())
    }

    /// Avro schema of the values.
    pub fn value_schema(&self) -> String {
        let columns: Vec<&ColumnEncoder> = self.columns.iter().collect();
        schema::envelope(&self.topic, &columns, &self.source).to_string()
    }

    /// Sets the ids that the registry gave to both schemas.
    pub fn set_ids(&mut self, key_id: u32, value_id: u32) {
        self.key_id = key_id;
        self.value_id = value_id;
    }

    /// Appends the framed key of a row. Nothing is appended for a table without key.
    ///
    /// # Errors
    /// Data when a value does not fit its column.
    pub fn encode_key(&self, row: &[Value], out: &mut Vec<u8>) -> Result<()> {
        if self.key.is_empty() {
            return Ok(());
        }
        frame(self.key_id, out);
        for (index, column) in &self.key {
            let fits = row.get(*index).is_some_and(|value| column.write(value, out, &mut self.scratch.borrow_mut()));
            if !fits {
                return Err(self.misfit(&column.name));
            }
        }
        Ok(())
    }

    /// Appends the framed envelope of an event.
    ///
    /// # Errors
    /// Data when a value does not fit its column or the source block is another connector's.
    pub fn encode_value(&self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<()> {
        frame(self.value_id, out);
        self.row(event.before, out)?;
        self.row(event.after, out)?;
        self.source(event, out)?;
        out.push(0); // no transaction
        out.extend_from_slice(&[2, event.operation.letter() as u8]);
        let us = event.committed_at_us;
        optional_long(Some(us.div_euclid(1_000)), out);
        optional_long(Some(us), out);
        optional_long(us.checked_mul(1_000), out);
        Ok(())
    }

    fn row(&self, row: Option<&[Value]>, out: &mut Vec<u8>) -> Result<()> {
        let Some(row) = row else {
            out.push(0);
            return Ok(());
        };
        out.push(2);
        let scratch = &mut self.scratch.borrow_mut();
        for (index, column) in self.columns.iter().enumerate() {
            if !row.get(index).is_some_and(|value| column.write(value, out, scratch)) {
                return Err(self.misfit(&column.name));
            }
        }
        Ok(())
    }

    fn source(&self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<()> {
        let (connector, name, db) = match &self.source {
            TopicSource::Tidelock { name, db, .. } => ("tidelock", name, db),
            TopicSource::MySql { name, db, .. } => ("mysql", name, db),
            TopicSource::MariaDb { name, db, .. } => ("mariadb", name, db),
            TopicSource::Postgres { name, db, .. } => ("postgresql", name, db),
        };
        for text in [env!("CARGO_PKG_VERSION"), connector, name] {
            bytes(text.as_bytes(), out);
        }
        let us = event.committed_at_us;
        long(us.div_euclid(1_000), out);
        out.push(0); // branch 0 of ["string","null"]
        bytes(event.snapshot.unwrap_or("false").as_bytes(), out);
        bytes(db.as_bytes(), out);
        match (&self.source, event.source) {
            (TopicSource::Tidelock { table, .. }, SourceBlock::Tidelock { change_id, tag }) => {
                optional_long(Some(us), out);
                bytes(table.as_bytes(), out);
                long(change_id, out);
                optional_text(tag, out);
            }
            (
                TopicSource::MySql { table, .. } | TopicSource::MariaDb { table, .. },
                SourceBlock::Binlog { server_id, gtid, file, position, row },
            ) => {
                optional_text(None, out);
                optional_long(Some(us), out);
                optional_long(us.checked_mul(1_000), out);
                optional_text(Some(table), out);
                long(server_id, out);
                optional_text(gtid, out);
                bytes(file.as_bytes(), out);
                long(position, out);
                long(i64::from(row), out);
                optional_long(None, out);
                optional_text(None, out);
            }
            (
                TopicSource::Postgres { schema, table, .. },
                SourceBlock::Wal { transaction_id, commit_lsn, lsn, origin },
            ) => {
                use std::io::Write as _;
                let scratch = &mut self.scratch.borrow_mut();
                scratch.clear();
                match commit_lsn {
                    Some(commit) => write!(scratch, "[\"{commit}\",\"{lsn}\"]"),
                    None => write!(scratch, "[null,\"{lsn}\"]"),
                }
                .expect("writing to memory cannot fail");
                out.push(2);
                bytes(scratch, out);
                optional_long(Some(us), out);
                optional_long(us.checked_mul(1_000), out);
                bytes(schema.as_bytes(), out);
                bytes(table.as_bytes(), out);
                optional_long(transaction_id, out);
                optional_long(Some(lsn), out);
                optional_long(None, out);
                optional_text(origin, out);
                optional_long(None, out);
            }
            _ => {
                return Err(Error::data(
                    Stage::Capture,
                    "cannot encode event",
                    format!("topic \"{}\": the source block is another connector's", self.topic),
                ));
            }
        }
        Ok(())
    }

    fn misfit(&self, column: &str) -> Error {
        Error::data(
            Stage::Capture,
            "cannot encode event",
            format!(
                "topic \"{}\", column \"{column}\": the value is missing, null in a column that forbids it, or not of the column's type",
                self.topic
            ),
        )
    }
}

fn frame(id: u32, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&id.to_be_bytes());
}
