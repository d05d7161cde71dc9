//! Windows as they are written: `tumble('1 minute')`, `hop('5 minutes', '1 minute')`, `session('30 seconds')`.

use sqlparser::{
    ast::{
        self, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, ObjectNamePart, Query,
        SetExpr, Spanned, Value, ValueWithSpan,
    },
    tokenizer::Location,
};
use weir_core::seams::SqlError;

use crate::{
    error::{Hint, Source, nearest},
    window::{Frame, zone},
};

/// The functions that make windows, with how they are written.
pub(crate) const WINDOWS: [(&str, &str); 3] = [
    ("tumble", "tumble('1 minute') or tumble('1 day', 'Europe/Berlin')"),
    ("hop", "hop('5 minutes', '1 minute'): a window of five minutes begins every minute"),
    ("session", "session('30 seconds'): a window ends when nothing comes for as long"),
];

/// The columns of a window.
pub(crate) const COLUMNS: [&str; 2] = ["window_start", "window_end"];

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;
/// The longest window, and the longest time that anything waits for.
const MAX: i64 = 366 * DAY;
/// Windows of a hop that one message can be in.
const MAX_OVERLAP: i64 = 1_440;

/// Whether a query groups by a window.
pub(crate) fn is_windowed(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let GroupByExpr::Expressions(keys, _) = &select.group_by else { return false };
    keys.iter().any(|key| call(key).is_some())
}

/// The call of a window function that an expression is, and the function's name.
pub(crate) fn call(expr: &Expr) -> Option<(&Function, &'static str)> {
    let Expr::Function(function) = expr else { return None };
    let [ObjectNamePart::Identifier(ident)] = function.name.0.as_slice() else { return None };
    let known = WINDOWS.iter().find(|(name, _)| ident.value.eq_ignore_ascii_case(name))?;
    Some((function, known.0))
}

/// The window that a call stands for.
pub(crate) fn frame(source: &Source<'_>, expr: &Expr) -> Result<Frame, SqlError> {
    let place = expr.span().start;
    let Some((function, name)) = call(expr) else { return Err(source.error(place, "expected a window")) };
    let form = WINDOWS.iter().find(|(known, _)| *known == name).map_or("", |(_, form)| form);
    let arguments = arguments(function);
    match (name, arguments.as_deref()) {
        ("tumble", Some([width])) => Ok(Frame::Tumble { width: length(source, width)?.0, zone: None }),
        ("tumble", Some([width, zone])) => zoned(source, width, zone),
        ("hop", Some([width, slide])) => {
            let ((width, place), (slide, slide_place)) = (length(source, width)?, length(source, slide)?);
            if width % slide != 0 {
                return Err(source
                    .error(slide_place, "the width of hop(width, slide) is no multiple of its slide")
                    .hint("such as hop('5 minutes', '1 minute')"));
            }
            if width / slide > MAX_OVERLAP {
                let message =
                    format!("each message would be in {} windows, and may be in {MAX_OVERLAP}", width / slide);
                return Err(source.error(place, message).hint("take a longer slide"));
            }
            Ok(Frame::Hop { width, slide })
        }
        ("session", Some([gap])) => Ok(Frame::Session { gap: length(source, gap)?.0 }),
        _ => Err(source
            .error(place, format!("{name} cannot be called with these arguments"))
            .hint(format!("write {form}"))),
    }
}

fn zoned(source: &Source<'_>, width: &Expr, zone: &Expr) -> Result<Frame, SqlError> {
    let (width, place) = length(source, width)?;
    let (name, zone_place) = match text(zone) {
        Some(found) => found,
        None => return Err(source.error(zone.span().start, "a time zone is a text, such as 'Europe/Berlin'")),
    };
    let Ok(zone) = name.parse() else {
        let error = source.error(zone_place, format!("there is no time zone {name}"));
        return Err(match nearest(name, zone::names()) {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.hint("zones are named as in 'Europe/Berlin'"),
        });
    };
    if width % DAY != 0 && DAY % width != 0 {
        return Err(source
            .error(place, "a window in a time zone must divide a day, or be whole days")
            .hint("such as tumble('15 minutes', 'Europe/Berlin')"));
    }
    Ok(Frame::Tumble { width, zone: Some(zone) })
}

fn arguments(function: &Function) -> Option<Vec<&Expr>> {
    let plain = function.over.is_none() && function.filter.is_none() && function.within_group.is_empty();
    let FunctionArguments::List(list) = &function.args else { return None };
    if !plain || list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
        return None;
    }
    let argument = |argument: &'_ FunctionArg| matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Expr(_)));
    if !list.args.iter().all(argument) {
        return None;
    }
    let arguments = list.args.iter().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    Some(arguments.collect())
}

fn text(expr: &Expr) -> Option<(&str, Location)> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), span }) => Some((text, span.start)),
        // INTERVAL '1 minute'
        Expr::Interval(ast::Interval { value, leading_field: None, .. }) => text(value),
        _ => None,
    }
}

/// A length in milliseconds, and where it stands.
fn length(source: &Source<'_>, expr: &Expr) -> Result<(i64, Location), SqlError> {
    match text(expr) {
        Some((text, place)) => Ok((duration(source, text, place)?, place)),
        None => Err(source
            .error(expr.span().start, "the length of a window is a text, the same for all messages")
            .hint("such as '30 seconds' or '1 minute'")),
    }
}

/// `30 seconds`, `1 hour 30 minutes`, `500 ms` in milliseconds.
pub(crate) fn duration(source: &Source<'_>, text: &str, place: Location) -> Result<i64, SqlError> {
    let wrong = || {
        source
            .error(place, format!("'{text}' is no length of time"))
            .hint("write a whole number with ms, seconds, minutes, hours, days or weeks, such as '30 seconds'")
    };
    let mut sum = 0_i64;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let tail = tail.trim_start();
        let letters = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit = match unit.to_lowercase().as_str() {
            "ms" | "millisecond" | "milliseconds" => 1,
            "s" | "sec" | "second" | "seconds" => 1_000,
            "m" | "min" | "minute" | "minutes" => MINUTE,
            "h" | "hour" | "hours" => HOUR,
            "d" | "day" | "days" => DAY,
            "w" | "week" | "weeks" => 7 * DAY,
            _ => return Err(wrong()),
        };
        let part = number.parse::<i64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)?;
        sum = sum.checked_add(part).ok_or_else(wrong)?;
        rest = tail.trim_start();
    }
    match sum {
        0 => Err(wrong()),
        sum if sum > MAX => Err(source.error(place, format!("'{text}' is longer than 366 days"))),
        sum => Ok(sum),
    }
}
