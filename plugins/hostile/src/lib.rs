//! A sink that misbehaves as it is told to, for the hub's own tests: the payload of a row says how.

use weir_guest::{Outcome, Rows, Sink, Verdicts, http, kv, log, serde::Deserialize, tcp};

#[derive(Deserialize)]
#[serde(crate = "weir_guest::serde", deny_unknown_fields)]
struct Settings {
    /// `loop`, `trap` or `http`: what goes wrong when it is opened.
    open: Option<String>,
    /// What `version` says; another component has another.
    url: Option<String>,
}

struct Hostile(Settings);

impl Sink for Hostile {
    type Settings = Settings;

    fn open(settings: Settings) -> Result<Self, String> {
        match settings.open.as_deref() {
            None => Ok(Self(settings)),
            Some("loop") => forever(),
            Some("trap") => panic!("as told"),
            Some("http") => http::get("http://127.0.0.1:9/").send().map(|_| Self(settings)).map_err(|error| error.to_string()),
            Some(other) => Err(format!("open: {other:?} is not known")),
        }
    }

    fn write(&mut self, rows: &Rows) -> Verdicts {
        rows.each(|row| {
            let told = String::from_utf8_lossy(row.payload()).into_owned();
            match told.split_once(' ').unwrap_or((&told, "")) {
                ("loop", _) => forever(),
                ("hog", _) => {
                    let mut held: Vec<Vec<u8>> = Vec::new();
                    loop {
                        held.push(vec![1; 1 << 20]);
                        std::hint::black_box(&held);
                    }
                }
                ("recurse", _) => Outcome::Rejected(deeper(1).to_string()),
                ("trap", _) => panic!("as told"),
                ("giant", _) => Outcome::Rejected("x".repeat(40 << 20)),
                ("flood", _) => {
                    (0..1_000).for_each(|line| log::info(format!("line {line}\u{1b}[31m")));
                    Outcome::Delivered
                }
                ("http", url) => http::get(url).send().into(),
                ("tcp", address) => match tcp::Connection::open(address) {
                    Ok(_) => Outcome::Delivered,
                    Err(error) => Outcome::Rejected(error.to_string()),
                },
                ("set", key) => match kv::set(key, key.as_bytes()) {
                    Ok(()) => Outcome::Delivered,
                    Err(error) => Outcome::Rejected(error.to_string()),
                },
                ("get", key) => match kv::get(key) {
                    Ok(Some(value)) => Outcome::Rejected(String::from_utf8_lossy(&value).into_owned()),
                    Ok(None) => Outcome::Delivered,
                    Err(error) => Outcome::Rejected(error.to_string()),
                },
                ("post", body) => match &self.0.url {
                    Some(url) => http::post(url).body(body).send().into(),
                    None => Outcome::Delivered,
                },
                _ => Outcome::Delivered,
            }
        })
    }

    fn flush(&mut self) {
        log::info("flushed");
    }
}

fn forever() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

#[allow(unconditional_recursion, reason = "as told")]
fn deeper(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 64]);
    deeper(here[0] + 1) + here[1]
}

weir_guest::export_sink!(Hostile);
