//! Section `kafka`: brokers, registry, security, and raw options of librdkafka that do not clash with what Tidelock sets itself.

use super::problem::Problems;
use super::secret::Secret;
use super::setting::{Named, choice, empty_section, section};

section! {
    /// The brokers and the schema registry.
    Kafka {
        /// Broker addresses, `host:port`, one or several.
        brokers: Vec<String>;
        /// Addresses of a Confluent-compatible schema registry; tried in order. Needed where records are Avro.
        registry: Vec<String> = Vec::new();
        /// User of the registry (basic authentication).
        registry_user: Option<String> = None;
        /// Password of the registry.
        registry_password: Option<Secret> = None;
        /// Token of the registry (bearer authentication), instead of user and password.
        registry_token: Option<Secret> = None;
        /// File with the certificate of an authority to trust for the registry, besides the system's (PEM).
        registry_ca_file: Option<String> = None;
        /// File with our certificate and its key, for registries that ask for one (PEM).
        registry_identity_file: Option<String> = None;
        /// Address of Kafka Connect's REST interface. If it is set, workers watch the connectors: one that does not run is a metric and
        /// makes `/ready` answer 503.
        connect: Option<String> = None;
        /// Names of the connectors to watch. Without it: all.
        connectors: Vec<String> = Vec::new();
        /// How to talk to the brokers.
        security: Security = Security::Plaintext;
        /// Login, for `security: sasl_plaintext | sasl_tls`.
        sasl: Option<Sasl> = None;
        /// Certificates, for `security: tls | sasl_tls`.
        tls: Tls = Tls::default();
        /// Consumer groups are named `<group_prefix>.<pipeline>.<direction>`. Changing it makes other groups, which the ledger refuses
        /// while the old ones are alive.
        group_prefix: String = "tidelock".into();
        /// Topic for dead letters. A record that can never be applied is kept in the target's table `tidelock_held`; with a topic named here
        /// it is published there too, exactly once for readers with `isolation.level=read_committed`: key, value and headers as they came,
        /// with Connect's `__connect.errors.*` headers and `tidelock.*`. The topic is created if it is not there. The consumer groups'
        /// offsets are then committed in the same transactions, every few seconds.
        dead_letters: Option<String> = None;
        /// Raw librdkafka options, `name: value`. An option that Tidelock sets itself is refused.
        options: Named<String> = Named::default();
    }
}

choice! {
    /// Transport security of the broker connections.
    Security {
        /// None.
        Plaintext = "plaintext",
        /// TLS.
        Tls = "tls",
        /// Login without TLS.
        SaslPlaintext = "sasl_plaintext",
        /// Login over TLS.
        SaslTls = "sasl_tls",
    }
}

section! {
    /// Login at the brokers.
    Sasl {
        /// How to log in.
        mechanism: Mechanism = Mechanism::ScramSha512;
        /// User.
        username: String;
        /// Password.
        password: Secret;
    }
}

choice! {
    /// SASL mechanism.
    Mechanism {
        /// User and password in the clear; only over TLS.
        Plain = "PLAIN",
        /// Challenge and response.
        ScramSha256 = "SCRAM-SHA-256",
        /// Challenge and response.
        ScramSha512 = "SCRAM-SHA-512",
    }
}

section! {
    /// Certificates for the broker connections.
    Tls {
        /// File with the certificates of the authorities to trust. Without it: the system's.
        ca_file: Option<String> = None;
        /// File with our certificate, for mutual TLS.
        certificate_file: Option<String> = None;
        /// File with our key.
        key_file: Option<String> = None;
        /// Password of that key.
        key_password: Option<Secret> = None;
        /// Whether the broker's name must be in its certificate.
        verify_hostname: bool = true;
    }
}

empty_section!(Tls);

/// librdkafka options that Tidelock sets, with the reason or the key to use instead.
const TAKEN: &[(&str, &str)] = &[
    ("bootstrap.servers", "use kafka.brokers"),
    ("metadata.broker.list", "use kafka.brokers"),
    ("group.id", "use kafka.group_prefix"),
    ("group.protocol", "the lanes rely on the classic protocol"),
    ("enable.auto.commit", "progress lives in the target's ledger"),
    ("auto.commit.interval.ms", "progress lives in the target's ledger"),
    ("enable.auto.offset.store", "progress lives in the target's ledger"),
    ("auto.offset.reset", "use tuning.start; Tidelock never jumps over records by itself"),
    ("isolation.level", "aborted records must not be read"),
    ("partition.assignment.strategy", "the lanes rely on cooperative-sticky"),
    ("enable.partition.eof", "set by the lanes"),
    ("security.protocol", "use kafka.security"),
    ("sasl.mechanism", "use kafka.sasl.mechanism"),
    ("sasl.mechanisms", "use kafka.sasl.mechanism"),
    ("sasl.username", "use kafka.sasl.username"),
    ("sasl.password", "use kafka.sasl.password"),
    ("ssl.ca.location", "use kafka.tls.ca_file"),
    ("ssl.certificate.location", "use kafka.tls.certificate_file"),
    ("ssl.key.location", "use kafka.tls.key_file"),
    ("ssl.key.password", "use kafka.tls.key_password"),
    ("ssl.endpoint.identification.algorithm", "use kafka.tls.verify_hostname"),
    ("transactional.id", "set by the lanes"),
    ("client.id", "set by the lanes"),
];

impl Kafka {
    /// The broker list as librdkafka wants it.
    pub(crate) fn bootstrap(&self) -> String {
        self.brokers.join(",")
    }

    /// Typed security keys and raw options as librdkafka names them, in that order. Holds secrets.
    pub(crate) fn client_options(&self) -> Vec<(String, String)> {
        let mut options = Vec::new();
        let mut set = |key: &str, value: &str| options.push((key.to_owned(), value.to_owned()));
        if self.security != Security::Plaintext {
            let protocol = match self.security {
                Security::Plaintext => "plaintext",
                Security::Tls => "ssl",
                Security::SaslPlaintext => "sasl_plaintext",
                Security::SaslTls => "sasl_ssl",
            };
            set("security.protocol", protocol);
        }
        if let Some(sasl) = &self.sasl {
            set("sasl.mechanism", sasl.mechanism.word());
            set("sasl.username", &sasl.username);
            set("sasl.password", sasl.password.expose());
        }
        for (key, value) in [
            ("ssl.ca.location", &self.tls.ca_file),
            ("ssl.certificate.location", &self.tls.certificate_file),
            ("ssl.key.location", &self.tls.key_file),
        ] {
            if let Some(value) = value {
                set(key, value);
            }
        }
        if let Some(password) = &self.tls.key_password {
            set("ssl.key.password", password.expose());
        }
        if !self.tls.verify_hostname {
            set("ssl.endpoint.identification.algorithm", "none");
        }
        for (key, value) in self.options.iter() {
            set(key, value);
        }
        options
    }

    /// Checks what types cannot say.
    pub(super) fn validate(&self, problems: &mut Problems) {
        if self.brokers.is_empty() {
            problems.add("kafka.brokers", "is empty; give at least one `host:port`");
        }
        for (at, broker) in self.brokers.iter().enumerate() {
            let port = broker.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
            if port.is_none_or(|port| port.parse::<u16>().is_err()) {
                problems.add(format!("kafka.brokers[{at}]"), format!("`{broker}` is no `host:port`"));
            }
        }
        for (at, url) in self.registry.iter().enumerate() {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                problems.add(format!("kafka.registry[{at}]"), "must begin with http:// or https://");
            }
            if url.contains('@') {
                let advice = "no user or password in the address; use kafka.registry_user and kafka.registry_password";
                problems.add(format!("kafka.registry[{at}]"), advice);
            }
        }
        if self.registry_user.is_some() != self.registry_password.is_some() {
            problems.add("kafka.registry_user", "registry_user and registry_password go together");
        }
        if self.registry_token.is_some() && self.registry_user.is_some() {
            problems.add("kafka.registry_token", "give either a token or a user, not both");
        }
        let with_login = matches!(self.security, Security::SaslPlaintext | Security::SaslTls);
        if with_login && self.sasl.is_none() {
            problems.add("kafka.sasl", format!("missing; security: {} needs it", self.security));
        }
        if !with_login && self.sasl.is_some() {
            problems
                .add("kafka.security", "has no login, but kafka.sasl is given; set it to sasl_plaintext or sasl_tls");
        }
        if self.tls.certificate_file.is_some() != self.tls.key_file.is_some() {
            problems.add("kafka.tls.certificate_file", "certificate_file and key_file go together");
        }
        if !cfg!(feature = "tls") && matches!(self.security, Security::Tls | Security::SaslTls) {
            problems.add("kafka.security", "this binary was built without the feature `tls`");
        }
        for name in self.options.names() {
            if let Some((_, advice)) = TAKEN.iter().find(|(taken, _)| taken.eq_ignore_ascii_case(name)) {
                problems.add(format!("kafka.options.{name}"), format!("is set by Tidelock; {advice}"));
            }
        }
    }
}
