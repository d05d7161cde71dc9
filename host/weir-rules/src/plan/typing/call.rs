//! Calls: which function a name means, and calling it with arguments of known types.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_expr::{Expr, ReturnFieldArgs, ScalarUDF, type_coercion::functions::fields_with_udf};
use sqlparser::ast::{self, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart};
use weir_core::seams::SqlError;

use super::{Typing, cast_to, written};
use crate::{
    error::{Hint, nearest},
    functions,
    language::select::message_by_message,
    plan::{
        aggregate::Aggregates,
        operand::{Kind, Operand, Typed},
        start, text_of,
    },
    program::ColumnType,
};

impl Typing<'_> {
    pub(super) fn call(&mut self, expr: &ast::Expr, function: &Function) -> Result<Operand, SqlError> {
        let [ObjectNamePart::Identifier(ident)] = function.name.0.as_slice() else {
            return Err(self.unknown_function(expr, &function.name.to_string()));
        };
        let written = ident.value.as_str();
        let name = written.to_lowercase();
        if function.over.is_some() {
            return Err(match self.aggregates {
                Aggregates::Rule => message_by_message(self.source, start(expr), "OVER"),
                _ => self.error(expr, "OVER is not supported"),
            });
        }
        if functions::scalar(&name).is_none() && functions::aggregate(&name).is_some() {
            return self.aggregate(expr, function, &name).map(Operand::Typed);
        }
        let plain = function.filter.is_none()
            && function.null_treatment.is_none()
            && function.within_group.is_empty()
            && matches!(function.parameters, FunctionArguments::None);
        if !plain {
            return Err(self.error(expr, format!("{written} takes nothing but arguments")));
        }
        let arguments = self.arguments(expr, function, written)?;
        if let Some(operand) = self.own(expr, &name, &arguments)? {
            return Ok(operand);
        }
        let Some(udf) = functions::scalar(&name) else { return Err(self.unknown_function(expr, written)) };
        let mut operands = Vec::new();
        for argument in &arguments {
            operands.push(self.operand(argument)?);
        }
        self.call_open(&udf, operands, &arguments, expr).map(Operand::Typed)
    }

    pub(super) fn arguments<'e>(
        &self,
        expr: &ast::Expr,
        function: &'e Function,
        written: &str,
    ) -> Result<Vec<&'e ast::Expr>, SqlError> {
        let list = match &function.args {
            FunctionArguments::None => return Ok(Vec::new()),
            FunctionArguments::Subquery(_) => return Err(self.error(expr, "a subquery is not supported")),
            FunctionArguments::List(list) => list,
        };
        // As the vendor's documents write it (vendor protocol §5.2).
        if let [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] = list.args.as_slice()
            && written.eq_ignore_ascii_case("to_hex")
        {
            return Ok(Vec::new());
        }
        let argument = |argument: &'e FunctionArg| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => Ok(argument),
            FunctionArg::Unnamed(_) => Err(self
                .error(expr, format!("{written} cannot take *"))
                .hint("payload() is the whole payload as a value")),
            FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => {
                Err(self.error(expr, "arguments are given by place, without a name"))
            }
        };
        list.args.iter().map(argument).collect()
    }

    fn unknown_function(&self, expr: &ast::Expr, written: &str) -> SqlError {
        let names = functions::names().chain(
            match self.aggregates {
                Aggregates::Rule => None,
                _ => Some(functions::aggregate_names()),
            }
            .into_iter()
            .flatten(),
        );
        self.error(expr, format!("there is no function {written}")).hint_nearest(nearest(written, names))
    }

    /// Calls a function some of whose arguments may be open: they take the first types that its signature accepts as
    /// they are.
    pub(super) fn call_open(
        &mut self,
        udf: &Arc<ScalarUDF>,
        operands: Vec<Operand>,
        sides: &[&ast::Expr],
        expr: &ast::Expr,
    ) -> Result<Typed, SqlError> {
        let open: Vec<usize> =
            operands.iter().enumerate().filter(|(_, operand)| operand.is_open()).map(|(index, _)| index).collect();
        let mut demands = Vec::new();
        if !open.is_empty() {
            match self.fitting(udf, &operands, &open)? {
                Some(found) => demands = found,
                None => {
                    let side = open.first().and_then(|index| sides.get(*index)).copied().unwrap_or(expr);
                    return Err(self.no_argument_type(udf, operands.len(), side, expr));
                }
            }
        }
        let mut demands = demands.into_iter();
        let mut arguments = Vec::new();
        for operand in operands {
            let demand = if operand.is_open() { demands.next() } else { None };
            arguments.push(self.settle(operand, demand.unwrap_or(ColumnType::Json))?);
        }
        self.scalar_call(udf, arguments, expr)
    }

    /// Calls a function with arguments of known types.
    pub(super) fn scalar_call(
        &self,
        udf: &Arc<ScalarUDF>,
        arguments: Vec<Typed>,
        expr: &ast::Expr,
    ) -> Result<Typed, SqlError> {
        if let Some(json) = arguments.iter().find(|argument| argument.is_json) {
            let message = format!("{} cannot take {}", udf.name(), json.kind().describe());
            return Err(self.error(expr, message).hint("give it a type; what is grouped has it from GROUP BY x::text"));
        }
        let fields: Vec<FieldRef> = arguments.iter().map(|argument| field(&argument.data_type)).collect();
        let coerced = fields_with_udf(&fields, udf.as_ref()).map_err(|_| self.refused(udf, expr))?;
        let arguments: Vec<Expr> = arguments
            .into_iter()
            .zip(&coerced)
            .map(|(argument, field)| match (argument.kind(), Kind::of(field.data_type())) {
                (Kind::Text | Kind::Null, _) | (_, Kind::Other) => cast_to(argument, field.data_type()),
                (_, Kind::Text) => text_of(argument),
                _ => cast_to(argument, field.data_type()),
            })
            .collect();
        let scalars: Vec<_> = arguments
            .iter()
            .map(|argument| match argument {
                Expr::Literal(value, _) => Some(value),
                _ => None,
            })
            .collect();
        let returned = udf.return_field_from_args(ReturnFieldArgs { arg_fields: &coerced, scalar_arguments: &scalars });
        let data_type = returned.map_err(|_| self.refused(udf, expr))?.data_type().clone();
        if let Some(reason) = functions::always_fails(udf, &arguments, &coerced, &data_type) {
            return Err(self.error(expr, format!("{} always fails: {reason}", written(expr))));
        }
        let call = Typed::new(udf.call(arguments), data_type);
        // Counts are whole numbers like all others.
        match call.data_type.is_unsigned_integer() {
            true => Ok(Typed::new(cast_to(call, &DataType::Int64), DataType::Int64)),
            false => Ok(call),
        }
    }

    pub(super) fn refused(&self, udf: &ScalarUDF, expr: &ast::Expr) -> SqlError {
        let error = self.error(expr, format!("{} cannot be called with these arguments", udf.name()));
        match udf.documentation().map(|documentation| documentation.syntax_example.trim()) {
            Some(example) if !example.is_empty() => error.hint(format!("write {example}")),
            _ => error,
        }
    }
}

pub(super) fn field(data_type: &DataType) -> FieldRef {
    Arc::new(Field::new("", data_type.clone(), true))
}
