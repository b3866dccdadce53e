//! Addresses of the servers that `services/stack` runs, from the environment it prints. A test that needs a
//! server and is not told where it is fails: a skipped test would look like a passed one.

/// Value of one `TIDELOCK_TEST_…` variable.
///
/// # Panics
/// When it is not set: the test cannot do what its name says.
pub fn address(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run `services/stack up` and `eval \"$(services/stack env)\"`")
    })
}

/// Kafka's bootstrap address, `host:port`.
pub fn kafka() -> String {
    address("TIDELOCK_TEST_KAFKA")
}

/// Base address of the schema registry's Confluent-compatible interface.
pub fn registry() -> String {
    address("TIDELOCK_TEST_REGISTRY")
}

/// Base address of Kafka Connect's REST interface.
pub fn connect() -> String {
    address("TIDELOCK_TEST_CONNECT")
}

/// A database server of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// MySQL 9.
    Mysql,
    /// The second MySQL 9, so that one side of a link can be stopped.
    Mysql2,
    /// MariaDB 10.11.
    Mariadb,
    /// PostgreSQL 15.
    Postgres,
    /// PostgreSQL 18.
    Postgres18,
    /// A MySQL 9 of an instance of its own ([`spare_port_base`]), for a test that stops it: the others are used by other tests.
    Spare,
}

/// `TIDELOCK_PORT_BASE` of the instance in which [`Server::Spare`] is `mysql2`: beside that of the other servers, wherever they are.
///
/// # Panics
/// When the environment does not say where they are.
pub fn spare_port_base() -> u16 {
    address("TIDELOCK_PORT_BASE").parse::<u16>().expect("a port") + SPARE_DISTANCE
}

/// More than the highest part's port above its base; from the default base it stays below the ports that systems give to clients.
const SPARE_DISTANCE: u16 = 2500;

/// Whose rights a connection has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// May do everything; creates databases.
    Admin,
    /// `tidelock`: the least rights that the engine's writer needs.
    Writer,
    /// `debezium`: the least rights that a connector needs.
    Connector,
}

impl Server {
    /// All of the stack that the environment names.
    pub const ALL: [Server; 5] = [Server::Mysql, Server::Mysql2, Server::Mariadb, Server::Postgres, Server::Postgres18];

    /// True for those that speak PostgreSQL's protocol.
    pub fn is_postgres(self) -> bool {
        matches!(self, Server::Postgres | Server::Postgres18)
    }

    /// Name of the part in `services/stack`.
    pub fn part(self) -> &'static str {
        match self {
            Server::Mysql => "mysql",
            Server::Mysql2 => "mysql2",
            Server::Mariadb => "mariadb",
            Server::Postgres => "postgres",
            Server::Postgres18 => "postgres18",
            Server::Spare => "mysql2",
        }
    }

    /// Address of `database` on this server for `role`.
    pub fn url(self, role: Role, database: &str) -> String {
        if self == Server::Spare {
            let user = match role {
                Role::Admin => "root",
                Role::Writer => "tidelock:tidelock",
                Role::Connector => "debezium:debezium",
            };
            return format!("mysql://{user}@127.0.0.1:{}/{database}", spare_port_base() + 307);
        }
        let suffix = match role {
            Role::Admin => "",
            Role::Writer => "_WRITER",
            Role::Connector => "_CONNECTOR",
        };
        let server = address(&format!("TIDELOCK_TEST_{}{suffix}", self.part().to_uppercase()));
        format!("{server}/{database}")
    }
}
