//! The functions of rules: DataFusion's, made safe for what devices send, and a few of our own.
//!
//! Functions that depend on when or where they run are not among them (DESIGN: a rule means what the same SQL means
//! over past messages). Names with a `$` cannot be written in SQL.

mod arithmetic;
mod bytes;
mod digest;
mod first;
mod geo;
mod guard;
mod json;
mod list;
mod random;
mod text;
mod topic;

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use arrow::{
    array::new_null_array,
    datatypes::{DataType, Field, FieldRef},
};
use datafusion_common::config::ConfigOptions;
use datafusion_expr::{AggregateUDF, ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, Volatility};

pub(crate) use self::{
    arithmetic::Operation,
    digest::Algorithm,
    json::Question,
    list::{Element, list_type},
    random::Draw,
};

/// Functions that the planner knows by itself, as they are written.
pub(crate) const OWN: [&str; 31] = [
    "productId",
    "deviceName",
    "topic",
    "timestamp",
    "payload",
    "payloadLen",
    "qos",
    "crypto",
    "md5",
    "sha1",
    "sha256",
    "sha384",
    "sha512",
    "now",
    "today",
    "current_timestamp",
    "current_date",
    "coalesce",
    "ifnull",
    "nvl",
    "nvl2",
    "nullif",
    "greatest",
    "least",
    "requestId",
    "bin_to_dec",
    "random",
    "rand",
    "randint",
    "newuuid",
    "uuid",
];

/// Functions of DataFusion's inner workings, or whose result is not of one row.
const HIDDEN: [&str; 19] = [
    "arrow_cast",
    "arrow_field",
    "arrow_metadata",
    "arrow_try_cast",
    "arrow_typeof",
    "cast_to_type",
    "try_cast_to_type",
    "current_time",
    "file_row_index",
    "get_field",
    "input_file_name",
    "named_struct",
    "struct",
    "row",
    "to_local_time",
    "union_extract",
    "union_tag",
    "version",
    "with_metadata",
];

static SCALARS: LazyLock<BTreeMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let mut functions = datafusion_functions::all_default_functions();
    functions.extend(datafusion_functions_nested::all_default_nested_functions());
    functions.push(Arc::new(ScalarUDF::new_from_impl(geo::GeoDistance::new())));
    let mut names = BTreeMap::new();
    for function in functions {
        if function.signature().volatility != Volatility::Immutable || HIDDEN.contains(&function.name()) {
            continue;
        }
        let guarded = Arc::new(ScalarUDF::new_from_impl(guard::Guarded(Arc::clone(&function))));
        for name in function.aliases().iter().map(String::as_str).chain([function.name()]) {
            names.insert(name.to_owned(), Arc::clone(&guarded));
        }
    }
    names
});

static AGGREGATES: LazyLock<BTreeMap<String, Arc<AggregateUDF>>> = LazyLock::new(|| {
    let mut names = BTreeMap::new();
    for function in datafusion_functions_aggregate::all_default_aggregate_functions() {
        for name in function.aliases().iter().map(String::as_str).chain([function.name()]) {
            names.insert(name.to_owned(), Arc::clone(&function));
        }
    }
    names
});

/// `name` in lower case.
pub(crate) fn scalar(name: &str) -> Option<Arc<ScalarUDF>> {
    SCALARS.get(name).cloned()
}

/// `name` in lower case.
pub(crate) fn aggregate(name: &str) -> Option<Arc<AggregateUDF>> {
    AGGREGATES.get(name).cloned()
}

/// When the query runs: the same everywhere in it.
pub(crate) fn query_time(data_type: DataType) -> Expr {
    let now = datafusion_functions::datetime::now(&ConfigOptions::default());
    datafusion_expr::try_cast(now.call(Vec::new()), data_type)
}

/// Every name that can be called, to find the one that was meant.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    OWN.into_iter().chain(Question::names()).chain(SCALARS.keys().map(String::as_str))
}

pub(crate) fn aggregate_names() -> impl Iterator<Item = &'static str> {
    AGGREGATES.keys().map(String::as_str)
}

/// `left operation right`; both sides Float64 or both Int64.
pub(crate) fn arithmetic(operation: Operation, left: Expr, right: Expr) -> Expr {
    ScalarUDF::new_from_impl(arithmetic::Arithmetic::new(operation)).call(vec![left, right])
}

/// `left + right` or `left - right` with times and intervals.
pub(crate) fn time_arithmetic(subtract: bool, result: DataType, left: Expr, right: Expr) -> Expr {
    let inner = ScalarUDF::new_from_impl(arithmetic::TimeArithmetic::new(subtract, result));
    ScalarUDF::new_from_impl(guard::Guarded(Arc::new(inner))).call(vec![left, right])
}

/// Why a call with these constants fails whatever the other arguments are, if it does: they are NULL for the trial.
pub(crate) fn always_fails(
    function: &ScalarUDF,
    arguments: &[Expr],
    fields: &[FieldRef],
    result: &DataType,
) -> Option<String> {
    let guarded = function.inner().downcast_ref::<guard::Guarded>()?;
    let mut values = Vec::new();
    for (argument, field) in arguments.iter().zip(fields) {
        values.push(match argument {
            Expr::Literal(value, _) => ColumnarValue::Scalar(value.clone()),
            _ => ColumnarValue::Array(new_null_array(field.data_type(), 1)),
        });
    }
    guarded
        .attempt(ScalarFunctionArgs {
            args: values,
            arg_fields: fields.to_vec(),
            number_rows: 1,
            return_field: Arc::new(Field::new("", result.clone(), true)),
            config_options: Arc::new(ConfigOptions::default()),
        })
        .err()
        .map(|error| crate::plan::plain(&error))
}

/// Whether it is an operation of [`arithmetic`].
pub(crate) fn is_arithmetic(function: &ScalarUDF) -> bool {
    function.inner().is::<arithmetic::Arithmetic>()
}

/// A value as plain text.
pub(crate) fn plain_text(value: Expr, is_json: bool) -> Expr {
    ScalarUDF::new_from_impl(text::Text::new(is_json)).call(vec![value])
}

/// The level of a topic, from 1.
pub(crate) fn topic_level(topic: Expr, level: Expr) -> Expr {
    ScalarUDF::new_from_impl(topic::TopicLevel::new()).call(vec![topic, level])
}

/// The first of values of one type that is not NULL.
pub(crate) fn first(values: Vec<Expr>) -> Expr {
    ScalarUDF::new_from_impl(first::First::new()).call(values)
}

/// The digest of a text in lower-case hexadecimal.
pub(crate) fn digest(text: Expr, algorithm: Algorithm) -> Expr {
    ScalarUDF::new_from_impl(digest::Digest::new(algorithm)).call(vec![text])
}

/// The payload's bytes as a number.
pub(crate) fn bin_to_dec(payload: Expr) -> Expr {
    ScalarUDF::new_from_impl(bytes::BinToDec::new()).call(vec![payload])
}

/// What is drawn for a message: `arguments` are its offset, the number of the call, and the bounds if it has such.
pub(crate) fn draw(draw: Draw, arguments: Vec<Expr>) -> Expr {
    ScalarUDF::new_from_impl(random::Random::new(draw)).call(arguments)
}

/// What is found in a JSON text behind keys and indices.
pub(crate) fn ask_json(question: Question, arguments: Vec<Expr>) -> Expr {
    ScalarUDF::new_from_impl(json::Json::new(question)).call(arguments)
}

/// JSON text as a list.
pub(crate) fn json_list(json: Expr, element: Element) -> Expr {
    ScalarUDF::new_from_impl(list::List::new(element)).call(vec![json])
}
