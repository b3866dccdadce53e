//! MySQL's and MariaDB's error numbers by class. One table: the two servers share all numbers below 1900, and above them one number means
//! different things only where the line has the SQLSTATE beside it.

use crate::sql::codes::codes;

codes! {
    /// By number, or by number and SQLSTATE. Most of MySQL's SQLSTATEs are too coarse (HY000).
    CODES:
    Dependency {
        "1022" "ER_DUP_KEY" "another row has the value of a unique index";
        "1062" "ER_DUP_ENTRY" "another row has the value of a unique index; it may be about to change (rule E3)";
        "1169" "ER_DUP_UNIQUE" "another row has the value of a unique index";
        "1586" "ER_DUP_ENTRY_WITH_KEY_NAME" "another row has the value of a unique index";
        "1859" "ER_DUP_UNKNOWN_IN_INDEX" "another row has the value of a unique index";
        "1216" "ER_NO_REFERENCED_ROW" "the parent is not there yet";
        "1217" "ER_ROW_IS_REFERENCED" "children still are there";
        "1451" "ER_ROW_IS_REFERENCED_2" "children still are there";
        "1452" "ER_NO_REFERENCED_ROW_2" "the parent is not there yet";
        "1557" "ER_FOREIGN_DUPLICATE_KEY" "a cascade would make a duplicate";
        "1761" "ER_FOREIGN_DUPLICATE_KEY_WITH_CHILD_INFO" "a cascade would make a duplicate";
        "1762" "ER_FOREIGN_DUPLICATE_KEY_WITHOUT_CHILD_INFO" "a cascade would make a duplicate";
    }
    Data {
        "1048" "ER_BAD_NULL_ERROR" "NULL in a NOT NULL column";
        "1263" "ER_WARN_NULL_TO_NOTNULL" "NULL in a NOT NULL column";
        "1264" "ER_WARN_DATA_OUT_OF_RANGE" "number or date out of the column's range";
        "1690" "ER_DATA_OUT_OF_RANGE" "a computed number is out of range";
        "1265" "WARN_DATA_TRUNCATED" "the column can't hold the value: an unknown ENUM or SET label, a number with text behind";
        "1406" "ER_DATA_TOO_LONG" "text or bytes too long for the column";
        "1162" "ER_TOO_LONG_STRING" "text longer than max_allowed_packet";
        "1301" "ER_WARN_ALLOWED_PACKET_OVERFLOWED" "a computed value is longer than max_allowed_packet";
        "1153" "ER_NET_PACKET_TOO_LARGE" "the row is larger than max_allowed_packet; statements are cut below it";
        "1118" "ER_TOO_BIG_ROWSIZE" "the row is larger than a page allows";
        "1292" "ER_TRUNCATED_WRONG_VALUE" "no such date, time or number";
        "1411" "ER_WRONG_VALUE_FOR_TYPE" "no such value of the type";
        "1441" "ER_DATETIME_FUNCTION_OVERFLOW" "date or time out of range";
        "1525" "ER_WRONG_VALUE" "no such date, time or number";
        "1300" "ER_INVALID_CHARACTER_STRING" "bytes that are no text";
        "1366" "ER_TRUNCATED_WRONG_VALUE_FOR_FIELD" "text that the column's character set can't hold, or no number";
        "1977" "ER_CANNOT_CONVERT_CHARACTER" "text that the column's character set can't hold" on "mariadb";
        "3854" "ER_CANNOT_CONVERT_STRING" "text that the column's character set can't hold" on "mysql";
        "3988" "ER_IMPOSSIBLE_STRING_CONVERSION" "text that the column's character set can't hold" on "mysql";
        "1365" "ER_DIVISION_BY_ZERO" "in a CHECK, a generated column or a user's trigger";
        "1367" "ER_ILLEGAL_VALUE_FOR_TYPE" "no such value of the type";
        "1416" "ER_CANT_CREATE_GEOMETRY_OBJECT" "bytes that are no geometry";
        "1526" "ER_NO_PARTITION_FOR_GIVEN_VALUE" "the table has no partition for the row";
        "1748" "ER_ROW_DOES_NOT_MATCH_GIVEN_PARTITION_SET" "the table has no partition for the row";
        "3140" "ER_INVALID_JSON_TEXT" "text that is no JSON" on "mysql";
        "3141" "ER_INVALID_JSON_TEXT_IN_PARAM" "text that is no JSON" on "mysql";
        "3143" "ER_INVALID_JSON_PATH" "in a CHECK, a generated column or a user's trigger" on "mysql";
        "3144" "ER_INVALID_JSON_CHARSET" "JSON in another character set" on "mysql";
        "3145" "ER_INVALID_JSON_CHARSET_IN_FUNCTION" "JSON in another character set" on "mysql";
        "3146" "ER_INVALID_TYPE_FOR_JSON" "a value that is no JSON" on "mysql";
        "3147" "ER_INVALID_CAST_TO_JSON" "a value that is no JSON" on "mysql";
        "3148" "ER_INVALID_JSON_PATH_CHARSET" "in a CHECK, a generated column or a user's trigger" on "mysql";
        "3149" "ER_INVALID_JSON_PATH_WILDCARD" "in a CHECK, a generated column or a user's trigger" on "mysql";
        "3150" "ER_JSON_VALUE_TOO_BIG" "JSON larger than MySQL stores" on "mysql";
        "3155" "ER_NUMERIC_JSON_VALUE_OUT_OF_RANGE" "a number in JSON is out of range" on "mysql";
        "3156" "ER_INVALID_JSON_VALUE_FOR_CAST" "a value in JSON is of another type" on "mysql";
        "3157" "ER_JSON_DOCUMENT_TOO_DEEP" "JSON nested deeper than MySQL stores" on "mysql";
        "3616" "ER_LONGITUDE_OUT_OF_RANGE" "a place that is not on Earth" on "mysql";
        "3617" "ER_LATITUDE_OUT_OF_RANGE" "a place that is not on Earth" on "mysql";
        "3819" "ER_CHECK_CONSTRAINT_VIOLATED" "a CHECK refuses the row" on "mysql";
        "4025 23000" "ER_CONSTRAINT_FAILED" "a CHECK refuses the row" on "mariadb";
        "1369" "ER_VIEW_CHECK_FAILED" "the view's condition refuses the row";
        "1644" "ER_SIGNAL_EXCEPTION" "SIGNAL in a user's trigger (rule E4)";
        "1643" "ER_SIGNAL_NOT_FOUND" "SIGNAL in a user's trigger (rule E4)";
        "1645" "ER_RESIGNAL_WITHOUT_ACTIVE_HANDLER" "in a user's trigger";
        "1329" "ER_SP_FETCH_NO_DATA" "in a user's trigger";
        "1172" "ER_TOO_MANY_ROWS" "in a user's trigger";
        "1242" "ER_SUBQUERY_NO_1_ROW" "in a user's trigger";
        "1442" "ER_CANT_UPDATE_USED_TABLE_IN_SF_OR_TRG" "a user's trigger writes the table that fired it";
        "1422" "ER_COMMIT_NOT_ALLOWED_IN_SF_OR_TRG" "in a user's trigger";
        "1424" "ER_SP_NO_RECURSION" "in a user's trigger";
        "1456" "ER_SP_RECURSION_LIMIT" "in a user's trigger";
    }
    Schema {
        "1146" "ER_NO_SUCH_TABLE" "there is no such table";
        "1109" "ER_UNKNOWN_TABLE" "there is no such table";
        "1054" "ER_BAD_FIELD_ERROR" "there is no such column";
        "1288" "ER_NON_UPDATABLE_TABLE" "a view that can't be written";
        "1471" "ER_NON_INSERTABLE_TABLE" "a view that can't be written";
        "1347" "ER_WRONG_OBJECT" "not a table";
        "1348" "ER_NONUPDATEABLE_COLUMN" "a column of a view that can't be written";
        "1356" "ER_VIEW_INVALID" "the view's own tables or columns are not there";
        "1364" "ER_NO_DEFAULT_FOR_FIELD" "a NOT NULL column without default is not mapped: no row of the table can be inserted";
        "1906" "ER_WARNING_NON_DEFAULT_VALUE_FOR_GENERATED_COLUMN" "a generated column was written" on "mariadb";
        "3105" "ER_NON_DEFAULT_VALUE_FOR_GENERATED_COLUMN" "a generated column was written" on "mysql";
    }
    Transient {
        "1205" "ER_LOCK_WAIT_TIMEOUT" "a lock was waited for too long; MariaDB rolls back only the statement, so the whole batch starts again (rule E1)";
        "1213" "ER_LOCK_DEADLOCK" "deadlock; this transaction was the victim";
        "1614" "ER_XA_RBDEADLOCK" "deadlock; this transaction was the victim";
        "3058" "ER_USER_LOCK_DEADLOCK" "deadlock of named locks" on "mysql";
        "1020" "ER_CHECKREAD" "the row changed since it was read (innodb_snapshot_isolation)";
        "3101" "ER_TRANSACTION_ROLLBACK_DURING_COMMIT" "another member of the group was first" on "mysql";
        "3572" "ER_LOCK_NOWAIT" "a lock is taken" on "mysql";
        "1317" "ER_QUERY_INTERRUPTED" "the statement was killed";
        "1969" "ER_STATEMENT_TIMEOUT" "the statement took longer than max_statement_time" on "mariadb";
        "3024" "ER_QUERY_TIMEOUT" "the statement took longer than max_execution_time" on "mysql";
        "1412" "ER_TABLE_DEF_CHANGED" "the table changed meanwhile";
        "1615" "ER_NEED_REPREPARE" "the statement must be prepared again";
        "1243" "ER_UNKNOWN_STMT_HANDLER" "the statement must be prepared again: the session is another one";
        "1297" "ER_GET_TEMPORARY_ERRMSG" "the storage engine calls it temporary";
        "1053" "ER_SERVER_SHUTDOWN" "the server shuts down";
        "1077" "ER_NORMAL_SHUTDOWN" "the server shuts down";
        "1079" "ER_SHUTDOWN_COMPLETE" "the server shuts down";
        "1080" "ER_FORCING_CLOSE" "the server ended the session";
        "1152" "ER_ABORTING_CONNECTION" "the connection is lost";
        "1156" "ER_NET_PACKETS_OUT_OF_ORDER" "the connection is out of step";
        "1157" "ER_NET_UNCOMPRESS_ERROR" "the connection is out of step";
        "1158" "ER_NET_READ_ERROR" "the connection is lost";
        "1159" "ER_NET_READ_INTERRUPTED" "the connection is lost";
        "1160" "ER_NET_ERROR_ON_WRITE" "the connection is lost";
        "1161" "ER_NET_WRITE_INTERRUPTED" "the connection is lost";
        "1184" "ER_NEW_ABORTING_CONNECTION" "the connection is lost";
        "1927" "ER_CONNECTION_KILLED" "an administrator ended the session" on "mariadb";
        "3169" "ER_SESSION_WAS_KILLED" "an administrator ended the session" on "mysql";
        "3168" "ER_SERVER_ISNT_AVAILABLE" "the server is starting or shutting down" on "mysql";
        "4031" "ER_CLIENT_INTERACTION_TIMEOUT" "the server ended a session without work" on "mysql";
        "2002" "CR_CONNECTION_ERROR" "the server does not answer; also sent by proxies";
        "2003" "CR_CONN_HOST_ERROR" "the server does not answer; also sent by proxies";
        "2006" "CR_SERVER_GONE_ERROR" "the connection is lost; also sent by proxies";
        "2013" "CR_SERVER_LOST" "the connection is lost; also sent by proxies";
        "2055" "CR_SERVER_LOST_EXTENDED" "the connection is lost; also sent by proxies";
    }
    Environment {
        "1044" "ER_DBACCESS_DENIED_ERROR" "a privilege is missing";
        "1045" "ER_ACCESS_DENIED_ERROR" "user or password is refused";
        "1142" "ER_TABLEACCESS_DENIED_ERROR" "a privilege is missing";
        "1143" "ER_COLUMNACCESS_DENIED_ERROR" "a privilege is missing";
        "1227" "ER_SPECIFIC_ACCESS_DENIED_ERROR" "a privilege is missing";
        "1370" "ER_PROCACCESS_DENIED_ERROR" "a privilege is missing";
        "1449" "ER_NO_SUCH_USER" "the definer of a view or trigger is not there";
        "1130" "ER_HOST_NOT_PRIVILEGED" "the server refuses this host";
        "1129" "ER_HOST_IS_BLOCKED" "the server refuses this host after too many failures";
        "1698" "ER_ACCESS_DENIED_NO_PASSWORD_ERROR" "user or password is refused";
        "1820" "ER_MUST_CHANGE_PASSWORD" "the password has expired";
        "1862" "ER_MUST_CHANGE_PASSWORD_LOGIN" "the password has expired";
        "3118" "ER_ACCOUNT_HAS_BEEN_LOCKED" "the account is locked" on "mysql";
        "4151" "ER_ACCOUNT_HAS_BEEN_LOCKED" "the account is locked" on "mariadb";
        "1049" "ER_BAD_DB_ERROR" "there is no such database";
        "1040" "ER_CON_COUNT_ERROR" "max_connections is reached";
        "1203" "ER_TOO_MANY_USER_CONNECTIONS" "the user has too many connections";
        "1226" "ER_USER_LIMIT_REACHED" "the user has used up a limit";
        "1461" "ER_MAX_PREPARED_STMT_COUNT_REACHED" "max_prepared_stmt_count is reached";
        "1037" "ER_OUTOFMEMORY" "the server has no memory left";
        "1038" "ER_OUT_OF_SORTMEMORY" "the server has no memory left for sorting";
        "1041" "ER_OUT_OF_RESOURCES" "the server has no memory left";
        "1135" "ER_CANT_CREATE_THREAD" "the server can't start a thread";
        "1436" "ER_STACK_OVERRUN_NEED_MORE" "thread_stack is too small";
        "1206" "ER_LOCK_TABLE_FULL" "the server has no room for more locks";
        "1637" "ER_TOO_MANY_CONCURRENT_TRXS" "the server has no room for more transactions";
        "1021" "ER_DISK_FULL" "the disk is full";
        "1114" "ER_RECORD_FILE_FULL" "the table or the disk is full";
        "1026" "ER_ERROR_ON_WRITE" "the disk or file system failed";
        "1024" "ER_ERROR_ON_READ" "the disk or file system failed";
        "1030" "ER_GET_ERRNO" "the storage engine failed, as with a full disk";
        "1194" "ER_CRASHED_ON_USAGE" "the table is damaged";
        "1195" "ER_CRASHED_ON_REPAIR" "the table is damaged";
        "1197" "ER_TRANS_CACHE_FULL" "the transaction is larger than max_binlog_cache_size";
        "1705" "ER_STMT_CACHE_FULL" "the statement is larger than max_binlog_stmt_cache_size";
        "1598" "ER_BINLOG_LOGGING_IMPOSSIBLE" "the binary log can't be written";
        "1812" "ER_TABLESPACE_MISSING" "the table's file is not there";
        "1814" "ER_TABLESPACE_DISCARDED" "the table's file was discarded";
        "1878" "ER_TEMP_FILE_WRITE_FAILURE" "a temporary file can't be written, as with a full disk";
        "3170" "ER_CAPACITY_EXCEEDED" "the server has no memory left for the statement" on "mysql";
        "1036" "ER_OPEN_AS_READONLY" "the table is read-only";
        "1099" "ER_TABLE_NOT_LOCKED_FOR_WRITE" "the table is locked for reading";
        "1223" "ER_CANT_UPDATE_WITH_READLOCK" "the server is locked for reading, as during a backup";
        "1290" "ER_OPTION_PREVENTS_STATEMENT" "the server is read-only, or another option forbids it";
        "1792" "ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION" "transactions are read-only";
        "1836" "ER_READ_ONLY_MODE" "the server is read-only";
        "3032" "ER_SERVER_OFFLINE_MODE" "the server is in offline mode" on "mysql";
        "3100" "ER_RUN_HOOK_ERROR" "the group has no majority, or the member is not in it" on "mysql";
        "3989" "ER_SCHEMA_READ_ONLY" "the database is read-only" on "mysql";
        "1665" "ER_BINLOG_STMT_MODE_AND_ROW_ENGINE" "binlog_format does not allow it; set ROW";
        "1781" "ER_CANT_SET_GTID_NEXT_TO_GTID_WHEN_GTID_MODE_IS_OFF" "the loop guard needs gtid_mode=ON";
        "1782" "ER_CANT_SET_GTID_NEXT_TO_ANONYMOUS_WHEN_GTID_MODE_IS_ON" "the loop guard needs gtid_mode=ON";
        "1785" "ER_GTID_UNSAFE_NON_TRANSACTIONAL_TABLE" "a table that is not InnoDB";
        "1950" "ER_GTID_STRICT_OUT_OF_ORDER" "gtid_strict_mode refuses the number" on "mariadb";
    }
    Configuration {
        "1193" "ER_UNKNOWN_SYSTEM_VARIABLE" "the server has no such variable";
        "1231" "ER_WRONG_VALUE_FOR_VAR" "a variable can't have that value";
        "1232" "ER_WRONG_TYPE_FOR_VAR" "a variable can't have that value";
    }
    Bug {
        "1064" "ER_PARSE_ERROR" "a statement of ours is wrong";
        "1110" "ER_FIELD_SPECIFIED_TWICE" "a statement of ours is wrong";
        "1136" "ER_WRONG_VALUE_COUNT_ON_ROW" "a statement of ours is wrong";
        "1210" "ER_WRONG_ARGUMENTS" "a statement of ours is wrong";
        "1295" "ER_UNSUPPORTED_PS" "a statement of ours can't be prepared";
        "1305" "ER_SP_DOES_NOT_EXIST" "there is no such savepoint";
        "1390" "ER_PS_MANY_PARAM" "a statement of ours has too many parameters (rule B9)";
        "1568" "ER_CANT_CHANGE_TX_CHARACTERISTICS" "inside a transaction";
        "1766" "ER_VARIABLE_NOT_SETTABLE_IN_TRANSACTION" "gtid_next inside a transaction (rule G2)";
        "1837" "ER_GTID_NEXT_TYPE_UNDEFINED_GTID" "gtid_next was not set anew after a transaction (rule G2)";
    }
}

codes! {
    /// By the first two characters of the SQLSTATE, for numbers that are not listed.
    STATES:
    Data {
        "22" "data exception" "a value that the column can't hold";
        "45" "unhandled user-defined exception" "SIGNAL in a user's trigger (rule E4)";
    }
    Transient {
        "08" "connection exception" "the connection is lost";
        "40" "transaction rollback" "the transaction lost against another one";
    }
}
