//! Tables of error codes: what an engine calls its errors, and to which class each belongs. `docs/errors.md` is made from them.
//!
//! A table says what an error *is*; what happens next is decided by [`topology::policy::action`] alone. A code that no table has is
//! unknown: the direction pauses and nothing is lost (rule E4).

use topology::ErrorKind;

/// One line of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// As the engine writes it, or the beginning that a whole class of codes shares; the table says which.
    pub code: &'static str,
    /// The engine's own name for it.
    pub name: &'static str,
    /// Its class.
    pub kind: ErrorKind,
    /// What it means here.
    pub meaning: &'static str,
    /// The only server that has it, where one table serves two; else empty.
    pub server: &'static str,
}

/// The line with exactly this code.
pub(crate) fn find(table: &'static [Code], code: &str) -> Option<&'static Code> {
    table.iter().find(|line| line.code == code)
}

/// Makes a table: per class its codes, each with name, meaning and, where only one server has it, `on` that server.
macro_rules! codes {
    (
        $(#[$about:meta])*
        $table:ident:
        $( $kind:ident { $( $code:literal $name:literal $meaning:literal $(on $server:literal)? ; )* } )*
    ) => {
        $(#[$about])*
        pub static $table: &[$crate::sql::codes::Code] = &[
            $($(
                $crate::sql::codes::Code {
                    code: $code,
                    name: $name,
                    kind: ::topology::ErrorKind::$kind,
                    meaning: $meaning,
                    server: concat!($($server)?),
                },
            )*)*
        ];
    };
}

pub(crate) use codes;

/// What every table must keep; engines call it in their tests.
#[cfg(test)]
pub(crate) fn assert_sound(table: &'static [Code]) {
    let mut seen = std::collections::HashSet::new();
    for line in table {
        assert!(seen.insert(line.code), "{} stands twice", line.code);
        assert!(!line.name.is_empty() && !line.meaning.is_empty(), "{}", line.code);
        assert!(!line.meaning.contains('|') && !line.name.contains('|'), "{}: breaks the page", line.code);
    }
}
