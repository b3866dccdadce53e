//! From a configured entity and two live tables to what the lens is made from. `check` and `run` use the same, so that what the one
//! says is what the other does.

use topology::batch::WriteMode;
use topology::lens::survey::{Direction as Way, Request, Side};
use topology::record::EntityId;
use topology::table::TableDescription;

use crate::config::Config;
use crate::directions::{DirectedEntity, Direction};
use crate::sites;

/// Columns of a history table, which the sink fills.
pub(crate) const HISTORY_COLUMNS: [&str; 6] = ["topic", "partition", "offset", "operation", "key", "row"];

/// Columns that a table lacks to be a history table.
pub(crate) fn missing_history_columns(table: &TableDescription) -> Vec<&'static str> {
    HISTORY_COLUMNS.into_iter().filter(|name| table.column(name).is_none()).collect()
}

/// The table that the lens maps to. A history keeps rows as the source has them, as JSON in one column: there the lens maps the
/// source's table to itself, under the name of the history table.
pub(crate) fn target_of_lens(
    direction: &Direction,
    source: &TableDescription,
    target: &TableDescription,
) -> TableDescription {
    match direction.mode {
        WriteMode::Mirror => target.clone(),
        WriteMode::Append => TableDescription { name: target.name.clone(), ..source.clone() },
    }
}

/// What the lens's survey takes.
pub(crate) fn request<'a>(
    config: &'a Config,
    direction: &'a Direction,
    entity: &'a DirectedEntity,
    number: EntityId,
    source: &'a TableDescription,
    target: &'a TableDescription,
) -> Request<'a> {
    let source_engine = sites::engine(config, &direction.source);
    let target_engine = match direction.mode {
        WriteMode::Mirror => sites::engine(config, &direction.target),
        WriteMode::Append => source_engine,
    };
    Request {
        path: &entity.path,
        name: &entity.name,
        entity: number,
        declaration: &entity.declaration,
        source: Side { site: &direction.source, engine: source_engine, table: source },
        target: Side { site: &direction.target, engine: target_engine, table: target },
        direction: if entity.left_to_right(direction) { Way::Forward } else { Way::Backward },
        two_way: direction.two_way,
        provided: &[],
    }
}
