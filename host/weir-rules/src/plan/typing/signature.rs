//! Which types the open arguments of a call take: the first that the function's signature accepts as they are.

use arrow::datatypes::{DataType, FieldRef};
use datafusion_expr::{ScalarUDF, type_coercion::functions::fields_with_udf};
use sqlparser::ast;
use weir_core::seams::SqlError;

use super::{Typing, as_type, call::field, written};
use crate::{
    error::Hint,
    plan::{
        inputs::column_data_type,
        operand::{Kind, Operand},
    },
    program::ColumnType,
};

/// Combinations of types that are tried for the open arguments of one call.
const MAX_TRIALS: usize = 256;

impl Typing<'_> {
    /// The types for the open arguments: declared ones first, then by what the function is about.
    pub(super) fn fitting(
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

    pub(super) fn no_argument_type(
        &self,
        udf: &ScalarUDF,
        count: usize,
        side: &ast::Expr,
        expr: &ast::Expr,
    ) -> SqlError {
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
