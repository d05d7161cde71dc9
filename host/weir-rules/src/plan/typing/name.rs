//! Names: paths into the payload, `msg.*`, columns of tables, and the columns of the SELECT where those may be meant.

use arrow::datatypes::DataType;
use datafusion_expr::lit;
use sqlparser::{
    ast::{AccessExpr, Expr, Ident, Spanned, Subscript, Value},
    tokenizer::Location,
};
use weir_core::{
    seams::SqlError,
    table::{ColumnKind, TableSchema},
};

use super::Typing;
use crate::{
    error::{Hint, nearest},
    plan::{
        inputs::{ENVELOPE, data_type, kind_type},
        operand::{Open, Operand, PathUse, Root, Typed},
        relation::{Relation, describe, no_column},
    },
    program::{EnvelopeColumn, Input, JsonPath, Step, TableInput},
};

/// What a name belongs to.
enum Qualified<'a, 's> {
    /// It stands for a column of the SELECT.
    Output(&'a Expr),
    /// It is a field of the message.
    Envelope(&'s [Step]),
    Of(Relation<'a>, &'s [Step]),
}

impl<'a> Typing<'a> {
    pub(super) fn name(&mut self, expr: &Expr) -> Result<Operand, SqlError> {
        let place = expr.span().start;
        let (steps, root) = self.steps(expr)?;
        let (relation, steps) = match self.qualified(&steps, root, place)? {
            Qualified::Output(output) => {
                // In the column itself the name is a path.
                let outputs = std::mem::take(&mut self.outputs);
                let operand = self.operand(output);
                self.outputs = outputs;
                return operand;
            }
            Qualified::Envelope(rest) => {
                let column = self.envelope(rest, place)?;
                self.aggregates.check_message(self.source, &format!("msg.{}", JsonPath(rest.into())), place)?;
                return Ok(Operand::Typed(column));
            }
            Qualified::Of(relation, rest) => (relation, rest),
        };
        let quoted = steps.len() == 1 && root.quote_style.is_some() && needs_no_quotes(&root.value);
        if let Relation::Table { schema, number, .. } = relation {
            return self.column_of(schema, number, steps, place);
        }
        let path = JsonPath(steps.into());
        if self.envelope_only {
            let message = format!("{path} is part of a payload that could not be read");
            return Err(self.source.error(place, message).hint("ON ERROR TO can use msg.* only"));
        }
        self.aggregates.check_message(self.source, &path.to_string(), place)?;
        if let Some(declared) = self.declared() {
            declared.field_type(self.source, &path, place)?;
        }
        Ok(Operand::Open(Open::Path(PathUse { root: Root::Payload, path, place, quoted })))
    }

    /// What a name belongs to, and what is left of it.
    fn qualified<'s>(&self, steps: &'s [Step], root: &Ident, place: Location) -> Result<Qualified<'a, 's>, SqlError> {
        if let [Step::Key(first), rest @ ..] = steps
            && !rest.is_empty()
        {
            if let Some(relation) = self.relations.iter().find(|relation| relation.name() == Some(&**first)) {
                return Ok(Qualified::Of(*relation, rest));
            }
            if &**first == "msg" && root.quote_style.is_none() && self.has_messages() {
                return Ok(Qualified::Envelope(rest));
            }
        }
        if let [Step::Key(name)] = steps
            && let Some((_, output)) = self.outputs.iter().find(|(output, _)| **output == **name)
        {
            return Ok(Qualified::Output(output));
        }
        if let [relation] = self.relations {
            return Ok(Qualified::Of(*relation, steps));
        }
        let written = JsonPath(steps.into());
        let has = |relation: &&Relation<'_>| match (relation, steps.first()) {
            (Relation::Table { schema, .. }, Some(Step::Key(first))) => schema.column(first).is_some(),
            _ => false,
        };
        let messages = |relation: &&Relation<'_>| matches!(relation, Relation::Messages { .. });
        let meant = self.relations.iter().find(has).or_else(|| self.relations.iter().find(messages));
        let error = self.source.error(place, format!("{written} says not of which source it is"));
        Err(match meant.or(self.relations.first()).and_then(Relation::name) {
            Some(name) => error.hint(format!("with several sources every name is qualified: {name}.{written}")),
            None => error,
        })
    }

    /// A column of a table, or a path into one that holds JSON.
    fn column_of(
        &mut self,
        schema: &TableSchema,
        table: usize,
        steps: &[Step],
        place: Location,
    ) -> Result<Operand, SqlError> {
        let written = JsonPath(steps.into()).to_string();
        let Some((Step::Key(first), rest)) = steps.split_first() else {
            return Err(self.source.error(place, "expected the name of a column"));
        };
        let Some((column, found)) = schema.column(first) else {
            let (message, hint) = no_column(schema, first);
            return Err(self.source.error(place, message).hint(hint));
        };
        self.aggregates.check_message(self.source, &written, place)?;
        if found.kind == ColumnKind::Json {
            let root = Root::Column { table, column };
            let path = JsonPath(rest.into());
            return Ok(Operand::Open(Open::Path(PathUse { root, path, place, quoted: false })));
        }
        if !rest.is_empty() {
            return Err(self.source.error(place, format!("{first} is {} and has no parts", describe(found))));
        }
        let data_type = kind_type(found.kind);
        match self.table_column(table, TableInput::Column(column)) {
            Some(expr) => Ok(Operand::Typed(Typed::new(expr, data_type))),
            None => Err(self.source.error(place, "there is no such column")),
        }
    }

    fn envelope(&mut self, rest: &[Step], place: Location) -> Result<Typed, SqlError> {
        let written = JsonPath(rest.into());
        let found = match rest {
            [Step::Key(key)] => ENVELOPE.iter().find(|(name, _)| *name == &**key),
            _ => None,
        };
        match found {
            Some((_, column)) => Ok(self.envelope_column(*column)),
            None => {
                let near = nearest(&written.to_string(), ENVELOPE.iter().map(|(name, _)| *name));
                let error = self.source.error(place, format!("msg has no field {written}"));
                Err(match near {
                    Some(near) => error.hint(format!("did you mean msg.{near}?")),
                    None => error.hint("a field msg of the payload is written \"msg\" in double quotes"),
                })
            }
        }
    }

    pub(crate) fn envelope_column(&mut self, column: EnvelopeColumn) -> Typed {
        let input = Input::Envelope(column);
        let data_type = data_type(&input);
        let expr = self.inputs.column(input);
        match column {
            // A flag is true or false, as in the protocol.
            EnvelopeColumn::Retain => Typed::boolean(expr.not_eq(lit(0_i64))),
            // Counted up from epoch to epoch, offsets stay within Int64 for ever in practice.
            EnvelopeColumn::Offset => Typed::new(datafusion_expr::try_cast(expr, DataType::Int64), DataType::Int64),
            _ => Typed::new(expr, data_type),
        }
    }

    /// The steps of a path, and the name it begins with.
    fn steps<'e>(&self, expr: &'e Expr) -> Result<(Vec<Step>, &'e Ident), SqlError> {
        let key = |ident: &Ident| Step::Key(ident.value.as_str().into());
        match expr {
            Expr::Identifier(ident) => Ok((vec![key(ident)], ident)),
            Expr::CompoundIdentifier(idents) => match idents.first() {
                Some(first) => Ok((idents.iter().map(key).collect(), first)),
                None => Err(self.error(expr, "expected a name")),
            },
            Expr::CompoundFieldAccess { root, access_chain } => {
                if !matches!(**root, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
                    return Err(self
                        .error(expr, "only a path can be indexed by […] or .name")
                        .hint("array_element(list, n) takes an element of a list, counted from 1"));
                }
                let (mut steps, first) = self.steps(root)?;
                for access in access_chain {
                    steps.push(self.step(access)?);
                }
                Ok((steps, first))
            }
            other => Err(self.unsupported(other)),
        }
    }

    fn step(&self, access: &AccessExpr) -> Result<Step, SqlError> {
        match access {
            AccessExpr::Dot(Expr::Identifier(ident)) => Ok(Step::Key(ident.value.as_str().into())),
            AccessExpr::Subscript(Subscript::Index { index: Expr::Value(value) }) => match &value.value {
                Value::Number(number, _) => match number.to_string().parse() {
                    Ok(index) => Ok(Step::Index(index)),
                    Err(_) => Err(self.source.error(value.span.start, "an index is a whole number, counted from 0")),
                },
                Value::SingleQuotedString(text) => Ok(Step::Key(text.as_str().into())),
                _ => Err(self.source.error(value.span.start, "an index is a whole number, counted from 0")),
            },
            AccessExpr::Dot(expr) => Err(self.error(expr, "expected a name behind the dot")),
            AccessExpr::Subscript(Subscript::Index { index }) => {
                Err(self.error(index, "an index is a whole number, counted from 0"))
            }
            AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, .. }) => {
                let nowhere = Location { line: 0, column: 0 };
                let place = lower_bound.iter().chain(upper_bound).map(|bound| bound.span().start).next();
                Err(self
                    .source
                    .error(place.unwrap_or(nowhere), "a path takes one element of a list, not a range")
                    .hint("array_slice(list::double[], first, last) takes several, counted from 1"))
            }
        }
    }
}

fn needs_no_quotes(name: &str) -> bool {
    name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit())
}
