//! Room for recursion. Syntax trees are as deep as their author made them, and reading, printing and dropping them
//! recurses; the threads of a runtime have small stacks, and an overflow would end the process.

use std::{panic::resume_unwind, thread};

use weir_core::seams::SqlError;

/// Bytes of stack. Enough for the longest statement that parsing accepts, all of it one chain, in a debug build.
/// Only what is used is ever resident.
const STACK: usize = 64 << 20;

/// Runs `work` where there is room.
pub(crate) fn with_room<T: Send>(work: impl FnOnce() -> Result<T, SqlError> + Send) -> Result<T, SqlError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("rule-planner".to_owned()).stack_size(STACK);
        match thread.spawn_scoped(scope, work) {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(error) => {
                let message = format!("there is no memory to read SQL with: {error}");
                Err(SqlError { message, position: None, line: None, hint: None })
            }
        }
    })
}
