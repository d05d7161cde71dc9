//! A bar for work that takes long. On a terminal only: a file has no use for it.

use std::io::{IsTerminal, Write};

/// Characters of the whole bar.
const WIDTH: u64 = 30;

/// Drawn over itself on standard error, and wiped out when it is dropped.
#[derive(Debug)]
pub(crate) struct Bar {
    is_shown: bool,
}

impl Bar {
    pub(crate) fn new() -> Self {
        Self { is_shown: std::io::stderr().is_terminal() }
    }

    pub(crate) fn show(&mut self, done: u64, total: u64) {
        if self.is_shown {
            draw(&line(done, total));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.is_shown {
            draw("");
        }
    }
}

/// Nobody may be there to see it.
fn draw(line: &str) {
    let mut terminal = std::io::stderr().lock();
    let _seen = write!(terminal, "\r\x1b[2K{line}").and_then(|()| terminal.flush());
}

fn line(done: u64, total: u64) -> String {
    let part = |whole: u64| done.min(total).saturating_mul(whole).checked_div(total).unwrap_or(whole);
    let filled = usize::try_from(part(WIDTH)).unwrap_or(0);
    format!("[{:-<2$}] {:>3} %  {done} of {total}", "#".repeat(filled), part(100), WIDTH as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_and_does_not_overflow() {
        let check = |done, total, expected: &str| assert_eq!(line(done, total), expected);
        check(0, 10, "[------------------------------]   0 %  0 of 10");
        check(5, 10, "[###############---------------]  50 %  5 of 10");
        check(11, 10, "[##############################] 100 %  11 of 10");
        check(0, 0, "[##############################] 100 %  0 of 0");
    }
}
