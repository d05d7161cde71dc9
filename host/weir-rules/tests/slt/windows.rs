//! Rules with windows, over the messages of a file: what closes does not depend on how the messages come in batches, nor on
//! whether the state is saved and read again between them.

use std::fmt::Write as _;

use weir_core::{
    seams::Evaluator,
    statement::RuleDefinition,
    windows::{WindowLimits, WindowRow, WindowStream, WindowTally, Windows, rows_topic},
};

use crate::world::{World, describe as describe_rows, message};

/// Rows of a rule, late messages, and the counts that are not zero.
pub(crate) fn describe(
    world: &World,
    evaluator: &dyn Evaluator,
    rule: &RuleDefinition,
    is_select: bool,
    text: &mut String,
) {
    let count = world.messages.len();
    let (rows, tally) = run(world, evaluator, rule, &[count], false);
    let each: Vec<usize> = vec![1; count];
    assert_eq!(run(world, evaluator, rule, &each, false), (rows.clone(), tally), "{}: one by one", rule.text);
    assert_eq!(run(world, evaluator, rule, &each, true), (rows.clone(), tally), "{}: saved in between", rule.text);

    let lines = |stream| {
        let own = rows.iter().filter(move |row| row.stream == stream);
        own.map(|row| String::from_utf8(row.payload.clone()).unwrap())
    };
    // The actions read what the windows made.
    let made: Vec<_> =
        lines(WindowStream::Rows).map(|payload| message(&format!("{} {payload}", rows_topic(&rule.name)))).collect();
    let made = World { messages: made, ..World::default() };
    let evaluations = evaluator.evaluate(&made.records(0, made.messages.len()));
    for evaluation in evaluations.iter().filter(|evaluation| evaluation.rule == rule.name) {
        describe_rows(rule, evaluation, is_select, text);
    }
    for late in lines(WindowStream::Late) {
        writeln!(text, "late: {late}").unwrap();
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
        writeln!(text, "{name}: {count}").unwrap();
    }
}

/// The rows that windows make of batches of these sizes; the state goes through its saved form after each if `saved`.
pub(crate) fn run(
    world: &World,
    evaluator: &dyn Evaluator,
    rule: &RuleDefinition,
    sizes: &[usize],
    saved: bool,
) -> (Vec<WindowRow>, WindowTally) {
    let open = |state: Option<&[u8]>| -> Box<dyn Windows> {
        let opened = evaluator.windows(&rule.name, state, WindowLimits::default()).unwrap();
        assert_eq!(opened.lost, None, "{}", rule.text);
        opened.windows
    };
    let mut windows = open(None);
    let (mut rows, mut from) = (Vec::new(), 0);
    for size in sizes {
        rows.extend(windows.push(&world.records(from, *size)));
        from += size;
        if saved {
            windows = open(Some(&windows.save().unwrap()));
        }
    }
    assert!(rows.windows(2).all(|pair| pair[0].mark < pair[1].mark), "{}: marks grow", rule.text);
    (rows, windows.tally())
}
