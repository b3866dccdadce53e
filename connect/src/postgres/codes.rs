//! PostgreSQL's SQLSTATEs by class.

use crate::sql::codes::codes;

codes! {
    /// By SQLSTATE. One of two characters stands for all of its class that are not listed.
    CODES:
    Dependency {
        "23505" "unique_violation" "another row has the value of a unique index; it may be about to change (rule E3)";
        "23P01" "exclusion_violation" "another row excludes this one";
        "23503" "foreign_key_violation" "the parent is not there yet, or children still are";
        "23001" "restrict_violation" "children still are there (ON DELETE RESTRICT)";
    }
    Data {
        "23" "integrity_constraint_violation" "NOT NULL (23502), CHECK (23514) and what else a row can break";
        "23502" "not_null_violation" "NULL in a NOT NULL column";
        "23514" "check_violation" "a CHECK refuses the row";
        "22" "data_exception" "a value that the column can't hold";
        "22001" "string_data_right_truncation" "text too long for the column";
        "22003" "numeric_value_out_of_range" "number too large for the column";
        "22007" "invalid_datetime_format" "no such date or time";
        "22008" "datetime_field_overflow" "date or time out of range";
        "22012" "division_by_zero" "in a CHECK, a generated column or a user's trigger";
        "22021" "character_not_in_repertoire" "text that the database's encoding can't hold, as with a NUL character";
        "22P02" "invalid_text_representation" "text that is none of the column's type, as an unknown ENUM label";
        "22P05" "untranslatable_character" "text that the database's encoding can't hold";
        "44000" "with_check_option_violation" "the view's condition refuses the row";
        "54000" "program_limit_exceeded" "the row is too large for an index or a page";
        "P0001" "raise_exception" "RAISE in a user's trigger (rule E4)";
        "45000" "unhandled user-defined exception" "RAISE with this SQLSTATE in a user's trigger (rule E4)";
        "09" "triggered_action_exception" "a user's trigger failed";
        "20" "case_not_found" "CASE without a match in a user's trigger";
        "27" "triggered_data_change_violation" "a user's trigger changed the row that fired it";
        "38" "external_routine_exception" "a user's function failed";
        "39" "external_routine_invocation_exception" "a user's function was called in a wrong way";
        "P0002" "no_data_found" "in a user's trigger";
        "P0003" "too_many_rows" "in a user's trigger";
        "P0004" "assert_failure" "ASSERT in a user's trigger";
    }
    Schema {
        "42" "syntax_error_or_access_rule_violation" "the statement does not fit the table: something was renamed, dropped or changed its type";
        "42P01" "undefined_table" "there is no such table";
        "42703" "undefined_column" "there is no such column";
        "42704" "undefined_object" "there is no such type or object";
        "42804" "datatype_mismatch" "a column has another type than when the statement was planned";
        "42P10" "invalid_column_reference" "there is no unique index for the key";
        "428C9" "generated_always" "a generated column was written";
        "3F" "invalid_schema_name" "there is no such schema";
        "0A" "feature_not_supported" "the statement is not possible for this table, or its plan is from before a change of the table";
        "55000" "object_not_in_prerequisite_state" "the table can't be written as it is, such as a view or one without replica identity";
    }
    Transient {
        "40" "transaction_rollback" "the transaction lost against another one";
        "40001" "serialization_failure" "the transaction lost against another one";
        "40P01" "deadlock_detected" "deadlock; this transaction was the victim";
        "08" "connection_exception" "the connection is lost";
        "55P03" "lock_not_available" "a lock was waited for too long (lock_timeout)";
        "57014" "query_canceled" "the statement was cancelled or took longer than statement_timeout";
        "25P03" "idle_in_transaction_session_timeout" "the server ended a session whose worker stood still";
        "25P04" "transaction_timeout" "the server ended a transaction that took too long";
        "57P01" "admin_shutdown" "the server shuts down, or an administrator ended the session";
        "57P02" "crash_shutdown" "the server restarts after a crash";
        "57P03" "cannot_connect_now" "the server is starting or shutting down";
        "57P05" "idle_session_timeout" "the server ended a session without work";
    }
    Environment {
        "42501" "insufficient_privilege" "a privilege is missing";
        "25006" "read_only_sql_transaction" "the server is read-only, as a standby is";
        "28" "invalid_authorization_specification" "user or password is refused";
        "3D" "invalid_catalog_name" "there is no such database";
        "53" "insufficient_resources" "the server has no room";
        "53100" "disk_full" "the disk is full";
        "53200" "out_of_memory" "the server has no memory left";
        "53300" "too_many_connections" "max_connections is reached";
        "57P04" "database_dropped" "the database was dropped";
        "58" "system_error" "the operating system refused something, such as reading a file";
        "72" "snapshot_too_old" "the server could not keep what the transaction reads";
        "F0" "config_file_error" "the server's configuration is wrong";
        "XX" "internal_error" "internal error or damaged data";
    }
}
