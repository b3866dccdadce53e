-- The two roles that Tidelock asks for on PostgreSQL. In production grant tables instead of pg_*_all_data.
CREATE ROLE debezium LOGIN REPLICATION PASSWORD 'debezium';
GRANT pg_read_all_data TO debezium;

CREATE ROLE tidelock LOGIN PASSWORD 'tidelock';
GRANT pg_read_all_data, pg_write_all_data TO tidelock;
