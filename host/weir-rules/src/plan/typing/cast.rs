//! `CAST(x AS type)` and `x::type`. A path takes the type in the payload; a value that has another is converted, and
//! NULL where it cannot be.

use arrow::{
    compute::can_cast_types,
    datatypes::{DataType, TimeUnit},
};
use sqlparser::{
    ast::{self, ArrayElemTypeDef, DataType as SqlType, ExactNumberInfo},
    tokenizer::Location,
};
use weir_core::seams::SqlError;

use super::{Typing, cast_to, written};
use crate::{
    error::{Hint, nearest},
    functions::{self, Element, list_type},
    plan::{
        inputs::time_type,
        operand::{Kind, Typed},
        start, text_of,
    },
    program::ColumnType,
};

/// The names that errors offer.
const NAMES: [&str; 11] =
    ["bigint", "int", "smallint", "double", "real", "text", "varchar", "boolean", "timestamp", "date", "time"];

impl Typing<'_> {
    pub(super) fn cast(&mut self, expr: &ast::Expr, inner: &ast::Expr, data_type: &SqlType) -> Result<Typed, SqlError> {
        let place = start(inner);
        if let Some(element) = self.list_element(data_type, place)? {
            let value = self.column(inner, ColumnType::Json)?;
            if !value.is_json {
                return Err(
                    self.error(expr, format!("only a path can become a list, but {} is no path", written(inner)))
                );
            }
            return Ok(Typed::new(functions::json_list(value.expr, element), list_type(element)));
        }
        let data_type = self.data_type(data_type, place)?;
        let demand = match Kind::of(&data_type) {
            Kind::Integer => ColumnType::Integer,
            Kind::Number => ColumnType::Number,
            Kind::Boolean => ColumnType::Boolean,
            _ => ColumnType::Text,
        };
        let operand = self.operand(inner)?;
        let typed = self.settle(operand, demand)?;
        match (typed.kind(), Kind::of(&data_type)) {
            (Kind::Json, _) => Err(self
                .error(inner, format!("{} is JSON of any type here and cannot become another", written(inner)))
                .hint(format!("where it is grouped, write GROUP BY {}", written(expr)))),
            (Kind::Integer | Kind::Number | Kind::Boolean | Kind::Time | Kind::Interval, Kind::Text) => {
                Ok(Typed::new(text_of(typed), data_type))
            }
            (Kind::Other, Kind::Text) if typed.data_type.is_binary() => {
                Ok(Typed::new(cast_to(typed, &data_type), data_type))
            }
            (Kind::Other, _) => Err(self.error(inner, format!("{} is {}", written(inner), Kind::Other.describe()))),
            // A text of a literal is checked now, another when it comes.
            (Kind::Text, Kind::Time) if matches!(typed.expr, datafusion_expr::Expr::Literal(..)) => {
                self.literal_as(typed, &data_type, place)
            }
            (Kind::Integer | Kind::Number, Kind::Time) => Err(self
                .error(inner, format!("{} is a number and says no unit", written(inner)))
                .hint("write to_timestamp_millis(x) or to_timestamp_seconds(x)")),
            (Kind::Time, Kind::Integer | Kind::Number) => Err(self
                .error(inner, format!("{} is a time, and a number says no unit", written(inner)))
                .hint("write to_unixtime(x) or extract(epoch FROM x)")),
            (kind, to) if !can_cast_types(&typed.data_type, &data_type) => Err(self.error(
                inner,
                format!("{} is {} and cannot become {}", written(inner), kind.describe(), to.describe()),
            )),
            _ => Ok(Typed::new(cast_to(typed, &data_type), data_type)),
        }
    }

    fn list_element(&self, data_type: &SqlType, place: Location) -> Result<Option<Element>, SqlError> {
        let SqlType::Array(element) = data_type else { return Ok(None) };
        let (ArrayElemTypeDef::SquareBracket(element, _)
        | ArrayElemTypeDef::AngleBracket(element)
        | ArrayElemTypeDef::Parenthesis(element)) = element
        else {
            return Err(self.source.error(place, "a list needs a type of its elements").hint("write double[]"));
        };
        match Kind::of(&self.data_type(element, place)?) {
            Kind::Integer => Ok(Some(Element::Integer)),
            Kind::Number => Ok(Some(Element::Number)),
            Kind::Text => Ok(Some(Element::Text)),
            Kind::Boolean => Ok(Some(Element::Boolean)),
            _ => Err(self
                .source
                .error(place, format!("a list of {element} is not supported"))
                .hint("write double[], bigint[], text[] or boolean[]")),
        }
    }

    /// The Arrow type of a SQL type.
    pub(super) fn data_type(&self, data_type: &SqlType, place: Location) -> Result<DataType, SqlError> {
        use SqlType as S;
        Ok(match data_type {
            S::BigInt(_) | S::Int8(_) | S::Int64 | S::Signed | S::SignedInteger => DataType::Int64,
            S::Int(_) | S::Integer(_) | S::Int4(_) | S::Int32 => DataType::Int32,
            S::SmallInt(_) | S::Int2(_) | S::Int16 => DataType::Int16,
            S::TinyInt(_) => DataType::Int8,
            S::Double(_) | S::DoublePrecision | S::Float8 | S::Float64 | S::Float(ExactNumberInfo::None) => {
                DataType::Float64
            }
            S::Real | S::Float4 | S::Float32 => DataType::Float32,
            S::Text
            | S::String(None)
            | S::Varchar(None)
            | S::Char(None)
            | S::Character(None)
            | S::CharacterVarying(None)
            | S::CharVarying(None) => DataType::Utf8,
            S::Bool | S::Boolean => DataType::Boolean,
            S::Timestamp(None, _) | S::TimestampNtz(None) | S::Datetime(None) => time_type(),
            S::Date | S::Date32 => DataType::Date32,
            S::Time(None, _) => DataType::Time64(TimeUnit::Microsecond),
            S::Varchar(Some(_)) | S::Char(Some(_)) | S::Character(Some(_)) | S::String(Some(_)) => {
                let error = self.source.error(place, format!("type {data_type} with a length is not supported"));
                return Err(error.hint("write text, or left(x, n) to shorten one"));
            }
            S::Numeric(_) | S::Decimal(_) | S::Dec(_) => {
                let error = self.source.error(place, format!("type {data_type} is not supported"));
                return Err(error.hint("write double, or round(x, n) for n digits"));
            }
            other => {
                let written = other.to_string();
                let error = self.source.error(place, format!("there is no type {written}"));
                return Err(match nearest(&written, NAMES) {
                    Some(near) => error.hint_nearest(Some(near)),
                    None => error.hint(format!("types are {}", NAMES.join(", "))),
                });
            }
        })
    }
}
