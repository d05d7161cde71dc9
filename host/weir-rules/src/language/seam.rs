//! The language as the hub sees it.

use std::sync::Arc;

use weir_core::{
    seams::{Evaluator, Language, SqlError},
    statement::Statement,
};

/// The rule language.
#[derive(Debug, Clone, Copy, Default)]
pub struct SqlLanguage;

impl Language for SqlLanguage {
    fn parse(&self, script: &str) -> Result<Vec<Statement>, SqlError> {
        super::parse(script)
    }

    fn evaluator(&self) -> Arc<dyn Evaluator> {
        Arc::new(crate::evaluate::RuleSet::empty())
    }
}
