//! The seam between the shared writer and an engine: one dedicated connection (rule L10), object safe, without the driver's types.
//!
//! Contract for all methods: one call at a time; a future that is dropped half-way, or an error of kind `Transient` or `Environment` on
//! any statement, leaves the session in an unknown state, and the writer drops the connection or rolls back explicitly (rule E1).
//! The session runs READ COMMITTED, counts matched rows (rule L2), has the timeouts of rule L10 and is never pooled.

use async_trait::async_trait;
use topology::data::{Arena, CellRange, Value};
use topology::table::TableDescription;

use super::dialect::Dialect;
use super::error::SqlResult;
use super::plan::{Shape, TablePlan, Written};

/// Opens connections to one target; kept by the writer for reconnecting. Implementations hold address, tag and session settings.
#[async_trait]
pub trait Connector: Send + Sync {
    /// The engine's spelling.
    fn dialect(&self) -> &'static dyn Dialect;

    /// Opens a session, sets it up and takes its guard slot (rule G1).
    ///
    /// # Errors
    /// `Transient`, `Environment` or `Configuration`.
    async fn connect(&self) -> SqlResult<Box<dyn SqlConnection>>;
}

/// One session.
#[async_trait]
pub trait SqlConnection: Send {
    /// Runs one statement on our own tables and returns the number of *matched* rows. The driver prepares and caches it by its text.
    /// Parameters are in the order of the dialect's placeholders; integers are `Value::I64`, times are milliseconds as `I64`.
    ///
    /// # Errors
    /// Classified by the engine's `errors.rs`; so for all methods.
    async fn execute(&mut self, sql: &str, parameters: &[Value]) -> SqlResult<u64>;

    /// Runs one query on our own tables (or the catalogue) and returns its rows. All integers come as `Value::I64`, text as `Text`,
    /// bytes as `Bytes`, booleans as `Bool`, NULL as `Null`; other types need not be read.
    async fn query(&mut self, sql: &str, parameters: &[Value]) -> SqlResult<Vec<Vec<Value>>>;

    /// Runs one statement without parameters and without preparing it: DDL, `SET`, `BEGIN`-like.
    async fn execute_plain(&mut self, sql: &str) -> SqlResult<()>;

    /// Starts a transaction. `tagged`: the guard's mark is set so that every change of it carries the tag (claims are not tagged, rule G2).
    async fn begin(&mut self, tagged: bool) -> SqlResult<()>;

    /// Makes deferrable constraints of this transaction immediate, where the engine has such (rule L9).
    async fn constraints_immediate(&mut self) -> SqlResult<()> {
        Ok(())
    }

    /// Commits. The caller treats *any* error as an unknown outcome (rule L4), except a known `Dependency` or `Data`: a constraint
    /// checked at COMMIT, after which the server has rolled back (rule L9).
    async fn commit(&mut self) -> SqlResult<()>;

    /// Rolls back; also brings the guard's mark back to rest (rule G2).
    async fn rollback(&mut self) -> SqlResult<()>;

    /// Sets the one savepoint that the slow path uses; setting it again replaces it.
    async fn savepoint(&mut self) -> SqlResult<()>;

    /// Rolls back to the savepoint and keeps it.
    async fn rollback_to_savepoint(&mut self) -> SqlResult<()>;

    /// Forgets the savepoint and keeps what was done.
    async fn release_savepoint(&mut self) -> SqlResult<()>;

    /// Writes rows of one shape; the hot call. `rows` are sorted by key where there is one and hold one change per key (BAT-1).
    /// Layouts: `Upsert`, `Insert`, `InsertIfAbsent`, `Update` take full rows of the plan's columns (for `Update` cells outside
    /// [`Shape::columns`] and the key may be unavailable); `Delete` and `Rename` take key rows. Splits into as many statements as the
    /// engine's limits want; no allocation per cell where the driver lets it.
    ///
    /// # Errors
    /// `Data` when a cell does not fit the column exactly (P6: nothing is rounded or cut). On error some rows may be written: the caller
    /// rolls back to a savepoint or altogether.
    async fn write_rows(&mut self, shape: &Shape, arena: &Arena, rows: &[CellRange]) -> SqlResult<Written>;

    /// Locks the rows with these keys and says which are there (rule B5); `keys` are key rows, few.
    async fn present(&mut self, plan: &TablePlan, arena: &Arena, keys: &[CellRange]) -> SqlResult<Vec<bool>>;

    /// Which of these keys are there, without locking: the slow path asks for many parents at a time. `keys` are key rows of `plan`.
    async fn exist(&mut self, plan: &TablePlan, arena: &Arena, keys: &[CellRange]) -> SqlResult<Vec<bool>>;

    /// Moves the counter behind a column forward so that it never allots `highest` or less again, keeping its own class: the next value
    /// stays ≡ start (mod increment). Never backwards. Engines whose counters follow explicit ids do nothing.
    async fn advance_sequence(&mut self, plan: &TablePlan, column: usize, highest: i64) -> SqlResult<()> {
        let _ = (plan, column, highest);
        Ok(())
    }

    /// Reads a table's description from the live catalogue; `None` when there is no such table.
    async fn describe(&mut self, table: &str) -> SqlResult<Option<TableDescription>>;

    /// Ends another session of this server by the number that [`Dialect::backend_id`] stored, if the privilege is there: a zombie that
    /// blocks a claim (rule L10). Quietly does nothing where it can't.
    async fn terminate(&mut self, backend_id: i64) -> SqlResult<()> {
        let _ = backend_id;
        Ok(())
    }
}
