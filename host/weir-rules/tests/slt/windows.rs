//! Windows made at random: what closes depends on the records alone, and is what a plain model says.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_rules::cases::{Message, World, messages as parse};

/// Windows of each kind, closed by their device or by all, with aggregates whose state is a number, a list or a set.
const RULES: [&str; 8] = [
    "AS SELECT msg.device AS d, window_start, avg(v) AS mean, count(*) AS n GROUP BY msg.device, tumble('10 seconds')",
    "AS SELECT window_start, sum(v) AS sum, count(DISTINCT k) AS k, min(k::text) AS first GROUP BY tumble('10 seconds')",
    "EVENT TIME t UNIT 's' LATENESS '5 seconds' ON LATE TO late
     AS SELECT msg.device AS d, k, window_start, array_agg(v::double) AS v GROUP BY msg.device, k, tumble('10 seconds')",
    "EVENT TIME t UNIT 's' ON LATE TO late
     AS SELECT window_start, median(v) AS m, first_value(k) AS k, last_value(k ORDER BY v::double) AS last
     GROUP BY tumble('10 seconds') HAVING count(*) > 1",
    "EVENT TIME t UNIT 's' LATENESS '7 seconds' ON LATE TO late
     AS SELECT msg.device AS d, window_start, window_end, sum(v) AS sum, string_agg(k, ',') AS k
     GROUP BY msg.device, hop('30 seconds', '10 seconds')",
    "EVENT TIME t UNIT 's' ON LATE TO late AS SELECT window_end, max(v::double) AS max, count(*) AS n
     GROUP BY hop('40 seconds', '5 seconds')",
    "EVENT TIME t UNIT 's' LATENESS '7 seconds' ON LATE TO late
     AS SELECT msg.device AS d, window_start, window_end, array_agg(v::double) AS v
     GROUP BY msg.device, session('6 seconds')",
    "EVENT TIME t UNIT 's' LATENESS '3 seconds' ON LATE TO late
     AS SELECT k, window_start, window_end, count(*) AS n, sum(v) AS sum GROUP BY k, session('4 seconds')",
];

/// One record: which device, how long after the one before, how far its time is from that of the hub, its values.
fn record() -> impl Strategy<Value = (u8, i64, i64, i16, u8)> {
    let pause = prop_oneof![8 => 0..4_000_i64, 1 => 20_000..90_000_i64];
    let skew = prop_oneof![8 => -9..9_i64, 1 => -90..400_i64];
    (0..9_u8, pause, skew, any::<i16>(), 0..4_u8)
}

fn messages(records: &[(u8, i64, i64, i16, u8)]) -> Vec<Message> {
    let mut at = 0;
    let line = |(device, pause, skew, value, k): &(u8, i64, i64, i16, u8)| {
        at += pause;
        let topic = format!("at=+{pause}ms A1B2C3D4E5/d{}/event", device % 3);
        // In seconds since 1970; the first record was accepted at this time.
        let time = 1_769_860_800 + at / 1_000 + skew;
        match device {
            0..=5 => {
                // Sums of these depend on the order.
                let value = f64::from(*value) / 7.0;
                format!(r#"{topic} {{"t": {time}, "v": {value}, "k": "k{k}"}}"#)
            }
            6 => format!("{topic} {{"),
            7 => format!(r#"{topic} {{"t": "x", "v": true}}"#),
            _ => format!("at=+{pause}ms tick"),
        }
    };
    let lines: Vec<String> = records.iter().map(line).collect();
    parse(lines.iter().map(String::as_str)).unwrap()
}

proptest! {
    // Each case plans its rule several times.
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Neither how records come in batches, nor saving and reading the state between them, changes a byte of any row.
    #[test]
    fn what_closes_depends_on_the_records_alone(
        records in prop::collection::vec(record(), 1..80),
        sizes in prop::collection::vec(1..12_usize, 80),
        rule in 0..RULES.len(),
    ) {
        let mut world = World::default();
        world.messages = messages(&records);
        let (time, select) = RULES[rule].split_once("AS SELECT").unwrap();
        let (columns, group) = select.split_once("GROUP BY").unwrap();
        let script = format!(
            "CREATE RULE r TO out {time} AS SELECT {columns} FROM 'A1B2C3D4E5/+/event' GROUP BY {group}"
        );
        let mut left = records.len();
        let sizes: Vec<usize> = sizes
            .into_iter()
            .map(|size| {
                let size = size.min(left);
                left -= size;
                size
            })
            .collect();
        let whole = world.windows(&script, &[records.len()], false).unwrap();
        prop_assert_eq!(&whole, &world.windows(&script, &sizes, false).unwrap(), "{}", script);
        prop_assert_eq!(&whole, &world.windows(&script, &sizes, true).unwrap(), "{}, saved", script);
        let tally = whole.1;
        prop_assert_eq!(tally.read, tally.matched + tally.unmatched + tally.failed);
        prop_assert_eq!(tally.closed, tally.rows + tally.held_back + tally.spoiled);
    }

    /// A model that looks at each message and each window of it anew.
    #[test]
    fn windows_of_devices_are_those_of_a_plain_model(
        records in prop::collection::vec(record(), 1..80),
        lateness in 0..12_i64,
        slide in prop::sample::select(vec![10_i64, 5]),
    ) {
        // Without ticks and without messages that cannot be read.
        let records: Vec<_> = records.into_iter().filter(|(device, ..)| *device < 6).collect();
        let mut world = World::default();
        world.messages = messages(&records);
        let script = format!(
            "CREATE RULE r TO out EVENT TIME t UNIT 's' LATENESS '{lateness}001 ms' AS
             SELECT msg.device AS d, window_start AS w, count(*) AS n FROM 'A1B2C3D4E5/+/event'
             GROUP BY msg.device, hop('10 seconds', '{slide} seconds')"
        );
        let (rows, tally) = world.windows(&script, &[records.len()], false).unwrap();

        let (mut at, mut late) = (0, 0);
        let mut watermarks = BTreeMap::new();
        let mut windows: BTreeMap<(u8, i64), u64> = BTreeMap::new();
        for (device, pause, skew, ..) in &records {
            at += pause;
            let time = ((at / 1_000 + skew) * 1_000).min(at + 300_000);
            let watermark = watermarks.entry(device % 3).or_insert(i64::MIN);
            *watermark = (*watermark).max(time - lateness * 1_000 - 1);
            let slide = slide * 1_000;
            let last = time.div_euclid(slide) * slide;
            let open = (0..10_000 / slide).map(|back| last - back * slide).filter(|start| start + 10_000 > *watermark);
            let open: Vec<i64> = open.collect();
            late += u64::from(open.is_empty());
            open.into_iter().for_each(|start| *windows.entry((device % 3, start)).or_default() += 1);
        }
        let closed = windows.iter().filter(|((device, start), _)| start + 10_000 <= watermarks[device]);
        let mut expected: Vec<String> = closed
            .map(|((device, start), n)| {
                let seconds = start / 1_000;
                let (minute, second) = (seconds.div_euclid(60), seconds.rem_euclid(60));
                let (hour, minute) = (12 + minute.div_euclid(60), minute.rem_euclid(60));
                format!(r#"{{"d":"d{device}","w":"2026-01-31T{hour:02}:{minute:02}:{second:02}Z","n":{n}}}"#)
            })
            .collect();
        let mut found: Vec<String> =
            rows.iter().map(|row| String::from_utf8(row.payload.clone()).unwrap()).collect();
        expected.sort();
        found.sort();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(tally.late, late);
    }
}
