//! Programs made ready to run: expressions bound to just the columns that they read, and literals told apart from the
//! shape around them.

use std::{
    hash::{Hash, Hasher},
    sync::{Arc, LazyLock},
};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::{Result, ScalarValue, config::ConfigOptions};
use datafusion_expr::Operator;
use datafusion_physical_expr::{
    PhysicalExpr, ScalarFunctionExpr,
    expressions::{BinaryExpr, Column, Literal},
};

use crate::{
    functions,
    plan::data_type,
    program::{Argument, Input, Piece, Program},
    render::{RowForm, TextForm, TextPiece},
};

/// Functions never see other settings than these; one copy serves all, and makes equal calls quick to compare.
static CONFIGURATION: LazyLock<Arc<ConfigOptions>> = LazyLock::new(Arc::default);

/// What an expression reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Input(Input),
    /// A literal that differs between rules of one shape.
    Parameter(usize),
}

/// Expressions that are evaluated together, and the columns they read.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    pub(super) sources: Vec<Source>,
    pub(super) schema: SchemaRef,
    pub(super) expressions: Vec<Arc<dyn PhysicalExpr>>,
}

/// What a rule does with the messages of its topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prepared {
    /// Shared by the rules that have the same.
    pub(super) predicate: Option<Arc<Stage>>,
    /// The columns of the SELECT, then the values of settings.
    pub(super) projection: Stage,
    pub(super) rows: RowForm,
    /// For each action its settings with `${…}`. Their columns are those of `projection`.
    pub(super) actions: Vec<Vec<TextForm>>,
    /// Whether the rule reads the payload as JSON, and so fails where it is none.
    pub(super) reads_json: bool,
}

/// The settings of an error target.
#[derive(Debug, Clone)]
pub(super) struct ErrorSettings {
    pub(super) stage: Stage,
    pub(super) forms: Vec<TextForm>,
}

/// The schema follows from the sources of equal expressions.
impl PartialEq for Stage {
    fn eq(&self, other: &Self) -> bool {
        self.sources == other.sources && self.expressions == other.expressions && self.schema == other.schema
    }
}

impl Eq for Stage {}

impl Hash for Stage {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.sources.hash(state);
        self.expressions.hash(state);
    }
}

impl Hash for Prepared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.predicate.hash(state);
        self.projection.hash(state);
    }
}

impl Prepared {
    /// The program as it stands, with its literals in place.
    pub(super) fn new(program: &Program) -> Result<Self> {
        prepare(program, &mut Literals::Kept)
    }

    /// The shape of the program, and the literals that were taken out of it.
    pub(super) fn shape(program: &Program) -> Result<(Self, Vec<ScalarValue>)> {
        let mut parameters = Vec::new();
        let prepared = prepare(program, &mut Literals::Lifted { inputs: program.inputs.len(), into: &mut parameters })?;
        Ok((prepared, parameters))
    }
}

impl ErrorSettings {
    pub(super) fn new(program: &Program) -> Result<Self> {
        let mut expressions = Vec::new();
        let mut literals = Literals::Kept;
        let forms = text_forms(&program.error_arguments, &mut literals, &mut expressions)?;
        Ok(Self { stage: Stage::new(expressions, &program.inputs, &literals)?, forms })
    }
}

fn prepare(program: &Program, literals: &mut Literals<'_>) -> Result<Prepared> {
    let predicate = program.predicate.as_ref().map(|predicate| literals.treat(predicate)).transpose()?;
    let columns = &program.output.columns;
    let mut expressions =
        columns.iter().map(|column| literals.treat_whole(&column.expression)).collect::<Result<Vec<_>>>()?;
    let mut actions = Vec::new();
    for settings in &program.arguments {
        actions.push(text_forms(settings, literals, &mut expressions)?);
    }
    let rows = RowForm::new(program.output.star, columns.iter().map(|column| (column.name.as_str(), column.is_json)));
    let predicate = predicate.map(|predicate| Stage::new(vec![predicate], &program.inputs, literals)).transpose()?;
    let projection = Stage::new(expressions, &program.inputs, literals)?;
    let reads_json = rows.takes_members() || predicate.iter().chain([&projection]).any(Stage::reads_json);
    Ok(Prepared { predicate: predicate.map(Arc::new), projection, rows, actions, reads_json })
}

fn text_forms(
    settings: &[Argument],
    literals: &mut Literals<'_>,
    expressions: &mut Vec<Arc<dyn PhysicalExpr>>,
) -> Result<Vec<TextForm>> {
    let mut push = |expression| {
        expressions.push(expression);
        expressions.len() - 1
    };
    let mut forms = Vec::new();
    for Argument { setting, pieces, value } in settings {
        let mut treated = Vec::new();
        for piece in pieces {
            treated.push(match piece {
                Piece::Expression(expression) => TextPiece::Computed(push(literals.treat_whole(expression)?)),
                Piece::Literal(text) => match literals.column(&ScalarValue::from(text.as_str())) {
                    Some(column) => TextPiece::Varying(push(column)),
                    None => TextPiece::Literal(text.clone()),
                },
            });
        }
        forms.push(TextForm { setting: setting.clone(), pieces: treated, value: *value });
    }
    Ok(forms)
}

/// What becomes of literals.
enum Literals<'a> {
    Kept,
    /// They become columns behind the `inputs` of the program.
    Lifted {
        inputs: usize,
        into: &'a mut Vec<ScalarValue>,
    },
}

impl Literals<'_> {
    /// A column in place of a literal, if literals are lifted.
    fn column(&mut self, value: &ScalarValue) -> Option<Arc<dyn PhysicalExpr>> {
        let Self::Lifted { inputs, into } = self else { return None };
        into.push(value.clone());
        Some(Arc::new(Column::new("", *inputs + into.len() - 1)))
    }

    /// As [`Literals::treat`]; the expression itself may be a literal.
    fn treat_whole(&mut self, expression: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        match liftable(expression).and_then(|value| self.column(value)) {
            Some(column) => Ok(column),
            None => self.treat(expression),
        }
    }

    /// Lifts the literals that stand beside an operator which treats each row alike, whether it comes from a column or
    /// from a literal.
    fn treat(&mut self, expression: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let is_operator = is_plain_operator(expression);
        let mut children = Vec::new();
        for child in expression.children() {
            children.push(if is_operator { self.treat_whole(child)? } else { self.treat(child)? });
        }
        rebuilt(expression, children)
    }
}

fn liftable(expression: &Arc<dyn PhysicalExpr>) -> Option<&ScalarValue> {
    let value = expression.downcast_ref::<Literal>()?.value();
    let data_type = value.data_type();
    let is_plain =
        data_type.is_numeric() || matches!(data_type, DataType::Utf8 | DataType::Boolean | DataType::Timestamp(..));
    (is_plain && !value.is_null()).then_some(value)
}

fn is_plain_operator(expression: &Arc<dyn PhysicalExpr>) -> bool {
    if let Some(function) = expression.downcast_ref::<ScalarFunctionExpr>() {
        return functions::is_arithmetic(function.fun());
    }
    expression.downcast_ref::<BinaryExpr>().is_some_and(|binary| {
        matches!(
            binary.op(),
            Operator::Eq
                | Operator::NotEq
                | Operator::Lt
                | Operator::LtEq
                | Operator::Gt
                | Operator::GtEq
                | Operator::IsDistinctFrom
                | Operator::IsNotDistinctFrom
        )
    })
}

fn rebuilt(expression: &Arc<dyn PhysicalExpr>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
    if let Some(function) = expression.downcast_ref::<ScalarFunctionExpr>() {
        let field = function.return_field(&Schema::empty())?;
        let fun = Arc::new(function.fun().clone());
        return Ok(Arc::new(ScalarFunctionExpr::new(function.name(), fun, children, field, CONFIGURATION.clone())));
    }
    if children.is_empty() {
        return Ok(Arc::clone(expression));
    }
    Arc::clone(expression).with_new_children(children)
}

impl Stage {
    /// Binds expressions over a program's inputs, and the parameters behind them, to the few that they read.
    fn new(expressions: Vec<Arc<dyn PhysicalExpr>>, inputs: &[Input], literals: &Literals<'_>) -> Result<Self> {
        let mut read = Vec::new();
        let expressions = expressions.iter().map(|expression| bind(expression, &mut read)).collect::<Result<_>>()?;
        let (mut sources, mut fields) = (Vec::new(), Vec::new());
        for index in read {
            let (source, data_type) = match (inputs.get(index), literals) {
                (Some(input), _) => (Source::Input(input.clone()), data_type(input)),
                (None, Literals::Lifted { into, .. }) => {
                    let parameter = index - inputs.len();
                    let value = into.get(parameter).unwrap_or(&ScalarValue::Null);
                    (Source::Parameter(parameter), value.data_type())
                }
                (None, Literals::Kept) => {
                    return datafusion_common::internal_err!("an expression reads column {index} of {}", inputs.len());
                }
            };
            fields.push(Field::new(fields.len().to_string(), data_type, true));
            sources.push(source);
        }
        Ok(Self { sources, schema: Arc::new(Schema::new(fields)), expressions })
    }

    fn reads_json(&self) -> bool {
        let is_json = |source: &Source| matches!(source, Source::Input(Input::Path { .. } | Input::PayloadJson));
        self.sources.iter().any(is_json)
    }
}

/// Moves columns to their places in `read`, which grows by those that are new to it.
fn bind(expression: &Arc<dyn PhysicalExpr>, read: &mut Vec<usize>) -> Result<Arc<dyn PhysicalExpr>> {
    if let Some(column) = expression.downcast_ref::<Column>() {
        let place = read.iter().position(|index| *index == column.index()).unwrap_or_else(|| {
            read.push(column.index());
            read.len() - 1
        });
        return Ok(Arc::new(Column::new("", place)));
    }
    let children = expression.children().into_iter().map(|child| bind(child, read)).collect::<Result<_>>()?;
    rebuilt(expression, children)
}
