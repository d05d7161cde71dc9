//! Rules with windows, over the messages of a file: what closes must not depend on how the messages come in batches, nor on
//! whether the state is saved and read again between them.

use std::fmt::Write as _;

use weir_core::{
    seams::Evaluator,
    statement::RuleDefinition,
    windows::{WindowLimits, WindowRow, WindowStream, WindowTally, Windows, rows_topic},
};

use super::world::{CaseError, World, apply, describe, message, records};

impl World {
    /// What the windows of the one rule of a script make of batches of these sizes; if `saved`, the state goes through its
    /// saved form after each.
    pub fn windows(
        &self,
        script: &str,
        sizes: &[usize],
        saved: bool,
    ) -> Result<(Vec<WindowRow>, WindowTally), CaseError> {
        let (evaluator, rules) = apply(script, &self.catalog)?;
        let rule = rules.first().ok_or_else(|| CaseError::Wrong("the script has no rule".to_owned()))?;
        self.run_windows(evaluator.as_ref(), rule, sizes, saved)
    }

    fn run_windows(
        &self,
        evaluator: &dyn Evaluator,
        rule: &RuleDefinition,
        sizes: &[usize],
        saved: bool,
    ) -> Result<(Vec<WindowRow>, WindowTally), CaseError> {
        let wrong = |reason: String| CaseError::Wrong(format!("rule {}: {reason}", rule.name));
        let open = |state: Option<&[u8]>| -> Result<Box<dyn Windows>, CaseError> {
            let opened = evaluator.windows(&rule.name, state, WindowLimits::default());
            let opened = opened.ok_or_else(|| wrong("it has no windows".to_owned()))?;
            opened.lost.map_or(Ok(opened.windows), |reason| Err(wrong(format!("its state is lost: {reason}"))))
        };
        let mut windows = open(None)?;
        let (mut rows, mut from) = (Vec::<WindowRow>::new(), 0);
        for size in sizes {
            let batch = self.messages.get(from..from + size).unwrap_or_default();
            rows.extend(windows.push(&records(batch, from)?));
            from += size;
            if saved {
                windows = open(Some(&windows.save().map_err(wrong)?))?;
            }
        }
        if !rows.is_sorted_by(|a, b| a.mark < b.mark) {
            return Err(wrong("its rows are not in their order".to_owned()));
        }
        Ok((rows, windows.tally()))
    }

    /// The rows of a rule, late messages, and the counts that are not zero.
    pub(super) fn describe_windows(
        &self,
        evaluator: &dyn Evaluator,
        rule: &RuleDefinition,
        is_select: bool,
        text: &mut String,
    ) -> Result<(), CaseError> {
        let count = self.messages.len();
        let whole = self.run_windows(evaluator, rule, &[count], false)?;
        let each = vec![1; count];
        for saved in [false, true] {
            if self.run_windows(evaluator, rule, &each, saved)? != whole {
                let how = if saved { "saved in between" } else { "one by one" };
                return Err(CaseError::Wrong(format!("rule {}: rows differ {how}", rule.name)));
            }
        }
        let (rows, tally) = whole;
        let lines = |stream| {
            let own = rows.iter().filter(move |row| row.stream == stream);
            own.map(|row| String::from_utf8_lossy(&row.payload).into_owned())
        };
        // The actions read what the windows made.
        let topic = rows_topic(&rule.name);
        let made = lines(WindowStream::Rows).map(|payload| message(&format!("{topic} {payload}"), None));
        let made = made.collect::<Result<Vec<_>, _>>().map_err(CaseError::Wrong)?;
        let evaluations = evaluator.evaluate(&records(&made, 0)?);
        for evaluation in evaluations.iter().filter(|evaluation| evaluation.rule == rule.name) {
            describe(rule, evaluation, is_select, text);
        }
        for late in lines(WindowStream::Late) {
            // Writing to a String cannot fail, here and below.
            let _written = writeln!(text, "late: {late}");
        }
        let WindowTally { failed, untimed, future, late, refused, held_back, spoiled, .. } = tally;
        let counts = [
            ("failed", failed),
            ("untimed", untimed),
            ("future", future),
            ("late", late),
            ("refused", refused),
            ("held back", held_back),
            ("spoiled", spoiled),
        ];
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            let _written = writeln!(text, "{name}: {count}");
        }
        Ok(())
    }
}
