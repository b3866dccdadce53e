-- Rights of the writer inside one database. CREATE is for its own tidelock_* tables; the rest is for the loop guard.
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
