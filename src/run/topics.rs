//! What a decoder is told about a source's topics: encodings, what their records are, and the types that JSON without schema lacks.

use avro::{JsonOptions, TopicOptions, TopicShape};
use topology::data::Layout;

use super::plan::PlannedEntity;
use crate::config::{Format, JsonColumns, JsonDecimals, JsonUnit, Records, Site, SiteKind};

/// The options of an entity's topic.
pub(super) fn options(site: &Site, entity: &PlannedEntity) -> TopicOptions {
    let format = match site.format {
        Format::Auto => avro::Format::Auto,
        Format::Avro => avro::Format::Avro,
        Format::Json => avro::Format::Json,
        Format::JsonSchema => avro::Format::JsonSchema,
    };
    TopicOptions {
        name: entity.topic.clone(),
        key_format: format,
        value_format: format,
        shape: match site.records {
            Records::Auto => TopicShape::Auto,
            Records::Envelopes => TopicShape::Envelope,
            Records::Rows => TopicShape::Rows,
        },
        columns: columns(site, &entity.source),
        json: json(site),
    }
}

fn columns(site: &Site, source: &Layout) -> Option<Layout> {
    match site.json.columns {
        JsonColumns::Table => Some(source.clone()),
        JsonColumns::Values => None,
    }
}

fn json(site: &Site) -> JsonOptions {
    let times = match (site.json.times, site.kind) {
        (Some(times), _) => times,
        // Debezium's defaults and ours: `adaptive_time_microseconds` there, `adaptive` elsewhere.
        (None, SiteKind::Mysql | SiteKind::Mariadb) => JsonUnit::Microseconds,
        (None, _) => JsonUnit::ByPrecision,
    };
    JsonOptions {
        decimals: match site.json.decimals {
            JsonDecimals::Base64 => avro::JsonDecimals::Base64,
            JsonDecimals::Text => avro::JsonDecimals::Text,
        },
        timestamps: unit(site.json.timestamps),
        times: unit(times),
    }
}

fn unit(unit: JsonUnit) -> avro::JsonUnit {
    match unit {
        JsonUnit::ByPrecision => avro::JsonUnit::ByPrecision,
        JsonUnit::Milliseconds => avro::JsonUnit::Milliseconds,
        JsonUnit::Microseconds => avro::JsonUnit::Microseconds,
        JsonUnit::Nanoseconds => avro::JsonUnit::Nanoseconds,
    }
}

#[cfg(test)]
mod tests {
    use topology::data::{Column, Kind};

    use super::*;

    fn site(yaml: &str) -> Site {
        serde_yaml_ng::from_str(yaml).expect("a site")
    }

    #[test]
    fn json_takes_its_types_from_the_table_unless_told_to_learn_them() {
        let source = Layout { columns: vec![Column { name: "id".into(), kind: Kind::Year, nullable: false }] };
        assert_eq!(columns(&site("kind: mysql"), &source), Some(source.clone()));
        assert_eq!(columns(&site("{ kind: mysql, json: { columns: values } }"), &source), None);
    }

    #[test]
    fn times_have_the_unit_of_the_kinds_connector_unless_told_otherwise() {
        assert_eq!(json(&site("kind: mariadb")).times, avro::JsonUnit::Microseconds);
        assert_eq!(json(&site("kind: postgres")).times, avro::JsonUnit::ByPrecision);
        let told =
            json(&site("{ kind: mysql, json: { times: nanoseconds, timestamps: milliseconds, decimals: text } }"));
        assert_eq!((told.times, told.timestamps), (avro::JsonUnit::Nanoseconds, avro::JsonUnit::Milliseconds));
        assert_eq!(told.decimals, avro::JsonDecimals::Text);
    }
}
