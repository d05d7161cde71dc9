//! Sinks.

use std::cell::RefCell;

use serde::de::DeserializeOwned;

use crate::{Outcome, Rows, Verdicts, bindings::weir::plugin::types};

/// Where rows of rules go. Exported by [`export_sink!`](crate::export_sink).
pub trait Sink: Sized + 'static {
    /// The settings of `CREATE SINK … WITH (…)`. All are texts: [`text`] reads others from them.
    type Settings: DeserializeOwned;

    /// Makes a sink, without reaching for anything. The error is shown to whoever wrote the statement: it names the
    /// setting and what to write.
    fn open(settings: Self::Settings) -> Result<Self, String>;

    /// Writes rows, and returns when they are safe at the other side.
    fn write(&mut self, rows: &Rows) -> Verdicts;

    /// The last chance to say good-bye.
    fn flush(&mut self) {}
}

/// Opens a sink as the hub does, from the settings as a JSON object.
pub fn open<S: Sink>(settings: &str) -> Result<S, String> {
    let settings = serde_json::from_str(settings).map_err(|error| {
        let text = error.to_string();
        // The place is one in a text that nobody has seen.
        text.split(" at line ").next().unwrap_or_default().to_owned()
    })?;
    S::open(settings)
}

/// For `#[serde(deserialize_with = "weir_guest::sink::text")]`: a number or a boolean that is written as text.
pub fn text<'de, D: serde::Deserializer<'de>, T>(deserializer: D) -> Result<T, D::Error>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let text = <String as serde::Deserialize>::deserialize(deserializer)?;
    text.parse().map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
}

#[doc(hidden)]
#[allow(missing_docs, unreachable_pub, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "weir:plugin/sink@0.1.0",
        with: {
            "weir:plugin/types@0.1.0": crate::bindings::weir::plugin::types,
            "weir:plugin/log@0.1.0": crate::bindings::weir::plugin::log,
            "weir:plugin/clock@0.1.0": crate::bindings::weir::plugin::clock,
            "weir:plugin/random@0.1.0": crate::bindings::weir::plugin::random,
            "weir:plugin/kv@0.1.0": crate::bindings::weir::plugin::kv,
            "weir:plugin/http@0.1.0": crate::bindings::weir::plugin::http,
            "weir:plugin/tcp@0.1.0": crate::bindings::weir::plugin::tcp,
        },
        pub_export_macro: true,
        default_bindings_module: "weir_guest::sink::bindings",
        runtime_path: "weir_guest::wit_bindgen::rt",
    });
}

use bindings::exports::weir::plugin::sinks;

/// A sink as the component exports it.
#[doc(hidden)]
#[derive(Debug)]
pub struct Exported<S>(RefCell<S>);

impl<S: Sink> sinks::GuestSink for Exported<S> {
    fn open(settings: String) -> Result<sinks::Sink, String> {
        crate::log::tell_of_panics();
        Ok(sinks::Sink::new(Self(RefCell::new(open::<S>(&settings)?))))
    }

    fn write(&self, rows: types::Batch) -> Vec<sinks::Verdict> {
        let verdicts = self.0.borrow_mut().write(&Rows::new(rows));
        verdicts.0.into_iter().filter_map(|(row, outcome)| Some(sinks::Verdict { row, outcome: said(outcome)? })).collect()
    }

    fn flush(&self) {
        self.0.borrow_mut().flush();
    }
}

fn said(outcome: Outcome) -> Option<sinks::Outcome> {
    Some(match outcome {
        Outcome::Delivered => return None,
        Outcome::Rejected(reason) => sinks::Outcome::Rejected(reason),
        Outcome::Refused(reason) => sinks::Outcome::Refused(reason),
        Outcome::Unavailable { reason, retry_after } => {
            let milliseconds = retry_after.map(|time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
            sinks::Outcome::Unavailable(sinks::Outage { reason, retry_after_ms: milliseconds })
        }
    })
}

/// Makes a type that is a [`Sink`] the one that this component exports.
#[macro_export]
macro_rules! export_sink {
    ($sink:ty) => {
        #[doc(hidden)]
        #[allow(dead_code, reason = "exported on WebAssembly only")]
        struct WeirComponent;

        impl $crate::sink::bindings::exports::weir::plugin::sinks::Guest for WeirComponent {
            type Sink = $crate::sink::Exported<$sink>;
        }

        // On other machines nobody calls it, but it is no dead code.
        const _: fn(&str) -> Result<$sink, String> = $crate::sink::open::<$sink>;

        // Its names are none that a linker of machine code takes.
        #[cfg(target_arch = "wasm32")]
        $crate::sink::bindings::export!(WeirComponent with_types_in $crate::sink::bindings);
    };
}
