//! The rules of a set, and everything that is found by number while a batch waits.

use std::{
    iter,
    sync::{Arc, OnceLock},
};

use arrow::array::ArrayRef;
use datafusion_common::{Result, ScalarValue};
use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;
use weir_core::RuleName;

use super::{
    batch::Reader,
    expression::{Expression, Shape},
    route::Router,
    rule::{Rule, Value},
};
use crate::program::Input;

/// Rules in the order in which they are evaluated: those that read the same beside each other.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) rules: Vec<Arc<Rule>>,
    pub(super) names: HashMap<RuleName, usize>,
    /// For each rule what it is made of, by number.
    pub(super) parts: Vec<Parts>,
    pub(super) inputs: Arc<[Input]>,
    pub(super) expressions: Vec<Numbered>,
    /// For each shape the literals of its expressions: a column for each literal.
    pub(super) literals: Vec<Vec<ArrayRef>>,
    pub(super) router: Router,
}

#[derive(Debug)]
pub(super) struct Parts {
    pub(super) predicate: Option<u32>,
    /// Shared by the rules that have the same.
    pub(super) values: Arc<[Part]>,
    /// What it reads of payloads, if it reads them as JSON.
    pub(super) inputs: Option<Arc<[u32]>>,
    /// What reads that for this rule alone.
    reader: OnceLock<Arc<Reader>>,
}

/// A value of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Input { number: u32, is_json: bool },
    Literal,
    Computed { expression: u32, is_json: bool },
}

/// An expression with its numbers.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) expression: Arc<Expression>,
    pub(super) shape: u32,
    /// Which of the expressions of its shape it is.
    pub(super) place: u32,
    pub(super) inputs: SmallVec<[u32; 4]>,
}

impl Index {
    pub(super) fn new(mut rules: Vec<Arc<Rule>>) -> Result<Self> {
        let mut order = HashMap::new();
        for rule in &rules {
            let next = order.len();
            order.entry(reads(rule)).or_insert(next);
        }
        rules.sort_by_key(|rule| order.get(&reads(rule)).copied());

        let mut numbers = Numbers::default();
        let parts: Vec<Parts> = rules.iter().map(|rule| numbers.parts(rule)).collect();
        let literals = numbers.literals()?;
        let names = rules.iter().enumerate().map(|(number, rule)| (rule.name.clone(), number)).collect();
        let inputs: Arc<[Input]> = numbers.inputs.into();
        let routes = rules.iter().zip(&parts).map(|(rule, parts)| (rule.sources.as_slice(), parts.inputs.as_ref()));
        let router = Router::new(routes, Arc::clone(&inputs));
        Ok(Self { rules, names, parts, inputs, expressions: numbers.expressions, literals, router })
    }
}

/// What a rule reads, by address: rules share what is equal.
fn reads(rule: &Rule) -> (Option<*const [Input]>, Option<*const Shape>) {
    (rule.inputs.as_ref().map(Arc::as_ptr), rule.predicate.as_ref().map(|predicate| Arc::as_ptr(&predicate.shape)))
}

impl Parts {
    /// What reads payloads for this rule alone.
    pub(super) fn reader(&self, inputs: &[Input]) -> Option<Arc<Reader>> {
        let numbers = self.inputs.as_ref()?;
        Some(Arc::clone(self.reader.get_or_init(|| Arc::new(Reader::new(numbers.iter().copied(), inputs)))))
    }
}

/// Numbers as they are given out.
#[derive(Default)]
struct Numbers {
    inputs: Vec<Input>,
    by_input: HashMap<Input, u32>,
    lists: HashMap<*const [Input], Arc<[u32]>>,
    values: HashSet<Arc<[Part]>>,
    expressions: Vec<Numbered>,
    by_expression: HashMap<*const Expression, u32>,
    by_shape: HashMap<*const Shape, u32>,
    /// For each shape its expressions.
    shapes: Vec<Vec<Arc<Expression>>>,
}

impl Numbers {
    fn parts(&mut self, rule: &Rule) -> Parts {
        let predicate = rule.predicate.as_ref().map(|predicate| self.expression(predicate));
        // Settings stand behind the columns, and are plain text.
        let is_json = rule.rows.columns().map(|(_, is_json)| is_json).chain(iter::repeat(false));
        let values = rule.values.iter().zip(is_json).map(|(value, is_json)| match value {
            Value::Input(input) => Part::Input { number: self.input(input), is_json },
            Value::Literal(_) => Part::Literal,
            Value::Computed(expression) => Part::Computed { expression: self.expression(expression), is_json },
        });
        let values: Arc<[Part]> = values.collect();
        let values = Arc::clone(self.values.get_or_insert(values));
        let inputs = rule.inputs.as_ref().map(|inputs| {
            if let Some(list) = self.lists.get(&Arc::as_ptr(inputs)) {
                return Arc::clone(list);
            }
            let list: Arc<[u32]> = inputs.iter().map(|input| self.input(input)).collect();
            self.lists.insert(Arc::as_ptr(inputs), Arc::clone(&list));
            list
        });
        Parts { predicate, values, inputs, reader: OnceLock::new() }
    }

    fn input(&mut self, input: &Input) -> u32 {
        if let Some(number) = self.by_input.get(input) {
            return *number;
        }
        let number = self.inputs.len() as u32;
        self.inputs.push(input.clone());
        self.by_input.insert(input.clone(), number);
        number
    }

    fn expression(&mut self, expression: &Arc<Expression>) -> u32 {
        if let Some(number) = self.by_expression.get(&Arc::as_ptr(expression)) {
            return *number;
        }
        let inputs = expression.inputs.iter().map(|input| self.input(input)).collect();
        let shape = *self.by_shape.entry(Arc::as_ptr(&expression.shape)).or_insert_with(|| {
            self.shapes.push(Vec::new());
            (self.shapes.len() - 1) as u32
        });
        let mut place = 0;
        if let Some(alike) = self.shapes.get_mut(shape as usize) {
            place = alike.len() as u32;
            alike.push(Arc::clone(expression));
        }
        let number = self.expressions.len() as u32;
        self.expressions.push(Numbered { expression: Arc::clone(expression), shape, place, inputs });
        self.by_expression.insert(Arc::as_ptr(expression), number);
        number
    }

    fn literals(&self) -> Result<Vec<Vec<ArrayRef>>> {
        let columns = |alike: &Vec<Arc<Expression>>| {
            let count = alike.first().map_or(0, |expression| expression.literals.len());
            let column = |literal: usize| {
                ScalarValue::iter_to_array(alike.iter().filter_map(|one| one.literals.get(literal).cloned()))
            };
            (0..count).map(column).collect()
        };
        self.shapes.iter().map(columns).collect()
    }
}
