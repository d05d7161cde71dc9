//! Which of its SELECT's draws a call is: two draws of one message differ, and the same one is the same wherever it is read.

use std::{collections::HashMap, ops::ControlFlow, ptr};

use sha2::{Digest as _, Sha256};
use sqlparser::ast::{Expr, ObjectNamePart, Query, visit_expressions};

/// Functions that draw.
pub(super) const NAMES: [&str; 5] = ["random", "rand", "randint", "newuuid", "uuid"];

/// The draws of a SELECT by the places of their nodes, which stay while it is planned.
#[derive(Debug, Clone, Default)]
pub(crate) struct Draws(HashMap<*const Expr, u64>);

impl Draws {
    /// Numbered in the order in which they are written.
    pub(crate) fn of(query: &Query) -> Self {
        let mut draws = HashMap::new();
        let _all: ControlFlow<()> = visit_expressions(query, |expr| {
            if is_draw(expr) {
                draws.insert(ptr::from_ref(expr), draws.len() as u64);
            }
            ControlFlow::Continue(())
        });
        Self(draws)
    }

    /// The number of a call. One that stands in a setting has a number of its own, by what it says.
    pub(super) fn site(&self, call: &Expr) -> u64 {
        self.0.get(&ptr::from_ref(call)).copied().unwrap_or_else(|| {
            let digest = Sha256::digest(call.to_string().to_lowercase());
            let number = digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
            // Unlike those of the SELECT.
            number | 1 << 63
        })
    }
}

fn is_draw(expr: &Expr) -> bool {
    let Expr::Function(function) = expr else { return false };
    match function.name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => NAMES.iter().any(|draw| name.value.eq_ignore_ascii_case(draw)),
        _ => false,
    }
}
