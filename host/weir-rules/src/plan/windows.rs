//! Windows of a grouped SELECT: what is read of each message, how it is gathered, and what a closed window makes.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion_common::{DataFusionError, Result, internal_err};
use datafusion_expr::{
    Expr, SortExpr,
    expr::{AggregateFunction, AggregateFunctionParams, NullTreatment},
    lit,
};
use datafusion_physical_expr::{
    PhysicalExpr, PhysicalSortExpr,
    aggregate::AggregateExprBuilder,
    expressions::{Column, Literal},
};
use sqlparser::ast;
use weir_core::{RuleName, TopicFilter, seams::SqlError, windows::WindowShape};

use super::{
    aggregate::{Aggregates, Grouping},
    inputs::{Inputs, time_type},
    operand::Kind,
    physical::{Compiler, column_of},
    start,
    typing::{Typing, cast_to, written},
};
use crate::{
    error::Hint,
    functions,
    language::{statement::TimeClauses, window},
    program::{ColumnType, Output, OutputColumn, Program},
    window::{Aggregate, Argument, EventTime, Frame, WindowPlan},
};

/// What the time of a message is, typed.
#[derive(Debug)]
pub(super) struct Time {
    /// In milliseconds: Float64, or a timestamp. Absent: the accept time.
    expr: Option<Expr>,
    /// As it is told of.
    text: String,
    lateness: i64,
}

impl Default for Time {
    fn default() -> Self {
        Self { expr: None, text: "the accept time".to_owned(), lateness: 0 }
    }
}

impl Typing<'_> {
    /// Reads what a rule says of time.
    pub(super) fn time(&mut self, clauses: &TimeClauses) -> Result<Time, SqlError> {
        let mut time = Time::default();
        if let Some((text, place)) = &clauses.lateness {
            time.lateness = window::duration(self.source, text, *place)?;
        }
        let Some(event_time) = &clauses.event_time else { return Ok(time) };
        let expr = &event_time.expr;
        self.aggregates = Aggregates::Refused("EVENT TIME");
        time.text = written(expr);
        let Some((unit, place)) = &event_time.unit else {
            let operand = self.operand(expr)?;
            let typed = self.settle(operand, ColumnType::Json)?;
            if typed.kind() != Kind::Time {
                let error =
                    self.source.error(start(expr), format!("nothing says in which unit {} counts", written(expr)));
                return Err(error.hint("add UNIT 'ms', 's', 'us' or 'ns'; a text becomes a time by ::timestamp"));
            }
            time.expr = Some(cast_to(typed, &DataType::Timestamp(TimeUnit::Millisecond, None)));
            return Ok(time);
        };
        let factor = match unit.as_str() {
            "s" => 1e3,
            "ms" => 1.0,
            "us" => 1e-3,
            "ns" => 1e-6,
            _ => {
                let error = self.source.error(*place, format!("'{unit}' is no unit of time"));
                return Err(error.hint("write 's', 'ms', 'us' or 'ns'"));
            }
        };
        let typed = self.column(expr, ColumnType::Number)?;
        if !typed.kind().is_number() {
            let message =
                format!("EVENT TIME with UNIT takes a number, but {} is {}", written(expr), typed.kind().describe());
            return Err(self.source.error(start(expr), message));
        }
        let number = cast_to(typed, &DataType::Float64);
        time.expr = Some(if factor == 1.0 {
            number
        } else {
            functions::arithmetic(functions::Operation::Multiply, number, lit(factor))
        });
        time.text = format!("{} UNIT '{unit}'", time.text);
        Ok(time)
    }
}

/// What windows are made of, typed.
pub(super) struct WindowParts {
    pub(super) name: RuleName,
    pub(super) filter: TopicFilter,
    pub(super) frame: Frame,
    pub(super) time: Time,
    pub(super) inputs: Inputs,
    pub(super) predicate: Option<Expr>,
    pub(super) grouping: Grouping,
}

impl WindowParts {
    pub(super) fn plan(self) -> Result<WindowPlan> {
        let Self { name, filter, frame, time, inputs, predicate, grouping } = self;
        let (by_device, by_topic) = told_apart(&filter, grouping.keys().map(|(written, _)| written));
        let mut feed = Feed {
            compiler: Compiler::new(inputs.schema())?,
            schema: inputs.schema(),
            columns: Vec::new(),
            known: HashMap::new(),
        };
        let event_time = match time.expr {
            Some(expr) => EventTime::Column(feed.column(&expr)?),
            None => EventTime::Accepted,
        };
        let keys = grouping.keys().map(|(_, expr)| feed.column(&expr.clone().unalias())).collect::<Result<Vec<_>>>()?;
        let mut calls = Vec::new();
        for (_, expr) in grouping.calls() {
            calls.push(feed.call(&expr.clone().unalias())?);
        }
        let feed_schema = feed.output_schema()?;
        let aggregates = calls.into_iter().map(|call| call.build(&feed_schema)).collect::<Result<Vec<_>>>()?;
        let key_types = keys.iter().map(|key| feed_schema.field(*key).data_type().clone()).collect::<Vec<_>>();
        let mut fields = Vec::new();
        for (number, data_type) in key_types.iter().enumerate() {
            fields.push(Field::new(format!("#key{number}"), data_type.clone(), true));
        }
        for (number, aggregate) in aggregates.iter().enumerate() {
            fields.push(Field::new(
                format!("#aggregate{number}"),
                aggregate.function.field().data_type().clone(),
                true,
            ));
        }
        fields.extend(window::COLUMNS.map(|name| Field::new(name, time_type(), true)));
        let program = Program {
            name,
            sources: vec![filter],
            predicate: predicate.map(|predicate| feed.compiler.compile(predicate)).transpose()?,
            output: Output { star: false, columns: feed.columns },
            inputs: inputs.into_vec(),
            arguments: Vec::new(),
            error_arguments: Vec::new(),
            windows: None,
            joins: None,
        };
        let mut written = Vec::new();
        for ((call, _), aggregate) in grouping.calls().zip(&aggregates) {
            written.push((self::written(call), aggregate.function.state_fields()?.len()));
        }
        let shape = WindowShape {
            window: frame.to_string(),
            event_time: time.text,
            keys: grouping.keys().map(|(written, _)| self::written(written)).collect(),
            aggregates: written,
        };
        Ok(WindowPlan {
            shape,
            frame,
            event_time,
            lateness: time.lateness,
            by_device: by_device || by_topic,
            by_topic,
            feed: program,
            keys,
            key_types,
            aggregates,
            schema: Arc::new(Schema::new(fields)),
        })
    }
}

/// The columns that windows are fed with.
struct Feed {
    compiler: Compiler,
    schema: SchemaRef,
    columns: Vec<OutputColumn>,
    known: HashMap<Expr, usize>,
}

/// An aggregate whose arguments are columns of the feed.
struct Call {
    call: AggregateFunction,
    arguments: Vec<Argument>,
    order_by: Vec<(usize, SortExpr)>,
    filter: Option<usize>,
}

impl Feed {
    fn column(&mut self, expr: &Expr) -> Result<usize> {
        if let Some(known) = self.known.get(expr) {
            return Ok(*known);
        }
        let expression = self.compiler.compile(expr.clone())?;
        self.columns.push(OutputColumn { name: self.columns.len().to_string(), expression, is_json: false });
        self.known.insert(expr.clone(), self.columns.len() - 1);
        Ok(self.columns.len() - 1)
    }

    fn call(&mut self, expr: &Expr) -> Result<Call> {
        let Expr::AggregateFunction(call) = expr else { return internal_err!("{expr} is no aggregate") };
        let AggregateFunctionParams { args, filter, order_by, .. } = &call.params;
        let mut arguments = Vec::new();
        for argument in args {
            let compiled = self.compiler.compile(argument.clone())?;
            arguments.push(match compiled.downcast_ref::<Literal>() {
                Some(literal) => Argument::Literal(literal.value().clone()),
                None => Argument::Column(self.column(argument)?),
            });
        }
        let filter = filter.as_ref().map(|filter| self.column(filter)).transpose()?;
        let order_by = order_by.iter().map(|key| Ok((self.column(&key.expr)?, key.clone()))).collect::<Result<_>>()?;
        Ok(Call { call: call.clone(), arguments, order_by, filter })
    }

    fn output_schema(&self) -> Result<SchemaRef> {
        let fields = self
            .columns
            .iter()
            .map(|column| Ok(Field::new(&column.name, column.expression.data_type(&self.schema)?, true)));
        Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
    }
}

impl Call {
    fn build(self, feed: &SchemaRef) -> Result<Aggregate> {
        let column = |index: usize| Arc::new(Column::new(&index.to_string(), index)) as Arc<dyn PhysicalExpr>;
        let arguments = self.arguments.iter().map(|argument| match argument {
            Argument::Column(index) => column(*index),
            Argument::Literal(value) => Arc::new(Literal::new(value.clone())),
        });
        let order_by = self.order_by.iter().map(|(index, key)| PhysicalSortExpr {
            expr: column(*index),
            options: arrow::compute::SortOptions { descending: !key.asc, nulls_first: key.nulls_first },
        });
        let AggregateFunction { func, params } = self.call;
        let function = AggregateExprBuilder::new(func, arguments.collect())
            .order_by(order_by.collect())
            .schema(Arc::clone(feed))
            .alias("aggregate")
            .with_distinct(params.distinct)
            .with_ignore_nulls(params.null_treatment == Some(NullTreatment::IgnoreNulls))
            .build()?;
        // What the aggregate is sorted by comes behind its arguments, as DataFusion's own operators give it.
        let sorted = if function.order_bys().is_empty() { Vec::new() } else { self.order_by };
        let arguments = self.arguments.into_iter().chain(sorted.into_iter().map(|(index, _)| Argument::Column(index)));
        // Whether it can be made at all is seen now and not when the first message comes.
        function.create_accumulator()?;
        function.state_fields()?;
        Ok(Aggregate { arguments: arguments.collect(), filter: self.filter, function: Arc::new(function) })
    }
}

/// Whether the messages of each group are of one device alone, and whether they are of one topic.
fn told_apart<'a>(filter: &TopicFilter, keys: impl Iterator<Item = &'a ast::Expr> + Clone) -> (bool, bool) {
    let has = |name: &str, function: &str| {
        keys.clone().any(|key| {
            let written = written(key);
            written == name || written.eq_ignore_ascii_case(function)
        })
    };
    let product = filter.as_str().split('/').next().unwrap_or_default();
    let is_one_product = product.parse::<weir_core::ProductId>().is_ok();
    let by_device = has("msg.device", "deviceName()") && (is_one_product || has("msg.product", "productId()"));
    (by_device, has("msg.topic", "topic()"))
}

/// What a rule makes of a closed window.
#[derive(Debug, Clone)]
pub struct Finish {
    /// HAVING.
    pub(crate) predicate: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) columns: Vec<OutputColumn>,
}

impl Finish {
    /// `schema`: of closed windows.
    pub(super) fn compile(
        schema: &SchemaRef,
        having: Option<Expr>,
        columns: Vec<super::output::Column>,
    ) -> Result<Self, DataFusionError> {
        let compiler = Compiler::new(Arc::clone(schema))?;
        let columns = columns.into_iter().map(|column| {
            let typed = column_of(column.typed);
            let expression = compiler.compile(typed.expr)?;
            Ok(OutputColumn { name: column.name, expression, is_json: typed.is_json })
        });
        Ok(Self {
            columns: columns.collect::<Result<_>>()?,
            predicate: having.map(|having| compiler.compile(having)).transpose()?,
        })
    }
}
