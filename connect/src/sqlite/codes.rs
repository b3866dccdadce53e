//! SQLite's result codes by class.

use crate::sql::codes::codes;

codes! {
    /// By extended result code; a primary one (below 256) stands for all of its extended ones that are not listed.
    CODES:
    Dependency {
        "2067" "SQLITE_CONSTRAINT_UNIQUE" "another row has the value of a unique index; it may be about to change (rule E3)";
        "1555" "SQLITE_CONSTRAINT_PRIMARYKEY" "another row has the primary key";
        "2579" "SQLITE_CONSTRAINT_ROWID" "another row has the rowid";
        "787" "SQLITE_CONSTRAINT_FOREIGNKEY" "the parent is not there yet, or children still are";
    }
    Data {
        "1299" "SQLITE_CONSTRAINT_NOTNULL" "NULL in a NOT NULL column";
        "275" "SQLITE_CONSTRAINT_CHECK" "a CHECK refuses the row";
        "3091" "SQLITE_CONSTRAINT_DATATYPE" "a value of another type in a STRICT table";
        "1811" "SQLITE_CONSTRAINT_TRIGGER" "RAISE in a user's trigger (rule E4)";
        "18" "SQLITE_TOOBIG" "text or bytes longer than SQLite allows";
        "20" "SQLITE_MISMATCH" "a value of another type, as text in an INTEGER PRIMARY KEY";
    }
    Transient {
        "5" "SQLITE_BUSY" "another process writes; tried again without limit (rule L9)";
        "6" "SQLITE_LOCKED" "another session of this process writes";
        "9" "SQLITE_INTERRUPT" "the statement was interrupted";
        "17" "SQLITE_SCHEMA" "the statement must be prepared again";
    }
    Environment {
        "3" "SQLITE_PERM" "the file's permissions do not allow it";
        "7" "SQLITE_NOMEM" "no memory left";
        "8" "SQLITE_READONLY" "the file or its folder is read-only";
        "10" "SQLITE_IOERR" "the disk or file system failed";
        "11" "SQLITE_CORRUPT" "the file is damaged";
        "13" "SQLITE_FULL" "the disk is full";
        "14" "SQLITE_CANTOPEN" "the file can't be opened";
        "15" "SQLITE_PROTOCOL" "the file's locks do not work, as on some network file systems";
        "22" "SQLITE_NOLFS" "the file is larger than the system allows";
        "23" "SQLITE_AUTH" "not authorised";
        "26" "SQLITE_NOTADB" "the file is no SQLite database";
    }
}

codes! {
    /// SQLITE_ERROR (1) by what its message says.
    MESSAGES:
    Schema {
        "no such table" "SQLITE_ERROR" "there is no such table";
        "no such column" "SQLITE_ERROR" "there is no such column";
        "has no column named" "SQLITE_ERROR" "there is no such column";
        "ON CONFLICT clause does not match" "SQLITE_ERROR" "there is no unique index for the key";
        "cannot modify" "SQLITE_ERROR" "the table is a view, or belongs to SQLite";
        "cannot INSERT into generated column" "SQLITE_ERROR" "a generated column was written";
        "cannot UPDATE generated column" "SQLITE_ERROR" "a generated column was written";
    }
}
