//! How a call ends that does not end well.

use std::time::Duration;

use wasmtime::{Trap, WasmBacktrace};

/// Frames of a backtrace that are told.
const FRAMES: usize = 6;

/// A call that was cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plugin {plugin} failed in {function}{at}: {cause}{trace}", at = self.place(), trace = self.trace())]
pub struct Fault {
    pub plugin: String,
    /// The version, by its digest.
    pub digest: String,
    pub function: &'static str,
    /// The first row's offset in the hub's log, where there are rows.
    pub offset: Option<String>,
    pub cause: Cause,
    /// The guest's functions, innermost first.
    pub backtrace: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    #[error("it computed for more than {0:?}")]
    ComputedTooLong(Duration),
    #[error("it did not answer within {0:?}")]
    TookTooLong(Duration),
    #[error("it wanted more than {limit} bytes of memory")]
    OutOfMemory { limit: usize },
    #[error("it wanted a table of more than {limit} entries")]
    TableTooLarge { limit: usize },
    #[error("its stack overflowed")]
    StackOverflow,
    #[error("it trapped: {0}")]
    Trapped(String),
    #[error("its answer is more than {limit} bytes")]
    AnswerTooLarge { limit: usize },
    #[error("its answer is malformed: {0}")]
    Malformed(String),
    #[error("it cannot be started: {0}")]
    NotStarted(String),
}

impl Cause {
    /// Whether other rows may fare better. What is slow for a whole batch is slow for its halves.
    pub(crate) fn may_be_one_rows(&self) -> bool {
        matches!(
            self,
            Self::OutOfMemory { .. }
                | Self::TableTooLarge { .. }
                | Self::StackOverflow
                | Self::Trapped(_)
                | Self::AnswerTooLarge { .. }
                | Self::Malformed(_)
        )
    }

    pub(crate) fn of(error: &wasmtime::Error) -> Self {
        if let Some(cause) = error.downcast_ref::<Self>() {
            return cause.clone();
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::StackOverflow) => Self::StackOverflow,
            Some(trap) => Self::Trapped(trap.to_string().trim_start_matches("wasm trap: ").to_owned()),
            None => {
                let text = error.root_cause().to_string();
                // What the runtime says of lists, strings and handles that are none.
                Self::Malformed(text.chars().take(300).collect())
            }
        }
    }
}

impl Fault {
    fn place(&self) -> String {
        self.offset.as_ref().map(|offset| format!(" at offset {offset}")).unwrap_or_default()
    }

    fn trace(&self) -> String {
        match self.backtrace.is_empty() {
            true => String::new(),
            false => format!(" (in {})", self.backtrace.join(" < ")),
        }
    }
}

/// The guest's functions that an error names.
pub(crate) fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let name = |frame: &wasmtime::FrameInfo| match frame.func_name() {
        Some(name) => name.chars().take(120).collect(),
        None => format!("function {}", frame.func_index()),
    };
    trace.frames().iter().take(FRAMES).map(name).collect()
}
