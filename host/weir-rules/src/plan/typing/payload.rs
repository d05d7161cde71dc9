//! Functions of the payload's bytes, draws, questions to JSON, and `concat`, which takes values of any type.

use arrow::datatypes::DataType;
use datafusion_expr::{Expr, lit};
use sqlparser::ast;
use weir_core::seams::SqlError;

use super::{Typing, cast_to, draws, written};
use crate::{
    error::Hint,
    functions::{self, Draw, Question},
    plan::{
        operand::{Kind, Operand, Typed},
        start, text_of,
    },
    program::{ColumnType, EnvelopeColumn, Input},
};

impl Typing<'_> {
    /// The function `name`, in lower case, if it is one of these.
    pub(super) fn of_payload(
        &mut self,
        expr: &ast::Expr,
        name: &str,
        arguments: &[&ast::Expr],
    ) -> Result<Option<Operand>, SqlError> {
        if let Some(question) = Question::named(name) {
            return self.question(expr, name, question, arguments).map(Some);
        }
        let typed = match (name, arguments) {
            ("to_hex", []) => {
                let bytes = self.bytes(expr)?;
                match functions::scalar("encode") {
                    Some(encode) => Typed::new(encode.call(vec![bytes, lit("hex")]), DataType::Utf8),
                    None => return Ok(None),
                }
            }
            ("bin_to_dec", []) => Typed::new(functions::bin_to_dec(self.bytes(expr)?), DataType::Int64),
            ("random" | "rand", []) => self.draw(expr, Draw::Number, Vec::new())?,
            ("newuuid" | "uuid", []) => self.draw(expr, Draw::Uuid, Vec::new())?,
            ("randint", [least, greatest]) => {
                let bounds = vec![self.integer(least, "randint")?, self.integer(greatest, "randint")?];
                self.draw(expr, Draw::Integer, bounds)?
            }
            ("concat", [_, ..]) => return self.concat(expr, arguments).map(Some),
            ("randint", _) => return Err(self.wrong_arity(expr, name, "two arguments: the least and the greatest")),
            ("bin_to_dec", _) => {
                return Err(self.wrong_arity(expr, name, "no arguments: it reads the payload's bytes"));
            }
            (name, _) if draws::NAMES.contains(&name) => return Err(self.wrong_arity(expr, name, "no arguments")),
            _ => return Ok(None),
        };
        Ok(Some(Operand::Typed(typed)))
    }

    /// The payload as bytes, whatever is in it.
    fn bytes(&mut self, expr: &ast::Expr) -> Result<Expr, SqlError> {
        self.check_message(expr)?;
        if self.envelope_only {
            let error = self.error(expr, "the payload could not be read");
            return Err(error.hint("ON ERROR TO can use msg.* only"));
        }
        Ok(self.inputs.column(Input::PayloadBytes))
    }

    fn draw(&mut self, expr: &ast::Expr, draw: Draw, bounds: Vec<Expr>) -> Result<Typed, SqlError> {
        self.check_message(expr)?;
        let offset = self.inputs.column(Input::Envelope(EnvelopeColumn::Offset));
        let data_type = match draw {
            Draw::Number => DataType::Float64,
            Draw::Integer => DataType::Int64,
            Draw::Uuid => DataType::Utf8,
        };
        let mut arguments = vec![offset, lit(self.draws.site(expr))];
        arguments.extend(bounds);
        Ok(Typed::new(functions::draw(draw, arguments), data_type))
    }

    /// `json_get(value, key, index, …)` and its kin.
    fn question(
        &mut self,
        expr: &ast::Expr,
        name: &str,
        question: Question,
        arguments: &[&ast::Expr],
    ) -> Result<Operand, SqlError> {
        let Some((value, steps)) = arguments.split_first() else {
            return Err(self.wrong_arity(expr, name, "a value, and then keys and indices"));
        };
        let operand = self.operand(value)?;
        let typed = self.settle(operand, ColumnType::Json)?;
        if !matches!(typed.kind(), Kind::Json | Kind::Text | Kind::Null) {
            let message = format!("{name} takes JSON, but {} is {}", written(value), typed.kind().describe());
            return Err(self.error(value, message));
        }
        let mut values = vec![cast_to(typed, &DataType::Utf8)];
        for step in steps {
            let operand = self.operand(step)?;
            let typed = self.settle(operand, ColumnType::Text)?;
            values.push(match typed.kind() {
                Kind::Text | Kind::Null => cast_to(typed, &DataType::Utf8),
                Kind::Integer => cast_to(typed, &DataType::Int64),
                kind => {
                    let message = format!("{} is {}", written(step), kind.describe());
                    return Err(self.error(step, message).hint("a key is a text, an index a whole number from 0"));
                }
            });
        }
        let is_json = question == Question::Value;
        let expr = functions::ask_json(question, values);
        Ok(Operand::Typed(Typed { expr, data_type: question.data_type(), is_json }))
    }

    /// `concat(a, b, …)`: a path gives what it holds as text, a number too (vendor protocol §5.2).
    fn concat(&mut self, expr: &ast::Expr, arguments: &[&ast::Expr]) -> Result<Operand, SqlError> {
        let Some(concat) = functions::scalar("concat") else { return Err(self.unsupported(expr)) };
        let mut texts = Vec::new();
        for argument in arguments {
            let typed = self.column(argument, ColumnType::Json)?;
            texts.push(match typed.kind() {
                Kind::Json => Typed::new(text_of(typed), DataType::Utf8),
                _ => typed,
            });
        }
        self.scalar_call(&concat, texts, expr).map(Operand::Typed)
    }

    /// Refuses what needs a message where there is none.
    fn check_message(&mut self, expr: &ast::Expr) -> Result<(), SqlError> {
        if !self.has_messages() {
            let error = self.error(expr, format!("{} is of a message, and the query reads none", written(expr)));
            return Err(error.hint("a table has columns instead"));
        }
        self.aggregates.check_message(self.source, &written(expr), start(expr))
    }
}
