//! What is known of one topic's JSON: compiled schemas, declared or learned columns; and the reading of its values and keys.

use topology::data::{Arena, CellRange, Layout, LayoutId, Layouts};
use topology::raw::Ignored;

use super::document::Embedded;
use super::learn::Learned;
use super::record::{Guess, guess};
use super::row::{Context, read_key};
use super::token::{Token, Tokens};
use crate::avro::{Scratch, Settings, ValueOutcome, ValueRows};
use crate::fault::{Fault, NamedFault};
use crate::options::{Format, TopicOptions, TopicShape};
use crate::plan::{KEY_COLUMN, KeyPlan, RowPlan, ValueClass, ValuePlan, flat_role};
use crate::schema::Schema;

/// What became of a JSON value.
pub(crate) enum JsonOutcome {
    Ignored(Ignored),
    /// The payload is null: as good as a null value.
    Null,
    Rows {
        rows: ValueRows,
        layout: LayoutId,
        shape: TopicShape,
    },
}

/// Which plan a key was read with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonKey {
    /// Its own schema.
    Embedded(usize),
    /// Declared or learned columns.
    Bare(usize),
}

/// Keys without schema that have the same columns.
#[derive(Debug)]
struct BareKey {
    names: Vec<String>,
    learned: Learned,
    plan: KeyPlan,
}

/// Memory reused from record to record, and what holds for all of them.
pub(crate) struct Tools<'t> {
    pub(crate) settings: &'t Settings,
    pub(crate) scratch: &'t mut Scratch,
    pub(crate) arena: &'t mut Arena,
    pub(crate) layouts: &'t mut Layouts,
}

/// One topic.
#[derive(Debug, Default)]
pub(crate) struct JsonTopic {
    values: Embedded<ValuePlan>,
    keys: Embedded<KeyPlan>,
    declared: Option<RowPlan>,
    learned: Learned,
    learned_row: Option<RowPlan>,
    bare_keys: Vec<BareKey>,
}

fn unusable(reason: &str) -> NamedFault {
    // The reason is the library's or ours about the schema, never about the row; it goes to the log once per record at most.
    tracing::debug!(reason, "embedded schema cannot be used");
    NamedFault::from(Fault::Schema)
}

impl JsonTopic {
    /// Reads a value. `base` is where its bytes stand in the arena; `known` is what the topic's records are known to be.
    pub(crate) fn value(
        &mut self,
        bytes: &[u8],
        base: u32,
        known: TopicShape,
        options: &TopicOptions,
        mut tools: Tools<'_>,
    ) -> Result<JsonOutcome, NamedFault> {
        tools.scratch.cells.clear();
        if options.value_format != Format::Json
            && let Some(opened) = self.values.open(bytes, tools.layouts)?
        {
            let mut tokens = opened.tokens;
            let mut ahead = tokens;
            if ahead.token()? == Token::Null {
                return Ok(JsonOutcome::Null);
            }
            let plan = self.values.get(opened.plan.ok_or(Fault::MissingField)?).map_err(unusable)?;
            let base = base + opened.offset as u32;
            let (row, shape) = match &plan.class {
                ValueClass::Ignored(ignored) => return Ok(JsonOutcome::Ignored(*ignored)),
                ValueClass::Envelope(envelope) => (&envelope.row, TopicShape::Envelope),
                ValueClass::Row(flat) => (&flat.row, TopicShape::Rows),
            };
            let outcome = read(&plan.schema, row, shape, &mut tokens, base, options, &mut tools)?;
            opened.finish(tokens)?;
            return Ok(outcome);
        }
        if options.value_format == Format::JsonSchema {
            return Err(Fault::MissingField.into());
        }
        let mut tokens = Tokens::new(bytes, false)?;
        let mut inside = tokens;
        match inside.token()? {
            Token::Object => {}
            Token::Null => return Ok(JsonOutcome::Null),
            _ => return Err(Fault::JsonKind.into()),
        }
        let shape = match shape_of(inside, known, options)? {
            Guess::Ignored(ignored) => return Ok(JsonOutcome::Ignored(ignored)),
            Guess::Envelope => TopicShape::Envelope,
            Guess::Row => TopicShape::Rows,
        };
        let row = match &options.columns {
            Some(columns) => {
                self.declared.get_or_insert_with(|| RowPlan::hinted(columns.clone(), false, tools.layouts))
            }
            None => self.learn(inside, shape, tools.layouts)?,
        };
        let outcome = read(&Schema::none(), row, shape, &mut tokens, base, options, &mut tools)?;
        tokens.end()?;
        Ok(outcome)
    }

    /// The plan of learned columns, after looking at this record.
    fn learn(&mut self, inside: Tokens<'_>, shape: TopicShape, layouts: &mut Layouts) -> Result<&RowPlan, Fault> {
        let mut is_new = self.learned_row.is_none();
        if shape == TopicShape::Rows {
            is_new |= self.learned.object(inside, true)?;
        } else {
            let (mut tokens, mut is_first) = (inside, true);
            while let Some(name) = tokens.member(&mut is_first)? {
                let token = tokens.token()?;
                if token == Token::Object && (name.is("after") || name.is("before")) {
                    is_new |= self.learned.object(tokens, false)?;
                }
                tokens.skip_rest(token, crate::schema::DEPTH_MAX)?;
            }
        }
        if is_new {
            self.learned_row = Some(RowPlan::hinted(self.learned.layout(), true, layouts));
        }
        self.learned_row.as_ref().ok_or(Fault::MissingField)
    }

    /// Reads a key.
    pub(crate) fn key(
        &mut self,
        bytes: &[u8],
        base: u32,
        options: &TopicOptions,
        tools: Tools<'_>,
    ) -> Result<(CellRange, JsonKey), NamedFault> {
        let opened = match options.key_format {
            Format::Json => None,
            _ => self.keys.open(bytes, tools.layouts)?,
        };
        let (key, mut tokens, base) = match opened {
            Some(opened) => {
                let Some(plan) = opened.plan else { return Ok((CellRange::default(), JsonKey::Embedded(usize::MAX))) };
                (JsonKey::Embedded(plan), opened.tokens, base + opened.offset as u32)
            }
            None if options.key_format == Format::JsonSchema => return Err(Fault::MissingField.into()),
            None => {
                let tokens = Tokens::new(bytes, false)?;
                (JsonKey::Bare(self.bare_key(tokens, options, tools.layouts)?), tokens, base)
            }
        };
        let plan = self.key_plan(key).map_err(unusable)?;
        let row = read_key(plan, tools.settings, &mut tokens, base, options.json, tools.arena, tools.scratch)
            .map_err(|fault| fault.named(&plan.row))?;
        match opened {
            Some(opened) => opened.finish(tokens)?,
            None => tokens.end()?,
        }
        tools.scratch.cells.clear();
        Ok((row, key))
    }

    /// The plan that a key was read with.
    pub(crate) fn key_plan(&self, key: JsonKey) -> Result<&KeyPlan, &str> {
        match key {
            JsonKey::Embedded(plan) => self.keys.get(plan),
            JsonKey::Bare(plan) => self.bare_keys.get(plan).map(|key| &key.plan).ok_or("no such key"),
        }
    }

    /// Finds or makes the plan of a key without schema.
    fn bare_key(
        &mut self,
        mut tokens: Tokens<'_>,
        options: &TopicOptions,
        layouts: &mut Layouts,
    ) -> Result<usize, NamedFault> {
        let mut members: Vec<(String, Token<'_>)> = Vec::new();
        let is_single = match tokens.token()? {
            Token::Object => {
                let mut is_first = true;
                while let Some(name) = tokens.member(&mut is_first)? {
                    let mut text = String::new();
                    name.unescape(&mut text)?;
                    let token = tokens.token()?;
                    tokens.skip_rest(token, crate::schema::DEPTH_MAX)?;
                    members.push((text, token));
                }
                false
            }
            token => {
                members.push((KEY_COLUMN.to_owned(), token));
                true
            }
        };
        let declared = options.columns.as_ref().map(|layout| Layout {
            columns: members
                .iter()
                .filter_map(|(name, _)| layout.position(name).map(|at| layout.columns[at].clone()))
                .collect(),
        });
        let declared = declared.filter(|layout| layout.columns.len() == members.len());
        let found = self.bare_keys.iter().position(|key| {
            key.plan.is_single == is_single
                && key.names.len() == members.len()
                && key.names.iter().zip(&members).all(|(name, (member, _))| name == member)
        });
        let at = match found {
            Some(at) => at,
            None => {
                let mut learned = Learned::default();
                for (name, token) in &members {
                    learned.add(name, *token);
                }
                let is_learned = declared.is_none();
                let layout = declared.clone().unwrap_or_else(|| learned.layout());
                let plan = KeyPlan::hinted(layout, is_learned, is_single, layouts);
                self.bare_keys.push(BareKey {
                    names: members.iter().map(|(name, _)| name.clone()).collect(),
                    learned,
                    plan,
                });
                return Ok(self.bare_keys.len() - 1);
            }
        };
        if declared.is_none()
            && let Some(key) = self.bare_keys.get_mut(at)
        {
            let mut is_new = false;
            for (name, token) in &members {
                is_new |= key.learned.add(name, *token);
            }
            if is_new {
                key.plan = KeyPlan::hinted(key.learned.layout(), true, is_single, layouts);
            }
        }
        Ok(at)
    }
}

/// Envelope topics are recognised by their first member once they are known; everything else is looked at whole.
fn shape_of(inside: Tokens<'_>, known: TopicShape, options: &TopicOptions) -> Result<Guess, Fault> {
    if options.shape == TopicShape::Rows {
        return Ok(Guess::Row);
    }
    if known == TopicShape::Envelope {
        let mut ahead = inside;
        if ahead.member(&mut true)?.is_some_and(|name| name.raw == "before") {
            return Ok(Guess::Envelope);
        }
    }
    match guess(inside)? {
        // Rows of a table may have columns of those names.
        Guess::Ignored(_) if known == TopicShape::Rows || is_row(inside, options.columns.as_ref())? => Ok(Guess::Row),
        guess => Ok(guess),
    }
}

/// True for a flattened row, by what was added to it, and for one of the declared table, all of whose members are columns.
fn is_row(mut tokens: Tokens<'_>, columns: Option<&Layout>) -> Result<bool, Fault> {
    let (mut is_flat, mut are_columns, mut is_first) = (false, columns.is_some(), true);
    while let Some(name) = tokens.member(&mut is_first)? {
        is_flat |= flat_role(name.raw).is_some();
        are_columns &= columns.is_some_and(|layout| layout.columns.iter().any(|column| name.is(&column.name)));
        tokens.skip()?;
    }
    Ok(is_flat || are_columns)
}

fn read(
    schema: &Schema,
    row: &RowPlan,
    shape: TopicShape,
    tokens: &mut Tokens<'_>,
    base: u32,
    options: &TopicOptions,
    tools: &mut Tools<'_>,
) -> Result<JsonOutcome, NamedFault> {
    if tokens.token()? != Token::Object {
        return Err(Fault::JsonKind.into());
    }
    let mut context = Context {
        schema,
        settings: tools.settings,
        arena: tools.arena,
        scratch: tools.scratch,
        base,
        hints: options.json,
    };
    let outcome = match shape {
        TopicShape::Envelope => context.envelope(row, tokens),
        _ => context.flat(row, tokens),
    };
    match outcome.map_err(|fault| fault.named(row))? {
        ValueOutcome::Rows(rows) => Ok(JsonOutcome::Rows { rows, layout: row.layout, shape }),
        ValueOutcome::Control => Ok(JsonOutcome::Ignored(Ignored::Control)),
    }
}
