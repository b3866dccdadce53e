//! `tidelock init`: a first configuration file, commented. It is also the example of the reference page, and a test reads it.

use std::io::Write;
use std::path::Path;

use crate::exit::{Failure, Result};

/// The file that `init` writes.
pub(crate) const EXAMPLE: &str = r#"# Tidelock keeps databases in step. Every key: docs/configuration.md. Try: tidelock check

# Name of this set of links. Part of consumer groups, ledger rows and loop-guard tags; keep it.
pipeline: shop

kafka:
  brokers: "${KAFKA_BROKERS:-localhost:9092}"
  registry: "${SCHEMA_REGISTRY_URL:-http://localhost:8081}"

# The databases. `topics` says where Debezium publishes a table's changes: <topic.prefix>.<database or schema>.{table}
sites:
  legacy:
    kind: mysql
    url: "${LEGACY_URL:-mysql://tidelock@localhost:3306/shop}"
    password: "${LEGACY_PASSWORD:-tidelock}" # or file:/run/secrets/legacy
    topics: "legacy.shop.{table}"
  revamp:
    kind: postgres
    url: "${REVAMP_URL:-postgres://tidelock@localhost:5432/shop}"
    password: "${REVAMP_PASSWORD:-tidelock}"
    topics: "revamp.public.{table}"

links:
  # Both ways; or `from: legacy` and `to: revamp` for one way.
  - between: [legacy, revamp]
    entities:
      users:
        # Columns of equal names pair by themselves; only the others are named, left: right.
        tables: { legacy: legacy_users, revamp: users }
        fields:
          username: user_name
          status: { to: account_status, values: { active: Active, inactive: Inactive, suspended: Suspended } }
        exclude: [internal_notes]
      products: {}
      orders: {}

# Optional, shown with their defaults.
tuning:
  lanes: 1 # threads per direction in this process
  batch_rows: 1000
  memory_mb: 128
http:
  address: 127.0.0.1:9080 # /metrics /live /ready /api/status
log:
  format: text # or json
  level: info
"#;

/// Writes the file, never over one that is there.
pub(crate) fn run(path: &Path, print: bool) -> Result<()> {
    if print {
        print!("{EXAMPLE}");
        return Ok(());
    }
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(EXAMPLE.as_bytes()));
    match written {
        Ok(()) => {
            println!(
                "wrote {}; set addresses, topics and entities, which are made up, then run `tidelock check`",
                path.display()
            );
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(Failure::Run(format!(
            "{} is there already and is left alone; `--print` shows the example",
            path.display()
        ))),
        Err(error) => Err(Failure::Run(format!("cannot write {}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_valid_configuration() {
        let loaded = crate::config::parse(EXAMPLE, &[]).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(loaded.config.links.len(), 1);
        assert_eq!(loaded.warnings.len(), 1, "only the blind two-way link is worth a warning: {:?}", loaded.warnings);
    }

    #[test]
    fn a_file_that_is_there_is_left_alone() {
        let path = std::env::temp_dir().join(format!("tidelock-init-{}.yaml", std::process::id()));
        let _ = std::fs::remove_file(&path);
        run(&path, false).unwrap();
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(run(&path, false), Err(Failure::Run(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        std::fs::remove_file(&path).unwrap();
    }
}
