//! How MySQL and MariaDB spell the statements on our own tables.

use crate::sql::dialect::{Dialect, OwnType};

/// Which of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// MySQL.
    MySql,
    /// MariaDB.
    MariaDb,
}

impl Flavour {
    /// The dialect of this server.
    pub fn dialect(self) -> &'static MySqlDialect {
        match self {
            Flavour::MySql => &MySqlDialect(Flavour::MySql),
            Flavour::MariaDb => &MySqlDialect(Flavour::MariaDb),
        }
    }
}

/// The spelling of one [`Flavour`].
#[derive(Clone, Copy, Debug)]
pub struct MySqlDialect(pub Flavour);

impl Dialect for MySqlDialect {
    fn name(&self) -> &'static str {
        match self.0 {
            Flavour::MySql => "mysql",
            Flavour::MariaDb => "mariadb",
        }
    }

    fn quote_character(&self) -> char {
        '`'
    }

    fn own_type(&self, kind: OwnType) -> &'static str {
        match kind {
            // 250, not 255: three names and three numbers make the key of tidelock_held, and InnoDB's longest key has 3072 bytes.
            // Kafka's longest topic name has 249 characters.
            OwnType::Name => "VARCHAR(250)",
            OwnType::Text => "LONGTEXT",
            OwnType::Int32 => "INT",
            OwnType::Int64 => "BIGINT",
            OwnType::Bytes => "LONGBLOB",
        }
    }

    fn table_options(&self) -> &'static str {
        " ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    }

    fn placeholder(&self, _number: usize, _kind: OwnType) -> String {
        "?".to_owned()
    }

    fn now_ms(&self) -> &'static str {
        "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)"
    }

    fn backend_id(&self) -> &'static str {
        "CONNECTION_ID()"
    }

    fn for_update(&self) -> &'static str {
        " FOR UPDATE"
    }

    fn is_lock_timeout(&self, code: &str) -> bool {
        code.starts_with("1205 ")
    }

    fn index_if_not_exists(&self) -> bool {
        self.0 == Flavour::MariaDb
    }
}
