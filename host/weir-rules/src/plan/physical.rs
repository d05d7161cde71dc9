//! Logical expressions to physical ones, which is what programs run.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion_common::{
    DFSchema, DFSchemaRef, Result,
    tree_node::{Transformed, TransformedResult, TreeNode},
};
use datafusion_expr::{
    Expr, execution_props::ExecutionProps, lit, physical_planning_context::PhysicalPlanningContext,
    simplify::SimplifyContext, try_cast,
};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};

use super::{
    operand::{Kind, Typed},
    typing::cast_to,
};
use crate::functions::{self, Operation};

/// Compiles expressions over one set of columns.
pub(super) struct Compiler {
    schema: DFSchemaRef,
    simplifier: ExprSimplifier,
}

impl Compiler {
    pub(super) fn new(schema: SchemaRef) -> Result<Self> {
        Self::of(DFSchema::try_from(schema)?)
    }

    pub(super) fn of(schema: DFSchema) -> Result<Self> {
        let schema = Arc::new(schema);
        let context = SimplifyContext::builder().with_schema(Arc::clone(&schema)).build();
        Ok(Self { schema, simplifier: ExprSimplifier::new(context) })
    }

    pub(super) fn compile(&self, expr: Expr) -> Result<Arc<dyn PhysicalExpr>> {
        let coerced = without_failing_casts(self.simplifier.coerce(expr, &self.schema)?)?;
        let simple = without_failing_casts(self.simplifier.simplify(coerced)?)?;
        create_physical_expr(&simple, &self.schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())
    }
}

/// A cast that the planner made must not fail a batch for one row: what cannot be cast is NULL.
pub(super) fn without_failing_casts(expr: Expr) -> Result<Expr> {
    expr.transform_up(|expr| {
        Ok(match expr {
            Expr::Cast(cast) => Transformed::yes(try_cast(*cast.expr, cast.field.data_type().clone())),
            other => Transformed::no(other),
        })
    })
    .data()
}

/// A value as plain text: in a setting, beside `||`, under `::text`.
pub(crate) fn text_of(typed: Typed) -> Expr {
    let typed = column_of(typed);
    match typed.kind() {
        Kind::Text | Kind::Null => cast_to(typed, &DataType::Utf8),
        _ => functions::plain_text(typed.expr, typed.is_json),
    }
}

/// A value as rows hold it: of the few types that rendering knows.
pub(crate) fn column_of(typed: Typed) -> Typed {
    if let DataType::Duration(unit) = typed.data_type {
        // The difference of two times is a number of seconds.
        let per_second = match unit {
            TimeUnit::Second => 1.0,
            TimeUnit::Millisecond => 1e3,
            TimeUnit::Microsecond => 1e6,
            TimeUnit::Nanosecond => 1e9,
        };
        let count = try_cast(try_cast(typed.expr, DataType::Int64), DataType::Float64);
        let seconds = functions::arithmetic(Operation::Divide, count, lit(per_second));
        return Typed::new(seconds, DataType::Float64);
    }
    let data_type = match &typed.data_type {
        DataType::LargeUtf8 | DataType::Utf8View | DataType::Null | DataType::Interval(_) => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    };
    Typed { is_json: typed.is_json, expr: cast_to(typed, &data_type), data_type }
}
