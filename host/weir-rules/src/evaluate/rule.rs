//! Rules as a set holds them, and what they share.

use std::sync::Arc;

use datafusion_common::{Result, ScalarValue};
use datafusion_physical_expr::{
    PhysicalExpr,
    expressions::{Column, Literal},
};
use hashbrown::HashSet;
use weir_core::{RuleName, TopicFilter};

use super::expression::{Expression, Shape};
use crate::{
    program::{Argument, Input, Piece, Program},
    render::{RowForm, TextForm, TextPiece, literal_json, literal_text},
};

/// A rule, ready to run.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: RuleName,
    pub(super) sources: Vec<TopicFilter>,
    pub(super) predicate: Option<Arc<Expression>>,
    /// The columns of the SELECT, then the values of settings.
    pub(super) values: Vec<Value>,
    /// Shared by the rules that have the same.
    pub(super) rows: Arc<RowForm>,
    /// For each action its settings with `${…}`.
    pub(super) actions: Vec<Vec<TextForm>>,
    /// What it reads of payloads, if it reads them as JSON: then it fails where they are none.
    pub(super) inputs: Option<Arc<[Input]>>,
    pub(super) errors: ErrorSettings,
}

/// The settings of an error target, with values of their own.
#[derive(Debug)]
pub(super) struct ErrorSettings {
    pub(super) values: Vec<Value>,
    pub(super) forms: Vec<TextForm>,
}

/// A value that a rule makes of a message.
#[derive(Debug)]
pub(super) enum Value {
    /// An input as it is, which takes no evaluation.
    Input(Input),
    Literal(ScalarValue),
    Computed(Arc<Expression>),
}

/// What the rules of a set have in common, each once.
#[derive(Debug, Default)]
pub(super) struct Shared {
    shapes: HashSet<Arc<Shape>>,
    expressions: HashSet<Arc<Expression>>,
    inputs: HashSet<Arc<[Input]>>,
    rows: HashSet<Arc<RowForm>>,
}

impl Shared {
    /// What these rules have in common already.
    pub(super) fn of<'a>(rules: impl Iterator<Item = &'a Arc<Rule>>) -> Self {
        let mut shared = Self::default();
        let mut known = HashSet::new();
        for rule in rules {
            for expression in rule.expressions() {
                // Comparing addresses first spares hashing shapes again and again.
                if known.insert(Arc::as_ptr(&expression.shape)) {
                    shared.shapes.insert(Arc::clone(&expression.shape));
                }
                shared.expressions.insert(Arc::clone(expression));
            }
            shared.inputs.extend(rule.inputs.clone());
            shared.rows.insert(Arc::clone(&rule.rows));
        }
        shared
    }

    pub(super) fn rule(&mut self, program: Program) -> Result<Rule> {
        let Program { name, sources, inputs, predicate, output, arguments, error_arguments, windows: _, joins: _ } =
            program;
        let predicate = predicate.map(|predicate| self.expression(&predicate, &inputs)).transpose()?;
        let mut values = Vec::new();
        for column in &output.columns {
            values.push(self.value(&column.expression, &inputs)?);
        }
        let columns = output.columns.iter().zip(&values).map(|(column, value)| {
            let constant = match value {
                Value::Literal(value) => Some(literal_json(value, column.is_json)),
                Value::Input(_) | Value::Computed(_) => None,
            };
            (column.name.as_str(), column.is_json, constant)
        });
        let rows = Arc::new(RowForm::new(output.star, columns));
        let rows = Arc::clone(self.rows.get_or_insert(rows));
        let actions = arguments.iter().map(|settings| self.forms(settings, &inputs, &mut values));
        let actions = actions.collect::<Result<Vec<_>>>()?;
        let mut errors = ErrorSettings { values: Vec::new(), forms: Vec::new() };
        errors.forms = self.forms(&error_arguments, &inputs, &mut errors.values)?;

        let mut rule = Rule { name, sources, predicate, values, rows, actions, inputs: None, errors };
        if rule.reads_json() {
            let inputs: Arc<[Input]> = inputs.into_iter().filter(is_json).collect();
            rule.inputs = Some(Arc::clone(self.inputs.get_or_insert(inputs)));
        }
        Ok(rule)
    }

    fn forms(&mut self, settings: &[Argument], inputs: &[Input], values: &mut Vec<Value>) -> Result<Vec<TextForm>> {
        let mut forms = Vec::new();
        for Argument { setting, pieces, value: kind } in settings {
            let mut treated = Vec::new();
            for piece in pieces {
                treated.push(match piece {
                    Piece::Literal(text) => TextPiece::Literal(text.clone()),
                    Piece::Expression(expression) => match self.value(expression, inputs)? {
                        Value::Literal(value) => TextPiece::Constant(literal_text(&value)),
                        value => {
                            values.push(value);
                            TextPiece::Value(values.len() - 1)
                        }
                    },
                });
            }
            forms.push(TextForm { setting: setting.clone(), pieces: treated, value: *kind });
        }
        Ok(forms)
    }

    fn value(&mut self, expression: &Arc<dyn PhysicalExpr>, inputs: &[Input]) -> Result<Value> {
        if let Some(literal) = expression.downcast_ref::<Literal>() {
            return Ok(Value::Literal(literal.value().clone()));
        }
        if let Some(input) = expression.downcast_ref::<Column>().and_then(|column| inputs.get(column.index())) {
            return Ok(Value::Input(input.clone()));
        }
        Ok(Value::Computed(self.expression(expression, inputs)?))
    }

    fn expression(&mut self, expression: &Arc<dyn PhysicalExpr>, inputs: &[Input]) -> Result<Arc<Expression>> {
        let expression = Expression::new(expression, inputs, &mut self.shapes)?;
        Ok(Arc::clone(self.expressions.get_or_insert(Arc::new(expression))))
    }
}

impl Rule {
    /// The expressions that are evaluated for messages that can be read.
    pub(super) fn expressions(&self) -> impl Iterator<Item = &Arc<Expression>> {
        self.predicate.iter().chain(self.values.iter().filter_map(|value| match value {
            Value::Computed(expression) => Some(expression),
            Value::Input(_) | Value::Literal(_) => None,
        }))
    }

    fn reads_json(&self) -> bool {
        let direct = self.values.iter().any(|value| matches!(value, Value::Input(input) if is_json(input)));
        direct
            || self.rows.takes_members()
            || self.expressions().any(|expression| expression.inputs.iter().any(is_json))
    }
}

fn is_json(input: &Input) -> bool {
    matches!(input, Input::Path { .. } | Input::PayloadJson)
}
