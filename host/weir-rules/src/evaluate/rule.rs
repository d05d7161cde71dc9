//! Rules as a set holds them, and what they share.

use std::sync::{Arc, OnceLock};

use datafusion_common::{Result, ScalarValue};
use hashbrown::HashSet;
use weir_core::{RuleName, TopicFilter};

use super::{
    prepare::{ErrorSettings, Prepared, Stage},
    reader::Reader,
};
use crate::program::{Input, Program};

/// A rule, ready to run.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: RuleName,
    pub(super) sources: Vec<TopicFilter>,
    pub(super) own: Arc<Prepared>,
    /// The same with parameters for its literals: equal for rules that differ in nothing else.
    pub(super) shape: Arc<Prepared>,
    pub(super) parameters: Vec<ScalarValue>,
    pub(super) errors: ErrorSettings,
    /// What it reads of payloads, if it reads them as JSON.
    pub(super) inputs: Option<Arc<[Input]>>,
    reader: OnceLock<Arc<Reader>>,
}

impl Rule {
    /// What reads payloads for this rule alone.
    pub(super) fn reader(&self) -> Option<Arc<Reader>> {
        let inputs = self.inputs.as_ref()?;
        Some(Arc::clone(self.reader.get_or_init(|| Arc::new(Reader::new(inputs.iter())))))
    }
}

/// What the rules of a set have in common, each once.
#[derive(Debug, Default)]
pub(super) struct Shared {
    prepared: HashSet<Arc<Prepared>>,
    predicates: HashSet<Arc<Stage>>,
    inputs: HashSet<Arc<[Input]>>,
}

impl Shared {
    /// What these rules have in common already.
    pub(super) fn of<'a>(rules: impl Iterator<Item = &'a Arc<Rule>>) -> Self {
        let mut shared = Self::default();
        // Comparing addresses first spares hashing what was hashed before.
        let mut known = HashSet::new();
        for rule in rules {
            if known.insert(Arc::as_ptr(&rule.shape)) {
                shared.prepared.insert(Arc::clone(&rule.shape));
                shared.predicates.extend(rule.shape.predicate.clone());
            }
            if known.insert(Arc::as_ptr(&rule.own)) {
                shared.predicates.extend(rule.own.predicate.clone());
            }
            shared.inputs.extend(rule.inputs.clone());
        }
        shared
    }

    pub(super) fn rule(&mut self, program: Program) -> Result<Rule> {
        let (shape, parameters) = Prepared::shape(&program)?;
        let shape = self.prepared(shape);
        let own = if parameters.is_empty() {
            Arc::clone(&shape)
        } else {
            Arc::new(self.with_predicate(Prepared::new(&program)?))
        };
        let errors = ErrorSettings::new(&program)?;
        let inputs = if own.reads_json { Some(self.inputs(&program)) } else { None };
        let Program { name, sources, .. } = program;
        Ok(Rule { name, sources, own, shape, parameters, errors, inputs, reader: OnceLock::new() })
    }

    fn prepared(&mut self, prepared: Prepared) -> Arc<Prepared> {
        if let Some(known) = self.prepared.get(&prepared) {
            return Arc::clone(known);
        }
        let prepared = Arc::new(self.with_predicate(prepared));
        self.prepared.insert(Arc::clone(&prepared));
        prepared
    }

    fn with_predicate(&mut self, prepared: Prepared) -> Prepared {
        let predicate = prepared.predicate.map(|predicate| Arc::clone(self.predicates.get_or_insert(predicate)));
        Prepared { predicate, ..prepared }
    }

    fn inputs(&mut self, program: &Program) -> Arc<[Input]> {
        let is_read = |input: &&Input| matches!(input, Input::Path { .. } | Input::PayloadJson);
        let inputs: Arc<[Input]> = program.inputs.iter().filter(is_read).cloned().collect();
        Arc::clone(self.inputs.get_or_insert(inputs))
    }
}
