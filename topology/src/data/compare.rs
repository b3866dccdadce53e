//! Order, equality and hashes of cells, used for keys: sorting a batch by primary key and finding changes of one row.

use std::cmp::Ordering;

use super::{Arena, Cell, CellRange, View};

/// Rank of the variant: cells of different kinds never meet in one key column after the lens, but the order stays total.
fn rank(view: &View<'_>) -> u8 {
    match view {
        View::Null => 0,
        View::Unavailable => 1,
        View::Bool(_) => 2,
        View::I64(_) | View::U64(_) => 3,
        View::F32(_) | View::F64(_) => 4,
        View::Decimal { .. } => 5,
        View::Text(_) => 6,
        View::Bytes(_) => 7,
        View::Date(_) => 8,
        View::Time(_) => 9,
        View::TimeTz(_) => 10,
        View::Timestamp(_) => 11,
        View::TimestampTz(_) => 12,
        View::Duration(_) => 13,
        View::Interval { .. } => 14,
        View::Uuid(_) => 15,
        View::Json(_) => 16,
        View::Bits(_) => 17,
        View::Array(_) => 18,
    }
}

fn integer(view: &View<'_>) -> Option<i128> {
    match view {
        View::I64(v) => Some(i128::from(*v)),
        View::U64(v) => Some(i128::from(*v)),
        _ => None,
    }
}

impl Arena {
    /// Total order of two cells of (maybe) two arenas. Text compares by bytes; numbers by value.
    pub fn compare(&self, left: Cell, other: &Arena, right: Cell) -> Ordering {
        let (a, b) = (self.view(left), other.view(right));
        if let (Some(x), Some(y)) = (integer(&a), integer(&b)) {
            return x.cmp(&y);
        }
        match (a, b) {
            (View::Bool(x), View::Bool(y)) => x.cmp(&y),
            (View::F32(x), View::F32(y)) => x.total_cmp(&y),
            (View::F64(x), View::F64(y)) => x.total_cmp(&y),
            (View::Decimal { unscaled: x, scale: s }, View::Decimal { unscaled: y, scale: t }) => {
                match (super::decimal::to_i128(x), super::decimal::to_i128(y)) {
                    (Some(m), Some(n)) if s == t => m.cmp(&n),
                    _ => s.cmp(&t).then_with(|| x.cmp(y)),
                }
            }
            (View::Text(x), View::Text(y)) | (View::Json(x), View::Json(y)) => x.cmp(y),
            (View::Bytes(x), View::Bytes(y)) | (View::Bits(x), View::Bits(y)) => x.cmp(y),
            (View::Date(x), View::Date(y)) => x.cmp(&y),
            (View::Time(x), View::Time(y))
            | (View::TimeTz(x), View::TimeTz(y))
            | (View::Timestamp(x), View::Timestamp(y))
            | (View::TimestampTz(x), View::TimestampTz(y))
            | (View::Duration(x), View::Duration(y)) => x.cmp(&y),
            (
                View::Interval { months: m, days: d, microseconds: u },
                View::Interval { months: n, days: e, microseconds: v },
            ) => (m, d, u).cmp(&(n, e, v)),
            (View::Uuid(x), View::Uuid(y)) => x.cmp(&y),
            (View::Array(x), View::Array(y)) => {
                for (left, right) in x.iter().zip(y) {
                    match self.compare(*left, other, *right) {
                        Ordering::Equal => {}
                        unequal => return unequal,
                    }
                }
                x.len().cmp(&y.len())
            }
            (a, b) => rank(&a).cmp(&rank(&b)),
        }
    }

    /// Order of two rows of this arena, cell by cell.
    pub fn compare_rows(&self, left: CellRange, right: CellRange) -> Ordering {
        for (a, b) in self.row(left).iter().zip(self.row(right)) {
            match self.compare(*a, self, *b) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
        }
        left.length.cmp(&right.length)
    }

    /// A hash of a row that is equal for rows that compare equal. `seed` separates tables.
    pub fn hash_row(&self, seed: u64, range: CellRange) -> u64 {
        let mut hash = seed ^ 0x9e37_79b9_7f4a_7c15;
        for cell in self.row(range) {
            hash = self.hash_cell(hash, *cell);
        }
        hash
    }

    /// Hash of one cell; equal values have equal hashes, also across their forms.
    pub fn hash_cell(&self, seed: u64, cell: Cell) -> u64 {
        use xxhash_rust::xxh3::xxh3_64_with_seed as hash;
        let view = self.view(cell);
        let seed = seed.rotate_left(5) ^ u64::from(rank(&view));
        if let Some(number) = integer(&view) {
            return hash(&number.to_le_bytes(), seed);
        }
        match view {
            View::Null | View::Unavailable => hash(&[], seed),
            View::Bool(v) => hash(&[u8::from(v)], seed),
            View::F32(v) => hash(&v.to_bits().to_le_bytes(), seed),
            View::F64(v) => hash(&v.to_bits().to_le_bytes(), seed),
            View::Decimal { unscaled, scale } => hash(unscaled, seed ^ u64::from(scale as u16)),
            View::Text(v) | View::Json(v) => hash(v.as_bytes(), seed),
            View::Bytes(v) | View::Bits(v) => hash(v, seed),
            View::Date(v) => hash(&v.to_le_bytes(), seed),
            View::Time(v) | View::TimeTz(v) | View::Timestamp(v) | View::TimestampTz(v) | View::Duration(v) => {
                hash(&v.to_le_bytes(), seed)
            }
            View::Interval { months, days, microseconds } => {
                hash(&microseconds.to_le_bytes(), seed ^ ((months as u32 as u64) << 32) ^ u64::from(days as u32))
            }
            View::Uuid(v) => hash(&v, seed),
            View::Array(cells) => cells.iter().fold(seed, |seed, cell| self.hash_cell(seed, *cell)),
            View::I64(_) | View::U64(_) => unreachable!("integers were hashed above"),
        }
    }
}
