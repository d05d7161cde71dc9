//! Calls: which function a name means, and which types its arguments take.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_expr::{Expr, ReturnFieldArgs, ScalarUDF, try_cast, type_coercion::functions::fields_with_udf};
use sqlparser::ast::{self, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart};
use weir_core::seams::SqlError;

use super::{Typing, as_type, cast_to, written};
use crate::{
    error::{Hint, nearest},
    functions,
    language::select::message_by_message,
    plan::{
        aggregate::Aggregates,
        inputs::column_data_type,
        operand::{Kind, Operand, Typed},
        start, text_of,
    },
    program::{ColumnType, EnvelopeColumn, Input},
};

/// Combinations of types that are tried for the open arguments of one call.
const MAX_TRIALS: usize = 256;

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

    /// Functions that the planner knows by itself (vendor protocol §5.2, and those that pass types on).
    fn own(&mut self, expr: &ast::Expr, name: &str, arguments: &[&ast::Expr]) -> Result<Option<Operand>, SqlError> {
        let of_message = ["productid", "devicename", "payloadlen", "qos", "now", "current_timestamp", "localtimestamp"];
        if of_message.contains(&name) || matches!(name, "topic" | "timestamp" | "payload" | "current_date" | "today") {
            self.aggregates.check_message(self.source, &written(expr), start(expr))?;
        }
        let column = match name {
            "productid" => Some(EnvelopeColumn::Product),
            "devicename" => Some(EnvelopeColumn::Device),
            "payloadlen" => Some(EnvelopeColumn::PayloadLength),
            "qos" => Some(EnvelopeColumn::Qos),
            "now" | "current_timestamp" | "localtimestamp" => Some(EnvelopeColumn::AcceptedAt),
            "topic" if arguments.is_empty() => Some(EnvelopeColumn::Topic),
            _ => None,
        };
        if let Some(column) = column {
            self.arity(expr, name, arguments, 0)?;
            return Ok(Some(Operand::Typed(self.envelope_column(column))));
        }
        Ok(Some(match (name, arguments) {
            ("topic", [level]) => {
                let level = self.integer(level, "topic")?;
                let topic = self.envelope_column(EnvelopeColumn::Topic).expr;
                Operand::Typed(Typed::new(functions::topic_level(topic, level), DataType::Utf8))
            }
            ("timestamp", []) => self.accept_seconds(),
            ("payload", []) => {
                let expr = self.inputs.column(Input::PayloadJson);
                Operand::Typed(Typed { expr, data_type: DataType::Utf8, is_json: true })
            }
            ("current_date" | "today", []) => {
                let time = self.envelope_column(EnvelopeColumn::AcceptedAt);
                Operand::Typed(Typed::new(try_cast(time.expr, DataType::Date32), DataType::Date32))
            }
            ("coalesce", [_, ..]) | ("ifnull" | "nvl", [_, _]) => self.coalesce(arguments)?,
            ("nvl2", [tested, present, absent]) => self.nvl2(tested, present, absent)?,
            ("nullif", [value, other]) => self.nullif(expr, value, other)?,
            ("greatest" | "least", [_, ..]) => self.extreme(name, arguments, expr)?,
            ("topic", _) => return Err(self.wrong_arity(expr, "topic", "none or one argument")),
            ("timestamp" | "payload" | "current_date" | "today", _) => {
                return Err(self.wrong_arity(expr, name, "no arguments"));
            }
            ("ifnull" | "nvl" | "nullif", _) => return Err(self.wrong_arity(expr, name, "two arguments")),
            ("nvl2", _) => return Err(self.wrong_arity(expr, name, "three arguments")),
            ("coalesce" | "greatest" | "least", _) => return Err(self.wrong_arity(expr, name, "arguments")),
            ("random" | "rand" | "randint" | "uuid" | "newuuid" | "gen_random_uuid", _) => {
                return Err(self
                    .error(expr, format!("{name} is not supported: a rule gives the same for the same message"))
                    .hint("msg.offset names a message for ever"));
            }
            _ => return Ok(None),
        }))
    }

    fn arity(&self, expr: &ast::Expr, name: &str, arguments: &[&ast::Expr], count: usize) -> Result<(), SqlError> {
        if arguments.len() == count { Ok(()) } else { Err(self.wrong_arity(expr, name, "no arguments")) }
    }

    fn wrong_arity(&self, expr: &ast::Expr, name: &str, takes: &str) -> SqlError {
        let written = functions::OWN.iter().find(|own| own.eq_ignore_ascii_case(name)).unwrap_or(&name);
        self.error(expr, format!("{written} takes {takes}"))
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

    /// The types for the open arguments: declared ones first, then by what the function is about.
    fn fitting(
        &self,
        udf: &ScalarUDF,
        operands: &[Operand],
        open: &[usize],
    ) -> Result<Option<Vec<ColumnType>>, SqlError> {
        use ColumnType::{Boolean, Integer, Number, Text};
        let section = udf.documentation().map_or("", |documentation| documentation.doc_section.label);
        let (order, decided) = match section {
            "String Functions" | "Regular Expression Functions" | "Binary String Functions" | "Hashing Functions" => {
                (vec![Text, Number, Integer, Boolean], true)
            }
            "Math Functions" => (vec![Number, Integer, Text, Boolean], true),
            "Time and Date Functions" if udf.name().starts_with("to_timestamp_") => (vec![Integer], true),
            "Time and Date Functions" => (vec![Integer, Number, Text], false),
            _ => (vec![Number, Text, Boolean, Integer], false),
        };
        let mut choices = Vec::new();
        for index in open {
            let operand = operands.get(*index);
            choices.push(match self.declared_type(operand)? {
                Some(declared) => vec![declared],
                None => order.clone(),
            });
        }
        let mut found: Option<Vec<ColumnType>> = None;
        let trials = choices.iter().map(Vec::len).product::<usize>().min(MAX_TRIALS);
        for trial in 0..trials {
            let mut rest = trial;
            // The last argument changes fastest, so that the first ones keep the likeliest type.
            let mut demands: Vec<ColumnType> = choices
                .iter()
                .rev()
                .filter_map(|choice| {
                    let demand = choice.get(rest % choice.len()).copied();
                    rest /= choice.len();
                    demand
                })
                .collect();
            demands.reverse();
            if !accepts(udf, operands, &demands) {
                continue;
            }
            match &found {
                None if decided => return Ok(Some(demands)),
                None => found = Some(demands),
                // Integer and Number are one kind of thing.
                Some(first) if same_kinds(first, &demands) => {}
                Some(_) => return Ok(None),
            }
        }
        Ok(found)
    }

    fn no_argument_type(&self, udf: &ScalarUDF, count: usize, side: &ast::Expr, expr: &ast::Expr) -> SqlError {
        // NULL is of every type: if the function does not even take that, there are too many or too few arguments.
        let nulls = vec![field(&DataType::Null); count];
        let section = udf.documentation().map_or("", |documentation| documentation.doc_section.label);
        match section {
            _ if fields_with_udf(&nulls, udf).is_err() => self.refused(udf, expr),
            "Time and Date Functions" => self.no_path_type(side, Kind::Time),
            "Array Functions" => self.no_path_type(side, Kind::Other),
            _ => {
                let message = format!("{} does not say which type {} should have", udf.name(), written(side));
                self.error(side, message).hint(format!(
                    "write {} or {}",
                    as_type(side, "double"),
                    as_type(side, "text")
                ))
            }
        }
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
        Ok(Typed::new(udf.call(arguments), data_type))
    }

    fn refused(&self, udf: &ScalarUDF, expr: &ast::Expr) -> SqlError {
        let error = self.error(expr, format!("{} cannot be called with these arguments", udf.name()));
        match udf.documentation().map(|documentation| documentation.syntax_example.trim()) {
            Some(example) if !example.is_empty() => error.hint(format!("write {example}")),
            _ => error,
        }
    }
}

fn field(data_type: &DataType) -> FieldRef {
    Arc::new(Field::new("", data_type.clone(), true))
}

/// Whether the signature takes the open operands by these types without making something else of them.
fn accepts(udf: &ScalarUDF, operands: &[Operand], demands: &[ColumnType]) -> bool {
    let mut demands = demands.iter();
    let fields: Vec<FieldRef> = operands
        .iter()
        .map(|operand| match operand {
            Operand::Typed(typed) => field(&typed.data_type),
            Operand::Open(_) => field(&column_data_type(demands.next().copied().unwrap_or(ColumnType::Text))),
        })
        .collect();
    let Ok(coerced) = fields_with_udf(&fields, udf) else { return false };
    operands.iter().zip(&fields).zip(&coerced).all(|((operand, before), after)| {
        match before.data_type() {
            // The elements of a list decide for what is sought in it.
            DataType::List(_) => before.data_type() == after.data_type(),
            DataType::Utf8 if matches!(after.data_type(), DataType::Binary | DataType::BinaryView) => true,
            before => !operand.is_open() || Kind::of(before) == Kind::of(after.data_type()),
        }
    })
}

fn same_kinds(left: &[ColumnType], right: &[ColumnType]) -> bool {
    let kind = |demand: &ColumnType| match demand {
        ColumnType::Integer => ColumnType::Number,
        other => *other,
    };
    left.iter().map(kind).eq(right.iter().map(kind))
}
