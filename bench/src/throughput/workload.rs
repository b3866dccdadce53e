//! The rows: a table of 10 or 15 columns as ENGINE-like shops have them, made from a number so that any process makes the same row.

use std::sync::Arc;

use topology::data::{Column, Kind, Layout, Value};

/// First inserts of ascending keys, then updates of every row in another order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Insert,
    Update,
}

impl Phase {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Phase::Insert => "insert",
            Phase::Update => "update",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Phase, String> {
        [Phase::Insert, Phase::Update]
            .into_iter()
            .find(|phase| phase.name() == name)
            .ok_or_else(|| format!("no phase {name}"))
    }
}

/// A table and its rows.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) columns: usize,
    pub(crate) layout: Layout,
}

/// Name of the table.
pub(crate) const TABLE: &str = "bench_rows";

impl Workload {
    pub(crate) fn new(columns: usize) -> Workload {
        let text = |characters| Kind::Text { characters_max: Some(characters), fixed: false };
        let int = |bits| Kind::Int { bits, unsigned: false };
        let kinds = [
            int(64),
            int(32),
            text(64),
            text(64),
            text(32),
            Kind::Decimal { precision: Some(12), scale: Some(2) },
            int(32),
            Kind::Float64,
            Kind::Timestamp { precision: 6 },
            text(255),
            int(64),
            text(64),
            Kind::Decimal { precision: Some(18), scale: Some(4) },
            Kind::Date,
            text(32),
        ];
        let columns = columns.clamp(2, kinds.len());
        let layout = Layout {
            columns: kinds
                .into_iter()
                .take(columns)
                .enumerate()
                .map(|(at, kind)| Column {
                    name: Arc::from(if at == 0 { "id".to_owned() } else { format!("c{at}") }),
                    kind,
                    nullable: at != 0,
                })
                .collect(),
        };
        Workload { columns, layout }
    }

    /// The key of the `index`-th change of a phase. Updates visit every key once in an order that jumps.
    pub(crate) fn key(&self, phase: Phase, index: u64, rows: u64) -> u64 {
        match phase {
            Phase::Insert => index,
            // A step that shares no factor with the number of rows visits all of them.
            Phase::Update => {
                let mut step = (rows as f64 * 0.618) as u64 | 1;
                while gcd(step, rows) != 1 {
                    step += 2;
                }
                (u128::from(index) * u128::from(step) % u128::from(rows)) as u64
            }
        }
    }

    /// The row that a phase writes for a key.
    pub(crate) fn row(&self, phase: Phase, key: u64) -> Vec<Value> {
        let salt = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ if phase == Phase::Update { 0x5555 } else { 0 };
        let number = salt as i64 >> 20;
        let all = [
            Value::I64(key as i64),
            Value::I64(i64::from(salt as i32)),
            Value::Text(format!("customer {salt:016x}")),
            Value::Text(format!("{salt:x}@example.com")),
            Value::Text(["pending", "completed", "cancelled", "shipped"][(salt % 4) as usize].to_owned()),
            decimal(number % 1_000_000_000, 2),
            Value::I64((salt % 100) as i64),
            Value::F64(number as f64 / 7.0),
            Value::Timestamp(1_700_000_000_000_000 + (salt % 1_000_000_000_000) as i64),
            Value::Text(format!("{:064x}", u128::from(salt) * 31)),
            Value::I64(number),
            Value::Text(format!("street {salt}")),
            decimal(number % 1_000_000_000_000, 4),
            Value::Date((salt % 20_000) as i32),
            Value::Text(format!("city {}", salt % 1000)),
        ];
        all.into_iter().take(self.columns).collect()
    }
}

fn decimal(number: i64, scale: i16) -> Value {
    Value::Decimal { unscaled: topology::data::decimal::minimal(&number.to_be_bytes()).to_vec(), scale }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_visit_every_key_once() {
        let workload = Workload::new(10);
        for rows in [1, 2, 10, 999, 1000] {
            let mut keys: Vec<u64> = (0..rows).map(|index| workload.key(Phase::Update, index, rows)).collect();
            keys.sort_unstable();
            assert_eq!(keys, (0..rows).collect::<Vec<_>>());
        }
    }
}
