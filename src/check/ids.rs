//! `ids: same` on a two-way link: both databases allot ids, so the ids must be of different classes (rule of design part 8): site k of n
//! allots ids that are k modulo n. Ranges do not do: an explicit insert pulls a counter into the other range.

use topology::table::{SequenceDescription, TableDescription};

/// What is wrong with the counters behind the keys of both tables of a two-way entity; `None` if they never meet or one side has none.
pub(super) fn clash(left: (&str, &TableDescription), right: (&str, &TableDescription)) -> Option<String> {
    let (left_site, left_table) = left;
    let (right_site, right_table) = right;
    let (ours, theirs) = (key_counter(left_table)?, key_counter(right_table)?);
    let divisor = greatest_common_divisor(ours.increment.unsigned_abs(), theirs.increment.unsigned_abs());
    // Both sequences meet exactly if their starts are equal modulo the greatest common divisor of their steps.
    let apart = divisor > 1 && (ours.start - theirs.start).rem_euclid(i64::try_from(divisor).unwrap_or(1)) != 0;
    (!apart).then(|| {
        format!(
            "ids: same, and both {left_site} (table {}, from {} in steps of {}) and {right_site} (table {}, from {} in steps of {}) allot ids: \
             they will give one id to two rows. Let one side allot odd ids and the other even ones: auto_increment_increment=2 with \
             auto_increment_offset=1 or 2 on MySQL and MariaDB, ALTER SEQUENCE … INCREMENT BY 2 with a matching RESTART on PostgreSQL",
            left_table.name, ours.start, ours.increment, right_table.name, theirs.start, theirs.increment
        )
    })
}

/// The counter behind a primary key of one column.
fn key_counter(table: &TableDescription) -> Option<&SequenceDescription> {
    let [column] = table.primary_key.as_slice() else { return None };
    table.sequences.iter().find(|sequence| sequence.column == *column)
}

fn greatest_common_divisor(mut left: u64, mut right: u64) -> u64 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(counter: Option<(i64, i64)>) -> TableDescription {
        TableDescription {
            name: "users".into(),
            columns: Vec::new(),
            primary_key: vec![0],
            unique_indexes: Vec::new(),
            foreign_keys: Vec::new(),
            referenced: false,
            deferrable: false,
            sequences: counter
                .map(|(start, increment)| SequenceDescription {
                    column: 0,
                    name: "".into(),
                    increment,
                    start,
                    last: i64::MAX,
                })
                .into_iter()
                .collect(),
            triggers: Vec::new(),
        }
    }

    fn clashes(left: Option<(i64, i64)>, right: Option<(i64, i64)>) -> bool {
        clash(("legacy", &table(left)), ("revamp", &table(right))).is_some()
    }

    #[test]
    fn odd_and_even_ids_never_meet_and_plain_counters_do() {
        assert!(clashes(Some((1, 1)), Some((1, 1))));
        assert!(!clashes(Some((1, 2)), Some((2, 2))));
        assert!(clashes(Some((1, 2)), Some((3, 2))));
        assert!(clashes(Some((1, 2)), Some((2, 1))));
        assert!(clashes(Some((1, 2)), Some((1, 3))));
        assert!(!clashes(Some((1, 4)), Some((2, 2))));
        assert!(!clashes(None, Some((1, 1))), "only one side allots");
    }
}
