-- The two roles that Tidelock asks for on PostgreSQL. In production grant tables instead of pg_*_all_data.
CREATE ROLE debezium LOGIN REPLICATION PASSWORD 'debezium';
GRANT pg_read_all_data TO debezium;

CREATE ROLE tidelock LOGIN PASSWORD 'tidelock';
GRANT pg_read_all_data, pg_write_all_data TO tidelock;

-- Rights on functions and schemas belong to a database; those of template1 are copied into every database made later.
-- CREATE is for the engine's own tidelock_* tables; the rest is for the loop guard.
\connect template1
GRANT USAGE, CREATE ON SCHEMA public TO tidelock;
GRANT EXECUTE ON FUNCTION
  pg_replication_origin_create(text),
  pg_replication_origin_drop(text),
  pg_replication_origin_oid(text),
  pg_replication_origin_session_setup(text),
  pg_replication_origin_session_reset(),
  pg_replication_origin_session_is_setup(),
  pg_replication_origin_session_progress(boolean),
  pg_replication_origin_xact_setup(pg_lsn, timestamptz),
  pg_replication_origin_xact_reset(),
  pg_replication_origin_progress(text, boolean),
  pg_show_replication_origin_status()
TO tidelock;
GRANT SELECT ON pg_replication_origin_status TO tidelock;
