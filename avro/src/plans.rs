//! Compiled plans by schema id, one table per decoder: looking one up takes no lock and no hash.

use topology::data::Layouts;
use topology::raw::DecodeError;
use topology::{Error, Stage};

use crate::cache::SchemaCache;
use crate::plan::{KeyPlan, ValuePlan};
use crate::schema;

/// Plans sorted by schema id. A schema that cannot be compiled keeps its reason, so that its records fail fast.
#[derive(Debug)]
pub(crate) struct Plans<P> {
    by_id: Vec<(u32, Result<P, String>)>,
}

impl<P> Default for Plans<P> {
    fn default() -> Plans<P> {
        Plans { by_id: Vec::new() }
    }
}

/// A plan that is compiled from a schema.
pub(crate) trait Compile: Sized {
    fn compile_schema(schema: schema::Schema, layouts: &mut Layouts) -> Result<Self, String>;
}

impl Compile for ValuePlan {
    fn compile_schema(schema: schema::Schema, layouts: &mut Layouts) -> Result<ValuePlan, String> {
        ValuePlan::compile(schema, layouts)
    }
}

impl Compile for KeyPlan {
    fn compile_schema(schema: schema::Schema, layouts: &mut Layouts) -> Result<KeyPlan, String> {
        KeyPlan::compile(schema, layouts)
    }
}

impl<P: Compile> Plans<P> {
    /// Compiles the plan of `id` unless it is there.
    pub(crate) fn ensure(&mut self, id: u32, cache: &SchemaCache, layouts: &mut Layouts) -> Result<(), DecodeError> {
        let Err(at) = self.by_id.binary_search_by_key(&id, |(id, _)| *id) else { return Ok(()) };
        let Some(text) = cache.get(&id).map(|entry| entry.value().clone()) else {
            return Err(DecodeError::SchemaNeeded(id));
        };
        let plan =
            schema::avro::parse(&text.text, &text.references).and_then(|schema| P::compile_schema(schema, layouts));
        self.by_id.insert(at, (id, plan));
        Ok(())
    }

    /// The plan of an id for which [`Plans::ensure`] returned.
    pub(crate) fn get(&self, id: u32, place: &str) -> Result<&P, Error> {
        let found = self.by_id.binary_search_by_key(&id, |(id, _)| *id).ok().and_then(|at| self.by_id.get(at));
        match found {
            Some((_, Ok(plan))) => Ok(plan),
            Some((_, Err(reason))) => Err(unusable(id, place, reason)),
            None => Err(unusable(id, place, "it was not compiled")),
        }
    }
}

fn unusable(id: u32, place: &str, reason: &str) -> Error {
    Error::data(Stage::Decode, "cannot use schema", format!("{place}: schema id {id}: {reason}"))
}
