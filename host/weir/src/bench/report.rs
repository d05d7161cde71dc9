//! The figures, and how they are shown beside those of the peer.

use serde::Serialize;
use serde_json::{Value, json};

use super::payload;
use crate::cli::output::grid;

/// What the latency scenario times: from a message to what a rule makes of it.
pub(super) const EFFECT: &str = "effect";

/// Microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Percentiles {
    pub(super) p50: u32,
    pub(super) p99: u32,
    pub(super) samples: usize,
}

impl Percentiles {
    /// By nearest rank.
    pub(super) fn of(mut samples: Vec<u32>) -> Self {
        samples.sort_unstable();
        let rank = |percent: usize| {
            let rank = (samples.len() * percent).div_ceil(100);
            samples.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        Self { p50: rank(50), p99: rank(99), samples: samples.len() }
    }
}

/// What one run showed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figures {
    /// Deliveries, where a message goes to many.
    pub(super) messages: u64,
    pub(super) lost: u64,
    pub(super) seconds: f64,
    #[serde(rename = "latency_us")]
    pub(super) latency: Percentiles,
    /// Of the broker, until it had nothing left to do.
    pub(super) cpu_seconds: f64,
    /// Of the load generator, on the same cores.
    pub(super) generator_cpu_seconds: Option<f64>,
    pub(super) rss_bytes: u64,
    pub(super) peak_rss_bytes: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) scenario: &'static str,
    pub(super) qos: u8,
    pub(super) broker: &'static str,
    pub(super) rules: usize,
    /// What the latency is of.
    pub(super) latency_of: &'static str,
    pub(super) figures: Figures,
}

impl Run {
    fn rate(&self) -> f64 {
        self.figures.messages as f64 / self.figures.seconds.max(1e-9)
    }

    fn cpu_us(&self) -> f64 {
        self.figures.cpu_seconds * 1e6 / (self.figures.messages as f64).max(1.0)
    }

    /// CPU per message and rate against the peer's under the same load: below 1, and above 1, is better.
    fn ratios(&self, all: &[Self]) -> Option<(f64, f64)> {
        let peer =
            all.iter().find(|run| run.broker != self.broker && run.scenario == self.scenario && run.qos == self.qos)?;
        let ratio = |a: f64, b: f64| (b > 0.0).then(|| a / b);
        (self.broker == "weir").then_some(())?;
        Some((ratio(self.cpu_us(), peer.cpu_us())?, ratio(self.rate(), peer.rate())?))
    }
}

pub(super) fn as_json(runs: &[Run]) -> Vec<Value> {
    let shown = runs.iter().map(|run| {
        let ratios = run.ratios(runs);
        let mut value = json!({
            "scenario": run.scenario,
            "qos": run.qos,
            "broker": run.broker,
            "rules": run.rules,
            "messages_per_second": run.rate(),
            "payload_bytes_per_second": run.rate() * payload::BYTES as f64,
            "cpu_us_per_message": run.cpu_us(),
            "latency_of": run.latency_of,
            "cpu_ratio": ratios.map(|(cpu, _)| cpu),
            "rate_ratio": ratios.map(|(_, rate)| rate),
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
        "SCENARIO",
        "QOS",
        "BROKER",
        "RULES",
        "MESSAGES",
        "LOST",
        "MSG/S",
        "MB/S",
        "OF",
        "P50 MS",
        "P99 MS",
        "CPU US/MSG",
        "RSS MB",
        "CPU RATIO",
        "RATE RATIO",
    ];
    let rows = runs.iter().map(|run| {
        let figures = &run.figures;
        let ratios = run.ratios(runs);
        let milliseconds = |microseconds: u32| format!("{:.2}", f64::from(microseconds) / 1e3);
        let ratio = |ratio: Option<f64>| ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        // One message at a time says nothing of a rate, and an idle process has costs of its own.
        let loaded = |shown: String| if run.latency_of == EFFECT { String::new() } else { shown };
        vec![
            run.scenario.to_owned(),
            run.qos.to_string(),
            run.broker.to_owned(),
            run.rules.to_string(),
            figures.messages.to_string(),
            figures.lost.to_string(),
            loaded(format!("{:.0}", run.rate())),
            loaded(format!("{:.1}", run.rate() * payload::BYTES as f64 / 1e6)),
            run.latency_of.to_owned(),
            milliseconds(figures.latency.p50),
            milliseconds(figures.latency.p99),
            loaded(format!("{:.2}", run.cpu_us())),
            format!("{:.0}", figures.peak_rss_bytes as f64 / 1e6),
            ratio(ratios.map(|(cpu, _)| cpu)),
            ratio(ratios.map(|(_, rate)| rate)),
        ]
    });
    grid(titles.into_iter().map(str::to_owned), rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(scenario: &'static str, qos: u8, broker: &'static str, cpu_seconds: f64) -> Run {
        let figures = Figures {
            messages: 1_000,
            lost: 0,
            seconds: 1.0,
            latency: Percentiles::of((1..=100).collect()),
            cpu_seconds,
            generator_cpu_seconds: None,
            rss_bytes: 1,
            peak_rss_bytes: 2,
        };
        Run { scenario, qos, broker, rules: 0, latency_of: "ack", figures }
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let found = Percentiles::of((1..=200).rev().collect());
        assert_eq!((found.p50, found.p99, found.samples), (100, 198, 200));
        let none = Percentiles::of(Vec::new());
        assert_eq!((none.p50, none.p99), (0, 0));
    }

    #[test]
    fn a_ratio_compares_the_same_load() {
        let runs = [
            run("fan-in", 0, "weir", 0.5),
            run("fan-in", 1, "weir", 0.1),
            run("fan-out", 0, "weir", 0.1),
            run("fan-in", 0, "mosquitto", 1.0),
        ];
        assert_eq!(runs[0].ratios(&runs), Some((0.5, 1.0)));
        for other in &runs[1..] {
            assert_eq!(other.ratios(&runs), None);
        }
        let shown = as_json(&runs);
        assert_eq!(shown[0]["cpu_us_per_message"], 500.0);
        assert_eq!(shown[0]["latency_us"]["p99"], 99);
        assert!(as_table(&runs).lines().nth(1).unwrap().starts_with("fan-in    0    weir"));
    }
}
