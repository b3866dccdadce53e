//! Turns a framed Avro record into what Connect's JSON converter would have written: an oracle for the JSON reader.

use std::collections::HashMap;

use apache_avro::types::Value as Avro;
use base64::Engine as _;
use serde_json::{Map, Value as Json, json};
use tidelock_avro::SchemaCache;

/// Schema and payload of a framed record.
pub fn document(cache: &SchemaCache, framed: &[u8]) -> (Json, Json) {
    let id = u32::from_be_bytes(framed[1..5].try_into().unwrap());
    let mut schema: Json = serde_json::from_str(&cache.get(&id).unwrap().text).unwrap();
    let connect = connect_schema(&schema, &mut HashMap::new());
    strip_logical(&mut schema);
    let parsed = apache_avro::Schema::parse_str(&schema.to_string()).unwrap();
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(&parsed).build().unwrap();
    (connect, payload(&reader.read_value(&mut &framed[5..]).unwrap()))
}

fn strip_logical(schema: &mut Json) {
    match schema {
        Json::Object(object) => {
            object.remove("logicalType");
            object.values_mut().for_each(strip_logical);
        }
        Json::Array(items) => items.iter_mut().for_each(strip_logical),
        _ => {}
    }
}

fn connect_schema(avro: &Json, named: &mut HashMap<String, Json>) -> Json {
    match avro {
        Json::String(name) => match name.as_str() {
            "boolean" | "string" | "bytes" | "float" | "double" => json!({"type": name}),
            "int" => json!({"type": "int32"}),
            "long" => json!({"type": "int64"}),
            name => named[name].clone(),
        },
        Json::Array(branches) => {
            let present = branches.iter().find(|branch| **branch != json!("null")).unwrap();
            let mut schema = connect_schema(present, named);
            schema["optional"] = json!(true);
            schema
        }
        Json::Object(object) => {
            let mut schema = match object["type"].as_str().unwrap() {
                "record" => {
                    let fields: Vec<Json> = object["fields"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|field| {
                            let mut schema = connect_schema(&field["type"], named);
                            schema["field"] = field["name"].clone();
                            schema
                        })
                        .collect();
                    json!({"type": "struct", "fields": fields})
                }
                "array" => json!({"type": "array", "items": connect_schema(&object["items"], named)}),
                name => connect_schema(&json!(name), named),
            };
            if let Some(narrow) = object.get("connect.type") {
                schema["type"] = narrow.clone();
            }
            if let Some(name) = object.get("connect.name") {
                schema["name"] = name.clone();
            }
            if let Some(parameters) = object.get("connect.parameters") {
                schema["parameters"] = parameters.clone();
            }
            if let Some(name) = object.get("name") {
                named.insert(name.as_str().unwrap().to_owned(), schema.clone());
            }
            schema
        }
        _ => panic!("not a schema"),
    }
}

fn payload(value: &Avro) -> Json {
    match value {
        Avro::Null => Json::Null,
        Avro::Boolean(value) => json!(value),
        Avro::Int(value) => json!(value),
        Avro::Long(value) => json!(value),
        Avro::Float(value) => json!(value),
        Avro::Double(value) => json!(value),
        Avro::Bytes(value) => json!(base64::engine::general_purpose::STANDARD.encode(value)),
        Avro::String(value) => json!(value),
        Avro::Union(_, value) => payload(value),
        Avro::Array(values) => values.iter().map(payload).collect(),
        Avro::Record(fields) => {
            Json::Object(fields.iter().map(|(name, value)| (name.clone(), payload(value))).collect::<Map<_, _>>())
        }
        other => panic!("not expected: {other:?}"),
    }
}
