//! Text of the statements on users' tables. Built once per shape and number of rows; few numbers of rows, so that the server's prepared
//! statements are met again.

use std::fmt::Write;

use super::dialect::Flavour;
use crate::sql::dialect::{quote, quote_table};
use crate::sql::plan::{RowOperation, Shape, TablePlan};

/// Most rows in a statement: above 1000, MySQL gets slower again.
pub(super) const ROWS_MAX: usize = 1000;

/// The server's limit of placeholders in one statement.
const PLACEHOLDERS_MAX: usize = 65_535;

/// Numbers of rows, two per doubling: three statements cover 99 rows of 100.
const ROW_COUNTS: [usize; 20] = [ROWS_MAX, 768, 512, 384, 256, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1];

/// The greatest number of rows in the list that is no more than `rows` and keeps `width` placeholders per row under the limit.
pub(super) fn row_count(rows: usize, width: usize) -> usize {
    ROW_COUNTS.into_iter().find(|count| *count <= rows && count * width <= PLACEHOLDERS_MAX).unwrap_or(1)
}

/// What an INSERT does with a row whose primary key is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum OnDuplicate {
    /// Error 1062.
    Refuse,
    /// Updates the inserted columns besides the key.
    Update,
}

/// How the new row is named in ON DUPLICATE KEY UPDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NewRow {
    /// `AS tidelock_new`: MySQL since 8.0.19, which warns of the other.
    Alias,
    /// `VALUES(column)`: MariaDB and older MySQL.
    Values,
}

/// Quotes names of one flavour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Texts {
    pub(super) flavour: Flavour,
    pub(super) new_row: NewRow,
}

impl Texts {
    fn table(self, plan: &TablePlan) -> String {
        quote_table(self.flavour.dialect(), &plan.name)
    }

    fn column(self, plan: &TablePlan, at: usize) -> String {
        quote(self.flavour.dialect(), &plan.columns[at].name)
    }

    fn list(self, plan: &TablePlan, columns: &[usize]) -> String {
        columns.iter().map(|at| self.column(plan, *at)).collect::<Vec<_>>().join(", ")
    }

    /// INSERT of `columns` (the key's among them).
    pub(super) fn insert(self, plan: &TablePlan, columns: &[usize], rows: usize, duplicate: OnDuplicate) -> String {
        let mut sql = format!("INSERT INTO {} ({}) VALUES ", self.table(plan), self.list(plan, columns));
        tuples(&mut sql, columns.len(), rows);
        if duplicate == OnDuplicate::Refuse {
            return sql;
        }
        if self.new_row == NewRow::Alias {
            sql.push_str(" AS tidelock_new");
        }
        sql.push_str(" ON DUPLICATE KEY UPDATE ");
        let rest = plan.rest();
        let rest: Vec<usize> = columns.iter().copied().filter(|at| rest.contains(at)).collect();
        if rest.is_empty() {
            // Nothing but a key: the row is there, that is all there is to say.
            let key = self.column(plan, columns[0]);
            let _ = write!(sql, "{key} = {}.{key}", self.table(plan));
        }
        for (number, at) in rest.iter().enumerate() {
            let column = self.column(plan, *at);
            let comma = if number == 0 { "" } else { ", " };
            let _ = match self.new_row {
                NewRow::Alias => write!(sql, "{comma}{column} = tidelock_new.{column}"),
                NewRow::Values => write!(sql, "{comma}{column} = VALUES({column})"),
            };
        }
        sql
    }

    /// UPDATE of one row: set columns, then the key.
    pub(super) fn update(self, plan: &TablePlan, columns: &[usize]) -> String {
        let set: Vec<String> = columns.iter().map(|at| format!("{} = ?", self.column(plan, *at))).collect();
        format!("UPDATE {} SET {} WHERE {}", self.table(plan), set.join(", "), self.where_key(plan))
    }

    /// DELETE by keys.
    pub(super) fn delete(self, plan: &TablePlan, rows: usize) -> String {
        // The multi-table form, for it takes an index hint: the optimiser may otherwise scan a small table and lock other lanes' rows.
        let mut sql =
            format!("DELETE FROM tidelock_old USING {} AS tidelock_old{} WHERE ", self.table(plan), hint(plan));
        self.keys(plan, rows, &mut sql);
        sql
    }

    /// Reads `columns` of rows by keys.
    pub(super) fn find(self, plan: &TablePlan, columns: &[usize], rows: usize) -> String {
        let mut sql = format!("SELECT {} FROM {}{} WHERE ", self.list(plan, columns), self.table(plan), hint(plan));
        self.keys(plan, rows, &mut sql);
        sql
    }

    /// Locks rows by keys and reads `columns`.
    pub(super) fn lock(self, plan: &TablePlan, columns: &[usize], rows: usize) -> String {
        self.find(plan, columns, rows) + " FOR UPDATE"
    }

    fn where_key(self, plan: &TablePlan) -> String {
        plan.key.iter().map(|at| format!("{} = ?", self.column(plan, *at))).collect::<Vec<_>>().join(" AND ")
    }

    fn keys(self, plan: &TablePlan, rows: usize, sql: &mut String) {
        match plan.key[..] {
            [key] => {
                let _ = write!(sql, "{} IN ", self.column(plan, key));
                tuples(sql, rows, 1);
            }
            // MySQL reads ranges from a list of tuples, MariaDB from a chain of OR.
            _ if self.flavour == Flavour::MySql => {
                let _ = write!(sql, "({}) IN (", self.list(plan, &plan.key));
                tuples(sql, plan.key.len(), rows);
                sql.push(')');
            }
            _ => {
                let one = format!("({})", self.where_key(plan));
                for row in 0..rows {
                    sql.push_str(if row == 0 { "" } else { " OR " });
                    sql.push_str(&one);
                }
            }
        }
    }

    /// The text of a shape that needs no look at the present rows.
    pub(super) fn of(self, shape: &Shape, rows: usize) -> String {
        let plan = &*shape.plan;
        let all: Vec<usize> = (0..plan.columns.len()).collect();
        match shape.operation {
            RowOperation::Upsert => self.insert(plan, &all, rows, OnDuplicate::Update),
            RowOperation::Insert | RowOperation::InsertIfAbsent => self.insert(plan, &all, rows, OnDuplicate::Refuse),
            RowOperation::Update => self.update(plan, &shape.columns),
            RowOperation::Rename => self.update(plan, &plan.key),
            RowOperation::Delete => self.delete(plan, rows),
        }
    }
}

/// True when the written key is the primary key, in any order.
pub(super) fn key_is_primary(plan: &TablePlan) -> bool {
    let primary = &plan.description.primary_key;
    primary.len() == plan.key.len()
        && primary
            .iter()
            .all(|at| plan.key.iter().any(|key| plan.columns[*key].name == plan.description.columns[*at].name))
}

fn hint(plan: &TablePlan) -> &'static str {
    if key_is_primary(plan) { " FORCE INDEX (PRIMARY)" } else { "" }
}

fn tuples(sql: &mut String, width: usize, rows: usize) {
    let mut one = String::with_capacity(width * 2 + 2);
    one.push('(');
    for column in 0..width {
        one.push_str(if column == 0 { "?" } else { ",?" });
    }
    one.push(')');
    sql.reserve(rows * (one.len() + 1));
    for row in 0..rows {
        if row > 0 {
            sql.push(',');
        }
        sql.push_str(&one);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use topology::batch::WriteTable;
    use topology::data::{Column, Kind};
    use topology::record::EntityId;
    use topology::table::{ColumnDescription, Generated, TableDescription};

    use super::*;

    fn plan(columns: &[&str], key: &[usize]) -> TablePlan {
        let kind = Kind::Int { bits: 32, unsigned: false };
        let described = columns.iter().map(|name| ColumnDescription {
            name: (*name).into(),
            kind: kind.clone(),
            native: "int".into(),
            nullable: false,
            has_default: false,
            generated: Generated::Never,
            collation: None,
        });
        let description = TableDescription {
            name: "db.t".into(),
            columns: described.collect(),
            primary_key: key.to_vec(),
            unique_indexes: vec![],
            foreign_keys: vec![],
            referenced: false,
            deferrable: false,
            sequences: vec![],
            triggers: vec![],
        };
        let columns = columns.iter().map(|name| Column { name: (*name).into(), kind: kind.clone(), nullable: false });
        let table = WriteTable {
            entity: EntityId(0),
            name: "db.t".into(),
            columns: columns.collect(),
            key: key.to_vec(),
            insert_only: vec![],
            mode: topology::batch::WriteMode::Mirror,
        };
        TablePlan::new(&table, Arc::new(description)).unwrap()
    }

    const MYSQL: Texts = Texts { flavour: Flavour::MySql, new_row: NewRow::Alias };
    const MARIADB: Texts = Texts { flavour: Flavour::MariaDb, new_row: NewRow::Values };

    #[test]
    fn an_upsert_updates_all_but_the_key() {
        let plan = plan(&["id", "a`b"], &[0]);
        assert_eq!(
            MYSQL.insert(&plan, &[0, 1], 2, OnDuplicate::Update),
            "INSERT INTO `db`.`t` (`id`, `a``b`) VALUES (?,?),(?,?) AS tidelock_new ON DUPLICATE KEY UPDATE `a``b` = tidelock_new.`a``b`"
        );
        assert_eq!(
            MARIADB.insert(&plan, &[0, 1], 1, OnDuplicate::Update),
            "INSERT INTO `db`.`t` (`id`, `a``b`) VALUES (?,?) ON DUPLICATE KEY UPDATE `a``b` = VALUES(`a``b`)"
        );
    }

    #[test]
    fn a_table_that_is_all_key_is_upserted_without_touching_it() {
        let plan = plan(&["a", "b"], &[0, 1]);
        assert!(MARIADB.insert(&plan, &[0, 1], 1, OnDuplicate::Update).ends_with("UPDATE `a` = `db`.`t`.`a`"));
    }

    #[test]
    fn deletes_and_locks_go_by_the_primary_index() {
        let plan = plan(&["a", "b", "c"], &[1, 0]);
        assert_eq!(
            MYSQL.delete(&plan, 2),
            "DELETE FROM tidelock_old USING `db`.`t` AS tidelock_old FORCE INDEX (PRIMARY) WHERE (`b`, `a`) IN ((?,?),(?,?))"
        );
        assert_eq!(
            MARIADB.lock(&plan, &[1, 0], 2),
            "SELECT `b`, `a` FROM `db`.`t` FORCE INDEX (PRIMARY) WHERE (`b` = ? AND `a` = ?) OR (`b` = ? AND `a` = ?) FOR UPDATE"
        );
    }

    #[test]
    fn statements_stay_under_the_limit_of_placeholders() {
        assert_eq!(row_count(5000, 10), 1000);
        assert_eq!(row_count(987, 10), 768);
        assert_eq!(row_count(5000, 100), 512);
        assert_eq!(row_count(5000, 70_000), 1);
        assert_eq!(row_count(1, 1), 1);
    }
}
