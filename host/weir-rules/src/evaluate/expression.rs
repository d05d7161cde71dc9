//! Expressions told apart into what many rules have in common, their shape, and what differs: the inputs and literals.

use std::{
    hash::{Hash, Hasher},
    sync::{Arc, LazyLock},
};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::{Result, ScalarValue, config::ConfigOptions, internal_err};
use datafusion_expr::Operator;
use datafusion_physical_expr::{
    PhysicalExpr, ScalarFunctionExpr,
    expressions::{BinaryExpr, Column, Literal},
};
use hashbrown::HashSet;

use crate::{functions, plan::data_type, program::Input};

/// Functions never see other settings than these; one copy serves all, and makes equal calls quick to compare.
static CONFIGURATION: LazyLock<Arc<ConfigOptions>> = LazyLock::new(Arc::default);

/// A physical expression and the columns it is bound to, all of which it reads.
#[derive(Debug, Clone, Eq)]
pub(super) struct Shape {
    pub(super) expression: Arc<dyn PhysicalExpr>,
    pub(super) schema: SchemaRef,
    /// How many of the columns are inputs. `a > b` and `a > 1` look alike but for that.
    inputs: usize,
}

impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        self.inputs == other.inputs
            && self.expression.as_ref() == other.expression.as_ref()
            && self.schema == other.schema
    }
}

impl Hash for Shape {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expression.hash(state);
        self.schema.hash(state);
    }
}

impl Shape {
    pub(super) fn data_type(&self) -> Result<DataType> {
        self.expression.data_type(&self.schema)
    }
}

/// An expression of a rule.
#[derive(Debug)]
pub(super) struct Expression {
    /// Its columns are the inputs, then the literals.
    pub(super) shape: Arc<Shape>,
    pub(super) inputs: Box<[Input]>,
    pub(super) literals: Box<[ScalarValue]>,
    /// The same with the literals in place: quicker where many rows have the same.
    pub(super) own: Shape,
}

/// Shapes are shared: equal ones are one.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shape, &other.shape) && self.inputs == other.inputs && self.literals == other.literals
    }
}

impl Eq for Expression {}

impl Hash for Expression {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.shape).hash(state);
        self.inputs.hash(state);
        self.literals.hash(state);
    }
}

impl Expression {
    /// `expression` is bound to the inputs of a program.
    pub(super) fn new(
        expression: &Arc<dyn PhysicalExpr>,
        program: &[Input],
        shapes: &mut HashSet<Arc<Shape>>,
    ) -> Result<Self> {
        let mut read = Vec::new();
        columns(expression, &mut read);
        let inputs: Option<Box<[Input]>> = read.iter().map(|index| program.get(*index).cloned()).collect();
        let Some(inputs) = inputs else {
            return internal_err!("an expression reads columns {read:?} of {}", program.len());
        };
        let own = bound(expression, &read, &mut None)?;
        let mut literals = Some(Vec::new());
        let lifted = bound(expression, &read, &mut literals)?;
        let literals: Box<[ScalarValue]> = literals.unwrap_or_default().into();
        let shape = Shape { expression: lifted, schema: schema(&inputs, &literals), inputs: inputs.len() };
        let shape = Arc::clone(shapes.get_or_insert(Arc::new(shape)));
        let own = Shape { expression: own, schema: schema(&inputs, &[]), inputs: inputs.len() };
        Ok(Self { shape, inputs, literals, own })
    }
}

fn schema(inputs: &[Input], literals: &[ScalarValue]) -> SchemaRef {
    let types = inputs.iter().map(data_type).chain(literals.iter().map(ScalarValue::data_type));
    let fields = types.enumerate().map(|(number, data_type)| Field::new(number.to_string(), data_type, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The columns that an expression reads, each once.
fn columns(expression: &Arc<dyn PhysicalExpr>, found: &mut Vec<usize>) {
    if let Some(column) = expression.downcast_ref::<Column>()
        && !found.contains(&column.index())
    {
        found.push(column.index());
    }
    expression.children().into_iter().for_each(|child| columns(child, found));
}

/// The expression bound to the columns that it reads. If literals are asked for, those beside plain operators are moved
/// there, and read from columns behind the others.
fn bound(
    expression: &Arc<dyn PhysicalExpr>,
    read: &[usize],
    literals: &mut Option<Vec<ScalarValue>>,
) -> Result<Arc<dyn PhysicalExpr>> {
    if let Some(column) = expression.downcast_ref::<Column>() {
        let place = read.iter().position(|index| *index == column.index()).unwrap_or_default();
        return Ok(Arc::new(Column::new("", place)));
    }
    let lifts = is_plain_operator(expression);
    let mut children = Vec::new();
    for child in expression.children() {
        children.push(match (&mut *literals, liftable(child)) {
            (Some(literals), Some(value)) if lifts => {
                literals.push(value.clone());
                Arc::new(Column::new("", read.len() + literals.len() - 1))
            }
            _ => bound(child, read, literals)?,
        });
    }
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

fn liftable(expression: &Arc<dyn PhysicalExpr>) -> Option<&ScalarValue> {
    let value = expression.downcast_ref::<Literal>()?.value();
    let data_type = value.data_type();
    let is_plain =
        data_type.is_numeric() || matches!(data_type, DataType::Utf8 | DataType::Boolean | DataType::Timestamp(..));
    (is_plain && !value.is_null()).then_some(value)
}

/// Whether it treats a value alike, whether it comes from a column or from a literal.
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
                | Operator::Plus
                | Operator::Minus
                | Operator::Multiply
                | Operator::Divide
                | Operator::Modulo
        )
    })
}
