-- The two users that Tidelock asks for on MySQL. In production name the databases instead of *.*.
CREATE USER IF NOT EXISTS 'debezium'@'%' IDENTIFIED BY 'debezium';
GRANT SELECT, RELOAD, SHOW DATABASES, REPLICATION SLAVE, REPLICATION CLIENT, LOCK TABLES ON *.* TO 'debezium'@'%';

CREATE USER IF NOT EXISTS 'tidelock'@'%' IDENTIFIED BY 'tidelock';
-- CREATE and INDEX are for its own tidelock_* tables; REPLICATION_APPLIER lets it set gtid_next, which the loop guard needs.
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, INDEX ON *.* TO 'tidelock'@'%';
GRANT REPLICATION_APPLIER ON *.* TO 'tidelock'@'%';
