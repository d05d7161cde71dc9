//! What plugins may touch: a file for each. Nothing here is linked by luck: what a statement did not grant is denied when
//! it is called, and the denial holds the statement that would allow it.

mod clock;
mod http;
mod kv;
mod log;
mod random;
mod reach;
mod tcp;
mod wasi;

pub(crate) use http::Http;
pub(crate) use log::{LogBudget, said};
pub use reach::{Resolve, Resolver, SystemResolver};
#[expect(unreachable_pub, reason = "the generated bindings name it in public")]
pub use tcp::TcpConnection;
pub(crate) use wasi::satisfy;

use weir_core::Grant;

use crate::{
    bindings,
    instance::{State, Use},
};

impl Use {
    /// What is said to a plugin that was not granted something.
    fn denied(&self, wanted: &str) -> String {
        let plugin = &self.plugin;
        match self.grants.is_empty() {
            true => format!(
                "plugin {plugin} may not: allow it by CREATE {} USING plugin.{plugin} … GRANT {wanted}",
                self.statement
            ),
            false => {
                let mut grants: Vec<String> = self.grants.iter().map(Grant::to_string).collect();
                grants.push(wanted.to_owned());
                format!(
                    "plugin {plugin} may not: allow it by CREATE {} USING plugin.{plugin} … GRANT {}",
                    self.statement,
                    grants.join(", ")
                )
            }
        }
    }
}

/// Types have no functions, but the linker asks for them.
impl bindings::types::Host for State {}
