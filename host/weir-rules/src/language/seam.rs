//! The language as the hub sees it.

use std::sync::Arc;

use weir_core::{
    seams::{Catalog, Evaluator, Language, Probe, SqlError},
    statement::{RuleDefinition, Statement},
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

    fn probe(&self, rule: &RuleDefinition, catalog: &Catalog) -> Result<Arc<dyn Probe>, SqlError> {
        crate::plan::probe(rule, catalog)
    }
}
