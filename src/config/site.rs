//! Section `sites`: the stores that take part.

use super::problem::Problems;
use super::secret::{Address, Secret};
use super::setting::{choice, empty_section, section};

section! {
    /// One store.
    Site {
        /// What it is. `memory` and `blackhole` are targets for trials: the first keeps rows in this process, the second counts and forgets.
        kind: SiteKind;
        /// Connection address with user and database, such as `mysql://user@host:3306/shop`. Mandatory for databases.
        url: Option<Address> = None;
        /// Password, instead of one inside `url`.
        password: Option<Secret> = None;
        /// Name of the topic of a table: `{table}` stands for the table's name. Mandatory where the site is the source of a direction.
        topics: Option<String> = None;
        /// How the engine's own writes are told from local changes in this site's log. `auto` takes what the server's kind, version
        /// and privileges prove to work; `none` only on one-way links.
        guard: GuardChoice = GuardChoice::Auto;
        /// How values of this site's topics are encoded. `auto` looks at each record.
        format: Format = Format::Auto;
        /// What the records of this site's topics are, and so what a record without value means. `auto` tells by schema or members, and
        /// by what was seen on the topic before.
        records: Records = Records::Auto;
        /// How JSON without schema is read.
        json: Json = Json::default();
        /// MariaDB: the session `server_id` that marks writes which came from this site. Without it one is computed from the names.
        server_id: Option<u32> = None;
    }
}

choice! {
    /// Kinds of stores.
    SiteKind {
        /// MySQL 5.7 and later.
        Mysql = "mysql",
        /// MariaDB.
        Mariadb = "mariadb",
        /// PostgreSQL.
        Postgres = "postgres",
        /// SQLite.
        Sqlite = "sqlite",
        /// Redis.
        Redis = "redis",
        /// MongoDB.
        Mongodb = "mongodb",
        /// Kafka topics.
        Kafka = "kafka",
        /// Rows in this process, for trials.
        Memory = "memory",
        /// Counts and forgets, for trials.
        Blackhole = "blackhole",
    }
}

choice! {
    /// Loop guards.
    GuardChoice {
        /// The strongest that is proven to work.
        Auto = "auto",
        /// MySQL with GTIDs.
        Gtid = "gtid",
        /// MariaDB.
        ServerId = "server_id",
        /// PostgreSQL.
        ReplicationOrigin = "replication_origin",
        /// Tidelock's own trigger capture.
        Capture = "capture",
        /// No guard: only where nothing comes back.
        None = "none",
    }
}

choice! {
    /// Encodings of record values.
    Format {
        /// By the record's own bytes.
        Auto = "auto",
        /// Avro in the registry's framing.
        Avro = "avro",
        /// JSON without schema.
        Json = "json",
        /// JSON with the schema in every record, `{"schema": …, "payload": …}`.
        JsonSchema = "json_schema",
    }
}

choice! {
    /// What records are.
    Records {
        /// Each tells it itself; before any was seen, one without value passes for a tombstone unless its key's schema is not Debezium's.
        Auto = "auto",
        /// Debezium's envelopes: a record without value is a tombstone and only moves progress.
        Envelopes = "envelopes",
        /// Plain rows: flattened by `ExtractNewRecordState`, or an application's own. A record without value deletes the row of its key.
        Rows = "rows",
    }
}

section! {
    /// What JSON without schema cannot say itself. Numbers are always read as they are.
    Json {
        /// Where the types of columns come from: `table`, the source's table as it is at start (a column that a record lacks is left
        /// alone; `exclude` columns that the topic never has), or `values`, learned from what arrives.
        columns: JsonColumns = JsonColumns::Table;
        /// What text in a decimal column is: Connect's `base64`, or the number as `text` (`decimal.handling.mode=string`).
        decimals: JsonDecimals = JsonDecimals::Base64;
        /// Unit of numbers in timestamp columns. `by_precision`: milliseconds up to three digits, else microseconds, as Debezium's
        /// `adaptive`. Text is read as ISO 8601.
        timestamps: JsonUnit = JsonUnit::ByPrecision;
        /// Unit of numbers in time columns. Default: `microseconds` for MySQL and MariaDB, `by_precision` for others.
        times: Option<JsonUnit> = None;
    }
}

empty_section!(Json);

choice! {
    /// Where types come from.
    JsonColumns {
        /// The source's table.
        Table = "table",
        /// The values.
        Values = "values",
    }
}

choice! {
    /// Text in decimal columns.
    JsonDecimals {
        /// The unscaled number's bytes.
        Base64 = "base64",
        /// The number.
        Text = "text",
    }
}

choice! {
    /// Units of times.
    JsonUnit {
        /// By the digits of the column.
        ByPrecision = "by_precision",
        /// Milliseconds.
        Milliseconds = "milliseconds",
        /// Microseconds.
        Microseconds = "microseconds",
        /// Nanoseconds.
        Nanoseconds = "nanoseconds",
    }
}

impl SiteKind {
    /// True for kinds with SQL tables.
    pub(crate) fn is_sql(self) -> bool {
        matches!(self, SiteKind::Mysql | SiteKind::Mariadb | SiteKind::Postgres | SiteKind::Sqlite)
    }

    fn schemes(self) -> &'static [&'static str] {
        match self {
            SiteKind::Mysql => &["mysql"],
            SiteKind::Mariadb => &["mariadb", "mysql"],
            SiteKind::Postgres => &["postgres", "postgresql"],
            SiteKind::Sqlite => &["sqlite"],
            _ => &[],
        }
    }

    /// The cargo feature of the binary that this kind needs, and whether it is there.
    fn feature(self) -> (&'static str, bool) {
        match self {
            SiteKind::Mysql | SiteKind::Mariadb => ("mysql", cfg!(feature = "mysql")),
            SiteKind::Postgres => ("postgres", cfg!(feature = "postgres")),
            SiteKind::Sqlite => ("sqlite", cfg!(feature = "sqlite")),
            _ => ("", true),
        }
    }

    /// Guards that this kind can have, strongest first.
    pub(crate) fn guards(self) -> &'static [GuardChoice] {
        match self {
            SiteKind::Mysql => &[GuardChoice::Gtid],
            SiteKind::Mariadb => &[GuardChoice::ServerId],
            SiteKind::Postgres => &[GuardChoice::ReplicationOrigin],
            SiteKind::Sqlite => &[GuardChoice::Capture],
            _ => &[],
        }
    }
}

impl Site {
    /// The address with the password of its own key, if there is one. Only for handing it to a client.
    pub(crate) fn address(&self) -> Option<Address> {
        let url = self.url.as_ref()?;
        Some(self.password.as_ref().map_or_else(|| url.clone(), |password| url.with_password(password)))
    }

    /// Name of the topic of a table. The schema of a qualified name is left to the template.
    pub(crate) fn topic_of(&self, table: &str) -> Option<String> {
        let bare = table.rsplit_once('.').map_or(table, |(_, bare)| bare);
        self.topics.as_ref().map(|template| template.replace("{table}", bare))
    }

    /// Checks what types cannot say. `is_source`: some direction reads this site.
    pub(super) fn validate(&self, name: &str, is_source: bool, problems: &mut Problems) {
        let path = |key: &str| format!("sites.{name}.{key}");
        if name.is_empty()
            || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-')
        {
            problems.add(
                format!("sites.{name}"),
                "a site's name has letters, digits, `_` and `-` only; it is part of tags and metrics",
            );
        }
        let later = matches!(self.kind, SiteKind::Redis | SiteKind::Mongodb | SiteKind::Kafka);
        if later {
            let now = "mysql, mariadb, postgres, sqlite, memory, blackhole";
            problems
                .add(path("kind"), format!("`{}` is not in this version of Tidelock, which knows {now}", self.kind));
            return;
        }
        if let (feature, false) = self.kind.feature() {
            problems.add(path("kind"), format!("this binary was built without the feature `{feature}`"));
        }
        match &self.url {
            None if self.kind.is_sql() => {
                problems
                    .add(path("url"), format!("missing; a site of kind {} needs its connection address", self.kind));
            }
            Some(url) if self.kind.is_sql() && !self.kind.schemes().contains(&url.scheme()) => {
                let wanted = self.kind.schemes()[0];
                problems.add(
                    path("url"),
                    format!("begins with `{}:`, a site of kind {} needs `{wanted}:`", url.scheme(), self.kind),
                );
            }
            Some(_) if !self.kind.is_sql() => {
                problems.add(path("url"), format!("a site of kind {} has no address", self.kind))
            }
            _ => {}
        }
        match &self.topics {
            None if is_source => {
                problems.add(
                    path("topics"),
                    "missing; a direction reads this site, so its topics must be named, as in `prefix.schema.{table}`",
                );
            }
            Some(template) if !template.contains("{table}") => {
                problems.add(path("topics"), "has no `{table}` in it; every table has a topic of its own");
            }
            _ => {}
        }
        let allowed = self.kind.guards();
        if !matches!(self.guard, GuardChoice::Auto | GuardChoice::None) && !allowed.contains(&self.guard) {
            let words: Vec<_> = ["auto", "none"].into_iter().chain(allowed.iter().map(|guard| guard.word())).collect();
            problems.add(
                path("guard"),
                format!("`{}` does not exist on {}; allowed: {}", self.guard, self.kind, words.join(", ")),
            );
        }
        if self.server_id.is_some() && self.kind == SiteKind::Blackhole {
            problems.add(path("server_id"), "a blackhole marks nothing");
        }
        if self.server_id == Some(0) {
            problems.add(path("server_id"), "0 marks snapshots; choose another number");
        }
    }
}
