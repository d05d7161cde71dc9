//! The telemetry that is measured: payloads of 197 bytes on average, with eleven keys, a nested object and two arrays.

use std::fmt::Write as _;

/// Random enough, and the same at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

pub(crate) fn payloads(rows: usize) -> Vec<String> {
    let mut random = Random(7);
    (0..rows).map(|_| payload(&mut random)).collect()
}

/// `temp` lacks in a tenth, is null in a hundredth, and of the rest one in five is an integer.
fn payload(random: &mut Random) -> String {
    let mut text =
        format!("{{\"dev\":\"node-{:04}\",\"ts\":{},", random.below(10_000), 1_763_000_000_000 + random.below(1 << 30));
    let temp = random.below(60);
    let _written = match random.below(100) {
        0..10 => Ok(()),
        10 => write!(text, "\"temp\":null,"),
        11..29 => write!(text, "\"temp\":{temp},"),
        _ => write!(text, "\"temp\":{temp}.{:02},", random.below(100)),
    };
    let _written = write!(
        text,
        "\"hum\":{}.{},\"batt\":{},\"status\":\"{}\",\"pos\":{{\"lat\":{}.{:05},\"lon\":{}.{:05}}},\
         \"vals\":[{}.{},{},{}.{:02}],\"tags\":[\"floor-{}\",\"line\"],\"seq\":{},\"fw\":\"1.{}.{}\"}}",
        random.below(100),
        random.below(10),
        random.below(101),
        ["ok", "ok", "ok-warm", "degraded"][random.below(4) as usize],
        random.below(90),
        random.below(100_000),
        random.below(180),
        random.below(100_000),
        random.below(10),
        random.below(10),
        random.below(1_000),
        random.below(50),
        random.below(100),
        random.below(12),
        random.below(1_000_000),
        random.below(20),
        random.below(10),
    );
    text
}
