//! What the brokers and the registry say: topics, partitions, compaction.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use topology::batch::TruncateMode;

use super::report::Report;
use crate::config::{Config, Records};
use crate::directions::Direction;
use crate::exit::with_causes;

const PATIENCE: Duration = Duration::from_secs(10);

/// Adds findings about Kafka.
pub(super) async fn check(config: &Config, directions: &[Direction], report: &mut Report) {
    report.section(format!("kafka {}", config.kafka.bootstrap()));
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", config.kafka.bootstrap());
    for (key, value) in config.kafka.client_options() {
        client.set(key, value);
    }
    let admin: AdminClient<DefaultClientContext> = match client.create() {
        Ok(admin) => admin,
        Err(error) => return report.error(format!("cannot make a Kafka client: {}", with_causes(&error))),
    };
    let fetched = tokio::task::spawn_blocking(move || {
        let metadata = admin.inner().fetch_metadata(None, PATIENCE);
        (admin, metadata)
    });
    let Ok((admin, metadata)) = fetched.await else { return };
    // Per topic the replicas of each partition.
    let (brokers, partitions): (usize, BTreeMap<String, Vec<usize>>) = match metadata {
        Ok(metadata) => {
            let topics = metadata.topics().iter();
            let topics = topics.map(|topic| {
                (
                    topic.name().to_owned(),
                    topic.partitions().iter().map(|partition| partition.replicas().len()).collect(),
                )
            });
            (metadata.brokers().len(), topics.collect())
        }
        Err(error) => return report.error(format!("cannot reach the brokers: {}", with_causes(&error))),
    };
    let (mut present, mut envelopes) = (Vec::new(), Vec::new());
    for direction in directions {
        for entity in &direction.entities {
            let topic = &entity.topic;
            let replicas = partitions.get(topic).map_or(&[][..], Vec::as_slice);
            match replicas.len() {
                0 => report.warning(format!(
                    "{}: topic {topic} does not exist yet; the connector makes it with the first row",
                    entity.path
                )),
                count => {
                    if !present.contains(topic) {
                        report.line(format!("{topic}: {count} partitions"));
                        if is_lost_with_one_broker(brokers, replicas) {
                            report.warning(format!(
                                "topic {topic} has partitions with one replica: changes that are not read yet are lost with their broker; \
                                 give it more (at the connector: topic.creation.default.replication.factor, before the topic is made)"
                            ));
                        }
                        present.push(topic.clone());
                    }
                    let site = config.sites.get(&direction.source);
                    if site.is_none_or(|site| site.records != Records::Rows) && !envelopes.contains(topic) {
                        envelopes.push(topic.clone());
                    }
                    if count > 1 && entity.declaration.truncate == TruncateMode::Apply {
                        report.error(format!(
                            "{}.truncate: apply needs a topic with one partition, {topic} has {count}: a truncate has no order against other partitions",
                            entity.path
                        ));
                    }
                }
            }
        }
    }
    compaction(&admin, (&present, &envelopes), report).await;
    registry(config, report).await;
}

/// Where there is just one broker, nothing better can be had.
fn is_lost_with_one_broker(brokers: usize, replicas: &[usize]) -> bool {
    brokers > 1 && replicas.contains(&1)
}

/// Rule B6: compaction of an envelope topic takes away changes that a slow lane has not read. Of plain rows the last is enough.
async fn compaction(
    admin: &AdminClient<DefaultClientContext>,
    (topics, envelopes): (&[String], &[String]),
    report: &mut Report,
) {
    if topics.is_empty() {
        return;
    }
    let resources: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let described = match admin.describe_configs(&resources, &options).await {
        Ok(described) => described,
        Err(error) => return report.note(format!("cannot read the topics' settings: {}", with_causes(&error))),
    };
    for (topic, settings) in topics.iter().zip(described) {
        let Ok(settings) = settings else { continue };
        let value = |name: &str| settings.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default();
        let lag: u64 = value("min.compaction.lag.ms").parse().unwrap_or(0);
        if value("cleanup.policy").contains("compact") && lag < 86_400_000 && envelopes.contains(topic) {
            report.error(format!(
                "topic {topic} has cleanup.policy=compact: changes that are not read yet would vanish; set it to delete, \
                 or min.compaction.lag.ms to at least a day"
            ));
        }
        let retention: i64 = value("retention.ms").parse().unwrap_or(-1);
        if (0..86_400_000).contains(&retention) {
            report.warning(format!(
                "topic {topic} keeps records for {} minutes only; a longer outage loses changes and halts",
                retention / 60_000
            ));
        }
    }
}

#[cfg(feature = "rest")]
async fn registry(config: &Config, report: &mut Report) {
    if config.kafka.registry.is_empty() {
        return report.note("no schema registry is configured: only JSON topics can be read");
    }
    let Ok(client) = reqwest::Client::builder().timeout(PATIENCE).build() else { return };
    for url in &config.kafka.registry {
        let mut request = client.get(format!("{}/subjects", url.trim_end_matches('/')));
        if let (Some(user), Some(password)) = (&config.kafka.registry_user, &config.kafka.registry_password) {
            request = request.basic_auth(user, Some(password.expose()));
        }
        if let Some(token) = &config.kafka.registry_token {
            request = request.bearer_auth(token.expose());
        }
        match request.send().await.and_then(reqwest::Response::error_for_status) {
            Ok(_) => report.line(format!("registry {url}: answers")),
            Err(error) => report.error(format!("cannot use the schema registry at {url}: {}", with_causes(&error))),
        }
    }
}

#[cfg(not(feature = "rest"))]
async fn registry(_config: &Config, _report: &mut Report) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_are_lost_with_one_of_several_brokers_are_named() {
        assert!(is_lost_with_one_broker(3, &[3, 1, 3]));
        assert!(!is_lost_with_one_broker(3, &[3, 2, 3]));
        assert!(!is_lost_with_one_broker(1, &[1, 1]), "a trial");
        assert!(!is_lost_with_one_broker(3, &[]));
    }
}
