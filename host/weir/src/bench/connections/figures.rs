//! What a crowd of idle clients showed.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{bench::report::Percentiles, cli::output::grid};

/// Resident memory of the broker, in bytes.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Memory {
    pub(super) before: u64,
    pub(super) with: u64,
    pub(super) after: u64,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Figures {
    /// Connections that were to be opened, and those that were open in the end.
    pub(super) wanted: usize,
    pub(super) open: usize,
    /// Opened, and closed by the broker meanwhile.
    pub(super) lost: usize,
    /// Why others could not be opened.
    pub(super) errors: BTreeMap<String, usize>,
    /// Whether the broker noticed that all have left.
    pub(super) noticed_leaving: bool,
    /// From the first connect to the last answer.
    pub(super) seconds: f64,
    #[serde(rename = "connect_us")]
    pub(super) latency: Percentiles,
    /// Of the broker, while they connected.
    pub(super) cpu_seconds: f64,
    #[serde(rename = "rss_bytes")]
    pub(super) memory: Memory,
}

#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) broker: &'static str,
    pub(super) figures: Figures,
}

impl Figures {
    fn failed(&self) -> usize {
        self.errors.values().sum()
    }

    fn rate(&self) -> f64 {
        (self.open + self.lost) as f64 / self.seconds.max(1e-9)
    }

    fn cpu_us(&self) -> f64 {
        self.cpu_seconds * 1e6 / (self.open + self.lost).max(1) as f64
    }

    fn bytes_per_connection(&self) -> f64 {
        self.memory.with.saturating_sub(self.memory.before) as f64 / self.open.max(1) as f64
    }
}

impl Run {
    /// Memory of a connection against the peer's: below 1 is better.
    fn ratio(&self, all: &[Self]) -> Option<f64> {
        let peer = all.iter().find(|run| run.broker != self.broker)?.figures.bytes_per_connection();
        (self.broker == "weir" && peer > 0.0).then(|| self.figures.bytes_per_connection() / peer)
    }
}

pub(super) fn as_json(runs: &[Run]) -> Vec<Value> {
    let shown = runs.iter().map(|run| {
        let mut value = json!({
            "broker": run.broker,
            "bytes_per_connection": run.figures.bytes_per_connection(),
            "connects_per_second": run.figures.rate(),
            "cpu_us_per_connect": run.figures.cpu_us(),
            "memory_ratio": run.ratio(runs),
        });
        if let (Some(value), Ok(Value::Object(figures))) = (value.as_object_mut(), serde_json::to_value(&run.figures)) {
            value.extend(figures);
        }
        value
    });
    shown.collect()
}

pub(super) fn as_table(runs: &[Run]) -> String {
    let titles = [
        "BROKER",
        "OPEN",
        "FAILED",
        "LOST",
        "CONNECTS/S",
        "P50 MS",
        "P99 MS",
        "CPU US/CONNECT",
        "BEFORE MB",
        "WITH MB",
        "AFTER MB",
        "KIB/CONN",
        "RATIO",
    ];
    let rows = runs.iter().map(|run| {
        let figures = &run.figures;
        let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
        let milliseconds = |microseconds: u32| format!("{:.2}", f64::from(microseconds) / 1e3);
        vec![
            run.broker.to_owned(),
            figures.open.to_string(),
            figures.failed().to_string(),
            figures.lost.to_string(),
            format!("{:.0}", figures.rate()),
            milliseconds(figures.latency.p50),
            milliseconds(figures.latency.p99),
            format!("{:.0}", figures.cpu_us()),
            megabytes(figures.memory.before),
            megabytes(figures.memory.with),
            megabytes(figures.memory.after),
            format!("{:.2}", figures.bytes_per_connection() / 1_024.0),
            run.ratio(runs).map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        ]
    });
    grid(titles.into_iter().map(str::to_owned), rows)
}

/// What went wrong, a line for each reason.
pub(super) fn errors(runs: &[Run]) -> Vec<String> {
    let mut lines = Vec::new();
    for Run { broker, figures } in runs {
        lines.extend(figures.errors.iter().map(|(error, count)| format!("{broker}: {count} failed: {error}")));
        if !figures.noticed_leaving {
            lines.push(format!("{broker}: connections that were left stayed open"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(broker: &'static str, with: u64, errors: &[(&str, usize)]) -> Run {
        let figures = Figures {
            wanted: 1_000,
            open: 1_000,
            lost: 0,
            errors: errors.iter().map(|(error, count)| ((*error).to_owned(), *count)).collect(),
            noticed_leaving: true,
            seconds: 0.5,
            latency: Percentiles::of(vec![700; 1_000]),
            cpu_seconds: 0.1,
            memory: Memory { before: 10_000_000, with, after: 10_000_000 },
        };
        Run { broker, figures }
    }

    #[test]
    fn a_connection_costs_what_the_crowd_added() {
        let runs = [run("weir", 12_048_000, &[]), run("mosquitto", 14_096_000, &[("connect", 3)])];
        assert_eq!(runs[0].figures.bytes_per_connection(), 2_048.0);
        assert_eq!(runs[0].ratio(&runs), Some(0.5));
        assert_eq!(runs[1].ratio(&runs), None);
        let row: Vec<String> = as_table(&runs).lines().nth(1).unwrap().split_whitespace().map(str::to_owned).collect();
        assert_eq!(
            row,
            ["weir", "1000", "0", "0", "2000", "0.70", "0.70", "100", "10.0", "12.0", "10.0", "2.00", "0.50"]
        );
        assert_eq!(as_json(&runs)[0]["rss_bytes"]["with"], 12_048_000);
        assert_eq!(errors(&runs), ["mosquitto: 3 failed: connect"]);
    }
}
