//! Which binary form a column travels in, and what the statement casts it to.

use topology::data::Kind;

use crate::sql::plan::PlanColumn;

/// Binary forms that we write. Everything else travels as text and is cast by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytea,
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Interval,
    Uuid,
    Json,
    Jsonb,
    Varbit,
}

impl Wire {
    /// Object id of the element type.
    pub(super) fn element(self) -> u32 {
        match self {
            Wire::Bool => 16,
            Wire::Int2 => 21,
            Wire::Int4 => 23,
            Wire::Int8 => 20,
            Wire::Float4 => 700,
            Wire::Float8 => 701,
            Wire::Numeric => 1700,
            Wire::Text => 25,
            Wire::Bytea => 17,
            Wire::Date => 1082,
            Wire::Time => 1083,
            Wire::TimeTz => 1266,
            Wire::Timestamp => 1114,
            Wire::TimestampTz => 1184,
            Wire::Interval => 1186,
            Wire::Uuid => 2950,
            Wire::Json => 114,
            Wire::Jsonb => 3802,
            Wire::Varbit => 1562,
        }
    }

    /// Object id of the array type.
    pub(super) fn array(self) -> u32 {
        match self {
            Wire::Bool => 1000,
            Wire::Int2 => 1005,
            Wire::Int4 => 1007,
            Wire::Int8 => 1016,
            Wire::Float4 => 1021,
            Wire::Float8 => 1022,
            Wire::Numeric => 1231,
            Wire::Text => 1009,
            Wire::Bytea => 1001,
            Wire::Date => 1182,
            Wire::Time => 1183,
            Wire::TimeTz => 1270,
            Wire::Timestamp => 1115,
            Wire::TimestampTz => 1185,
            Wire::Interval => 1187,
            Wire::Uuid => 2951,
            Wire::Json => 199,
            Wire::Jsonb => 3807,
            Wire::Varbit => 1563,
        }
    }

    /// The array type by name, for `$n::…`.
    pub(super) fn array_name(self) -> &'static str {
        match self {
            Wire::Bool => "bool[]",
            Wire::Int2 => "int2[]",
            Wire::Int4 => "int4[]",
            Wire::Int8 => "int8[]",
            Wire::Float4 => "float4[]",
            Wire::Float8 => "float8[]",
            Wire::Numeric => "numeric[]",
            Wire::Text => "text[]",
            Wire::Bytea => "bytea[]",
            Wire::Date => "date[]",
            Wire::Time => "time[]",
            Wire::TimeTz => "timetz[]",
            Wire::Timestamp => "timestamp[]",
            Wire::TimestampTz => "timestamptz[]",
            Wire::Interval => "interval[]",
            Wire::Uuid => "uuid[]",
            Wire::Json => "json[]",
            Wire::Jsonb => "jsonb[]",
            Wire::Varbit => "varbit[]",
        }
    }
}

/// How a column travels.
pub(super) fn wire(column: &PlanColumn) -> Wire {
    match &column.kind {
        Kind::Bool => Wire::Bool,
        Kind::Int { bits, .. } => match bits {
            0..=16 => Wire::Int2,
            17..=32 => Wire::Int4,
            _ => Wire::Int8,
        },
        Kind::Year => Wire::Int4,
        Kind::Float32 => Wire::Float4,
        Kind::Float64 => Wire::Float8,
        Kind::Decimal { .. } => Wire::Numeric,
        Kind::Bytes { .. } => Wire::Bytea,
        Kind::Date => Wire::Date,
        Kind::Time { .. } => Wire::Time,
        Kind::TimeTz { .. } => Wire::TimeTz,
        Kind::Timestamp { .. } => Wire::Timestamp,
        Kind::TimestampTz { .. } => Wire::TimestampTz,
        Kind::Interval => Wire::Interval,
        Kind::Uuid => Wire::Uuid,
        Kind::Json if &*column.native == "json" => Wire::Json,
        Kind::Json => Wire::Jsonb,
        Kind::Bits { .. } => Wire::Varbit,
        Kind::Text { .. }
        | Kind::Duration { .. }
        | Kind::Xml
        | Kind::Enum(_)
        | Kind::Set(_)
        | Kind::Array(_)
        | Kind::Other(_) => Wire::Text,
    }
}

/// The explicit cast that an assignment needs, if any. Text types get none: an explicit cast would cut what is too long (P6).
pub(super) fn cast(column: &PlanColumn) -> Option<&str> {
    match &column.kind {
        Kind::Text { .. } => None,
        Kind::Decimal { .. } if &*column.native == "money" => Some("money"),
        Kind::Int { .. } if &*column.native == "oid" => Some("oid"),
        _ if wire(column) == Wire::Text => Some(&column.native),
        _ => None,
    }
}

/// The cast that makes a key parameter comparable by the column's own index. Binds refuse text that is longer than the column.
pub(super) fn key_cast(column: &PlanColumn) -> Option<&str> {
    match &column.kind {
        Kind::Text { fixed: true, .. } => Some(&column.native),
        _ => cast(column),
    }
}

/// True for types whose `=` may equate values that differ (or does not exist): they are compared by their stored bytes.
pub(super) fn compares_by_image(column: &PlanColumn) -> bool {
    match &column.kind {
        Kind::Float32 | Kind::Float64 | Kind::Interval | Kind::Json | Kind::Xml | Kind::Array(_) | Kind::Other(_) => {
            true
        }
        Kind::Decimal { scale, .. } => scale.is_none(),
        Kind::Text { .. } => column.equates,
        _ => false,
    }
}
