//! Functions that the planner knows by itself: the vendor's (vendor protocol §5.2), those of time, and those that pass
//! types on.

use arrow::datatypes::DataType;
use datafusion_expr::{lit, try_cast};
use sqlparser::ast::{self, Value, ValueWithSpan};
use weir_core::seams::SqlError;

use super::{Typing, written};
use crate::{
    error::Hint,
    functions::{self, Algorithm, Operation},
    plan::{
        inputs::time_type,
        operand::{Operand, Typed},
        start, text_of,
    },
    program::{EnvelopeColumn, Input},
};

impl Typing<'_> {
    /// The function `name`, in lower case, if it is one of these.
    pub(super) fn own(
        &mut self,
        expr: &ast::Expr,
        name: &str,
        arguments: &[&ast::Expr],
    ) -> Result<Option<Operand>, SqlError> {
        let of_message =
            ["productid", "devicename", "payloadlen", "requestid", "qos", "now", "current_timestamp", "localtimestamp"];
        if of_message.contains(&name) || matches!(name, "topic" | "timestamp" | "payload" | "current_date" | "today") {
            if !self.has_messages() {
                return self.without_messages(expr, name, arguments).map(Some);
            }
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
            return match arguments {
                [] => Ok(Some(Operand::Typed(self.envelope_column(column)))),
                _ => Err(self.wrong_arity(expr, name, "no arguments")),
            };
        }
        Ok(Some(match (name, arguments) {
            ("topic", [level]) => {
                let level = self.integer(level, "topic")?;
                let topic = self.envelope_column(EnvelopeColumn::Topic).expr;
                Operand::Typed(Typed::new(functions::topic_level(topic, level), DataType::Utf8))
            }
            ("timestamp", []) => self.accept_seconds(),
            ("requestid", []) => {
                let offset = self.envelope_column(EnvelopeColumn::Offset);
                Operand::Typed(Typed::new(text_of(offset), DataType::Utf8))
            }
            ("payload", []) if self.envelope_only => {
                let error = self.error(expr, "the payload could not be read");
                return Err(error.hint("ON ERROR TO can use msg.* only"));
            }
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
            ("crypto", [text, algorithm]) => self.crypto(text, algorithm)?,
            (name, [text]) if let Some(algorithm) = Algorithm::named(name) => {
                Operand::Typed(Typed::new(functions::digest(self.text(text, name)?, algorithm), DataType::Utf8))
            }
            ("topic", _) => return Err(self.wrong_arity(expr, "topic", "none or one argument")),
            ("timestamp" | "payload" | "current_date" | "today" | "requestid", _) => {
                return Err(self.wrong_arity(expr, name, "no arguments"));
            }
            ("ifnull" | "nvl" | "nullif" | "crypto", _) => return Err(self.wrong_arity(expr, name, "two arguments")),
            (name, _) if Algorithm::named(name).is_some() => return Err(self.wrong_arity(expr, name, "one argument")),
            ("nvl2", _) => return Err(self.wrong_arity(expr, name, "three arguments")),
            ("coalesce" | "greatest" | "least", _) => return Err(self.wrong_arity(expr, name, "arguments")),
            _ => return self.of_payload(expr, name, arguments),
        }))
    }

    /// Of what a message has, a query over tables alone knows only the time: that of the query.
    fn without_messages(
        &mut self,
        expr: &ast::Expr,
        name: &str,
        arguments: &[&ast::Expr],
    ) -> Result<Operand, SqlError> {
        let time = Typed::new(functions::query_time(time_type()), time_type());
        match (name, arguments) {
            ("now" | "current_timestamp" | "localtimestamp", []) => Ok(Operand::Typed(time)),
            ("current_date" | "today", []) => {
                Ok(Operand::Typed(Typed::new(try_cast(time.expr, DataType::Date32), DataType::Date32)))
            }
            _ => {
                let error = self.error(expr, format!("{} is of a message, and the query reads none", written(expr)));
                Err(error.hint("a table has columns instead"))
            }
        }
    }

    /// `timestamp()`: the accept time in seconds since 1970.
    fn accept_seconds(&mut self) -> Operand {
        let time = self.envelope_column(EnvelopeColumn::AcceptedAt);
        let millis = try_cast(time.expr, DataType::Int64);
        let seconds = functions::arithmetic(Operation::Divide, millis, lit(1000_i64));
        Operand::Typed(Typed::new(seconds, DataType::Int64))
    }

    /// `crypto(text, 'SHA256')`
    fn crypto(&mut self, text: &ast::Expr, algorithm: &ast::Expr) -> Result<Operand, SqlError> {
        let known = match algorithm {
            ast::Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(name), .. }) => Algorithm::named(name),
            _ => None,
        };
        let Some(known) = known else {
            let names = Algorithm::ALL.map(|(name, _)| format!("'{}'", name.to_uppercase())).join(", ");
            let error = self.error(algorithm, format!("{} is no digest", written(algorithm)));
            return Err(error.hint(format!("write one of {names}")));
        };
        let digest = functions::digest(self.text(text, "crypto")?, known);
        Ok(Operand::Typed(Typed::new(digest, DataType::Utf8)))
    }

    pub(super) fn wrong_arity(&self, expr: &ast::Expr, name: &str, takes: &str) -> SqlError {
        let written = functions::OWN.iter().find(|own| own.eq_ignore_ascii_case(name)).unwrap_or(&name);
        self.error(expr, format!("{written} takes {takes}"))
    }
}
