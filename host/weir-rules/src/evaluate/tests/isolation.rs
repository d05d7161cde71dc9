//! Rules evaluated together: what fails in one row of one rule fails there alone, and what a condition keeps from being
//! evaluated is not.

use std::{fmt, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch},
    datatypes::{DataType, Int64Type, Schema},
};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{ColumnarValue, Operator};
use datafusion_physical_expr::{
    PhysicalExpr,
    expressions::{BinaryExpr, CaseExpr, Column, lit},
};
use weir_core::seams::Evaluator as _;

use super::{messages, payloads};
use crate::{
    evaluate::RuleSet,
    program::{ColumnType, Input, JsonPath, Output, OutputColumn, Program, Step},
};

type Expr = Arc<dyn PhysicalExpr>;

/// `SELECT value AS q FROM 't/n' WHERE predicate`, where column 0 is `a` as an integer.
fn program(n: i64, predicate: Option<Expr>, value: Expr) -> Program {
    Program {
        name: format!("rule_{n}").parse().unwrap(),
        sources: vec![format!("t/{n}").parse().unwrap()],
        inputs: vec![Input::Path { path: JsonPath([Step::Key("a".into())].into()), column_type: ColumnType::Integer }],
        predicate,
        output: Output {
            star: false,
            columns: vec![OutputColumn { name: "q".to_owned(), expression: value, is_json: false }],
        },
        arguments: vec![vec![]],
        error_arguments: vec![],
        windows: None,
        joins: None,
    }
}

fn a() -> Expr {
    Arc::new(Column::new("a", 0))
}

fn binary(left: Expr, operator: Operator, right: Expr) -> Expr {
    Arc::new(BinaryExpr::new(left, operator, right))
}

/// `n / a`, with the division of Arrow, which fails at zero.
fn divided(n: i64) -> Expr {
    binary(lit(n), Operator::Divide, a())
}

/// What became of a message: a row, no row, or a failure.
#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    Row(String),
    None,
    Failed(&'static str),
}

fn row(q: i64) -> Outcome {
    Outcome::Row(format!(r#"{{"q":{q}}}"#))
}

/// Runs one rule over few rows and over many, and several rules of one shape over few, so that each way of evaluation
/// is taken. `program` makes the rule of a number (from 10 on), `expected` says what it makes of a value of `a`.
fn check(values: &[i64], program: impl Fn(i64) -> Program, expected: impl Fn(i64, i64) -> Outcome) {
    for (rules, rows) in [(1, 20), (1, 200), (3, 60), (40, 400)] {
        let programs = (0..rules).map(|n| program(10 + n as i64)).collect();
        let set = RuleSet::empty().with_programs(programs).map_err(|(_, error)| error).unwrap();
        // Every rule meets every value, in an order of its own.
        let batch: Vec<_> =
            (0..rows).map(|i| (10 + (i % rules) as i64, values[(i / rules + i) % values.len()])).collect();
        let texts: Vec<_> = batch.iter().map(|(n, a)| (format!("t/{n}"), format!("{{\"a\":{a}}}"))).collect();
        let texts: Vec<_> = texts.iter().map(|(topic, payload)| (topic.as_str(), payload.as_str())).collect();
        let mut found = vec![Outcome::None; rows];
        for evaluation in set.evaluate(&messages(&texts)) {
            let own = |row: usize| evaluation.rule.as_str() == format!("rule_{}", batch[row].0);
            for made in &evaluation.actions {
                for (source, payload) in made.source.iter().zip(payloads(made)) {
                    assert!(own(*source as usize), "a row of another rule");
                    found[*source as usize] = Outcome::Row(payload);
                }
            }
            if let Some(failures) = &evaluation.failures {
                for (source, reason) in failures.source.iter().zip(&failures.reasons) {
                    assert!(own(*source as usize), "a failure of another rule");
                    let known = ["division by zero", "an expression failed", "a value is too large"];
                    let reason = known.into_iter().find(|known| known == reason).unwrap();
                    found[*source as usize] = Outcome::Failed(reason);
                }
            }
            assert_eq!(evaluation.read, evaluation.matched + evaluation.unmatched + evaluation.failed);
        }
        let expected: Vec<_> = batch.iter().map(|(n, a)| expected(*n, *a)).collect();
        assert_eq!(found, expected, "{rules} rules, {rows} rows");
    }
}

#[test]
fn a_row_that_fails_in_an_expression_fails_alone() {
    let expected = |n: i64, a: i64| if a == 0 { Outcome::Failed("division by zero") } else { row(n / a) };
    check(&[0, 1, 2, 3, 4, 5, 6], |n| program(n, None, divided(n)), expected);
    let only_large = |n: i64, a: i64| if a != 0 && n / a <= 4 { Outcome::None } else { expected(n, a) };
    let predicate = |n| binary(divided(n), Operator::Gt, lit(4_i64));
    check(&[0, 1, 2, 3, 4, 5, 6], |n| program(n, Some(predicate(n)), divided(n)), only_large);
    // All rows of all rules.
    check(&[0], |n| program(n, None, divided(n)), expected);
    check(&[0], |n| program(n, Some(predicate(n)), divided(n)), expected);
}

#[test]
fn what_a_condition_guards_does_not_fail() {
    let values = [0, 1, 2, 3, 4, 5, 6];
    let is_zero = || binary(a(), Operator::Eq, lit(0_i64));
    let is_not_zero = || binary(a(), Operator::NotEq, lit(0_i64));
    let is_large = |n| binary(divided(n), Operator::Gt, lit(4_i64));
    let and = |n| binary(is_not_zero(), Operator::And, is_large(n));
    check(
        &values,
        |n| program(n, Some(and(n)), divided(n)),
        |n, a| if a != 0 && n / a > 4 { row(n / a) } else { Outcome::None },
    );
    let or = |n| binary(is_zero(), Operator::Or, is_large(n));
    check(&values, |n| program(n, Some(or(n)), a()), |n, a| if a == 0 || n / a > 4 { row(a) } else { Outcome::None });
    let case = |n| -> Expr {
        Arc::new(CaseExpr::try_new(None, vec![(is_not_zero(), divided(n))], Some(lit(-1_i64))).unwrap())
    };
    check(&values, |n| program(n, None, case(n)), |n, a| row(if a == 0 { -1 } else { n / a }));
    check(
        &values,
        |n| program(n, Some(binary(case(n), Operator::NotEq, lit(-1_i64))), case(n)),
        |n, a| if a == 0 { Outcome::None } else { row(n / a) },
    );
}

/// Its operand, but for values that bring out what an engine may do: 7 panics; beyond 100 only single rows can be
/// evaluated, and give columns that cannot be put together where one is odd and another is even.
#[derive(Debug)]
struct Awkward(Expr);

impl PartialEq for Awkward {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref() == other.0.as_ref()
    }
}

impl Eq for Awkward {}

impl std::hash::Hash for Awkward {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Display for Awkward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "awkward({})", self.0)
    }
}

impl PhysicalExpr for Awkward {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn nullable(&self, _: &Schema) -> Result<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let array = self.0.evaluate(batch)?.into_array(batch.num_rows())?;
        let values: &Int64Array = array.as_primitive::<Int64Type>();
        assert!(!values.values().contains(&7), "seven");
        if values.values().iter().all(|value| *value <= 100) {
            return Ok(ColumnarValue::Array(array));
        }
        let array: ArrayRef = match values.values()[..] {
            [value] if value % 2 == 1 => Arc::new(Float64Array::from(vec![value as f64])),
            [_] => array,
            _ => return exec_err!("too many"),
        };
        Ok(ColumnarValue::Array(array))
    }

    fn children(&self) -> Vec<&Expr> {
        vec![&self.0]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Expr>) -> Result<Expr> {
        Ok(Arc::new(Self(children.into_iter().next().unwrap())))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn awkward(n: i64) -> Expr {
    Arc::new(Awkward(binary(binary(a(), Operator::Plus, lit(n)), Operator::Minus, lit(n))))
}

#[test]
fn a_row_that_panics_in_an_expression_fails_alone() {
    let expected = |_, a| if a == 7 { Outcome::Failed("an expression failed") } else { row(a) };
    check(&[5, 6, 7, 8], |n| program(n, None, awkward(n)), expected);
    let is_large = |n| binary(awkward(n), Operator::Gt, lit(5_i64));
    let expected = |_, a| if a == 5 { Outcome::None } else { expected(0, a) };
    check(&[5, 6, 7, 8], |n| program(n, Some(is_large(n)), a()), expected);
}

#[test]
fn values_that_do_not_fit_into_one_column_fail_their_rule_alone() {
    let programs = (10..13).map(|n| program(n, None, awkward(n))).collect();
    let set = RuleSet::empty().with_programs(programs).map_err(|(_, error)| error).unwrap();
    // The values of rule 10 do not go together.
    let batch = [("t/10", 101), ("t/11", 1), ("t/12", 104), ("t/10", 102), ("t/11", 2), ("t/12", 106), ("t/10", 3)];
    let texts = batch.map(|(topic, a)| (topic, format!("{{\"a\":{a}}}")));
    let found = set.evaluate(&messages(&texts.each_ref().map(|(topic, payload)| (*topic, payload.as_str()))));
    let rows = found.iter().map(|evaluation| evaluation.actions.first().map(payloads).unwrap_or_default());
    let rows: Vec<_> = rows.collect();
    assert_eq!(
        rows,
        [
            vec![],
            vec![r#"{"q":1}"#.to_owned(), r#"{"q":2}"#.to_owned()],
            vec![r#"{"q":104}"#.to_owned(), r#"{"q":106}"#.to_owned()]
        ]
    );
    let failed: Vec<_> = found.iter().map(|evaluation| evaluation.failed).collect();
    assert_eq!(failed, [3, 0, 0]);
    assert_eq!(found[0].failures.as_ref().unwrap().reasons, ["an expression failed"; 3]);
}
