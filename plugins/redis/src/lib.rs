//! Rows in Redis: each is added to a stream, or kept as the value of a key, or published to a channel.
//!
//! ```sql
//! CREATE SINK latest USING plugin.redis WITH (address = '127.0.0.1:6379', command = 'set', key = 'last:{device}')
//!   GRANT tcp '127.0.0.1:6379';
//! ```
//!
//! `command` is `set` (the newest row of a key), `xadd` (a stream, with the row's name for ever as the field `key`) or
//! `publish`. In `key`, `{product}`, `{device}` and `{topic}` stand for the row's own. `set` may be repeated without harm;
//! a stream may hold a row twice after a crash, which its field `key` tells.

use weir_guest::{Outcome, Row, Rows, Sink, Verdicts, serde::Deserialize, tcp::Connection};

#[derive(Deserialize)]
#[serde(crate = "weir_guest::serde", deny_unknown_fields)]
pub struct Settings {
    address: String,
    command: Option<String>,
    key: String,
    username: Option<String>,
    password: Option<String>,
    database: Option<String>,
}

pub struct Redis {
    address: String,
    command: Command,
    key: String,
    greeting: Vec<Vec<String>>,
    connection: Option<Connection>,
}

#[derive(Clone, Copy)]
enum Command {
    Set,
    Xadd,
    Publish,
}

impl Sink for Redis {
    type Settings = Settings;

    fn open(settings: Settings) -> Result<Self, String> {
        let command = match settings.command.as_deref() {
            None | Some("set") => Command::Set,
            Some("xadd") => Command::Xadd,
            Some("publish") => Command::Publish,
            Some(_) => return Err("command: write 'set', 'xadd' or 'publish'".to_owned()),
        };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let mut greeting = Vec::new();
        match (&settings.username, &settings.password) {
            (Some(username), Some(password)) => greeting.push(words(&["AUTH", username, password])),
            (None, Some(password)) => greeting.push(words(&["AUTH", password])),
            (Some(_), None) => return Err("username: it needs a password".to_owned()),
            (None, None) => {}
        }
        if let Some(database) = &settings.database {
            greeting.push(words(&["SELECT", database]));
        }
        Ok(Self { address: settings.address, command, key: settings.key, greeting, connection: None })
    }

    /// All commands are sent at once, and then all answers are read.
    fn write(&mut self, rows: &Rows) -> Verdicts {
        match self.send(rows) {
            Ok(answers) => {
                let mut verdicts = Verdicts::delivered();
                for (row, answer) in answers.into_iter().enumerate() {
                    verdicts.say(row, outcome(answer));
                }
                self.after_an_outage(rows, verdicts)
            }
            Err(reason) => {
                // What is half said on this connection can never be sorted out.
                self.connection = None;
                Verdicts::all(rows.len(), Outcome::unavailable(reason))
            }
        }
    }
}

impl Redis {
    fn send(&mut self, rows: &Rows) -> Result<Vec<Answer>, String> {
        let (connection, mut reader) = match self.connection.take() {
            Some(connection) => (connection, Reader::default()),
            None => {
                let mut connection = Connection::open(&self.address).map_err(|error| error.to_string())?;
                let mut reader = Reader::default();
                for command in &self.greeting {
                    let mut bytes = Vec::new();
                    write_command(&mut bytes, &command.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
                    connection.send(&bytes).map_err(|error| error.to_string())?;
                    if let Answer::Error(reason) = reader.next(&mut connection)? {
                        return Err(format!("Redis refuses: {reason}"));
                    }
                }
                (connection, reader)
            }
        };
        let mut connection = connection;
        let mut bytes = Vec::new();
        for row in rows.iter() {
            let key = self.key_of(row);
            match self.command {
                Command::Set => write_command(&mut bytes, &[b"SET", key.as_bytes(), row.payload()]),
                Command::Publish => write_command(&mut bytes, &[b"PUBLISH", key.as_bytes(), row.payload()]),
                Command::Xadd => {
                    let name = row.key();
                    write_command(
                        &mut bytes,
                        &[b"XADD", key.as_bytes(), b"*", b"key", name.as_bytes(), b"row", row.payload()],
                    );
                }
            }
        }
        connection.send(&bytes).map_err(|error| error.to_string())?;
        let answers = rows.iter().map(|_| reader.next(&mut connection)).collect::<Result<_, _>>()?;
        self.connection = Some(connection);
        Ok(answers)
    }

    /// Rows behind one that the server has no room for wait with it, so that none is overtaken; `set` and `publish`
    /// may be repeated, and a stream tells by `key`.
    fn after_an_outage(&self, rows: &Rows, mut verdicts: Verdicts) -> Verdicts {
        let outage = (0..rows.len()).find(|row| matches!(verdicts.of(*row), Outcome::Unavailable { .. }));
        if let Some(first) = outage {
            let outcome = verdicts.of(first);
            (first..rows.len()).for_each(|row| verdicts.say(row, outcome.clone()));
        }
        verdicts
    }

    fn key_of(&self, row: Row<'_>) -> String {
        self.key
            .replace("{product}", row.product().unwrap_or_default())
            .replace("{device}", row.device().unwrap_or_default())
            .replace("{topic}", row.topic())
    }
}

enum Answer {
    Fine,
    Error(String),
}

/// What a server cannot do now is its trouble; what it does not like is the row's.
fn outcome(answer: Answer) -> Outcome {
    const BUSY: [&str; 8] =
        ["LOADING", "OOM", "BUSY", "MISCONF", "READONLY", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN"];
    match answer {
        Answer::Fine => Outcome::Delivered,
        Answer::Error(reason) if BUSY.iter().any(|word| reason.starts_with(word)) => {
            Outcome::unavailable(format!("Redis refuses: {reason}"))
        }
        Answer::Error(reason) => Outcome::Refused(format!("Redis refuses: {reason}")),
    }
}

fn write_command(bytes: &mut Vec<u8>, words: &[&[u8]]) {
    bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
}

/// Reads answers: `+OK`, `-ERR …`, `:1`, `$3 abc`. Others are not among those of our commands.
#[derive(Default)]
struct Reader {
    bytes: Vec<u8>,
}

/// An answer to what we send is short.
const ANSWER_BYTES: usize = 64 << 10;

impl Reader {
    fn next(&mut self, connection: &mut Connection) -> Result<Answer, String> {
        let line = self.line(connection)?;
        match line.as_bytes().first() {
            Some(b'+' | b':') => Ok(Answer::Fine),
            Some(b'-') => Ok(Answer::Error(line[1..].chars().take(200).collect())),
            Some(b'$') => {
                if let Ok(length) = line[1..].parse::<usize>() {
                    self.take(connection, length.saturating_add(2))?;
                }
                Ok(Answer::Fine)
            }
            _ => Err("the other side does not answer as Redis does".to_owned()),
        }
    }

    fn line(&mut self, connection: &mut Connection) -> Result<String, String> {
        loop {
            if let Some(end) = self.bytes.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.bytes.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            self.more(connection)?;
        }
    }

    fn take(&mut self, connection: &mut Connection, length: usize) -> Result<(), String> {
        while self.bytes.len() < length {
            self.more(connection)?;
        }
        self.bytes.drain(..length);
        Ok(())
    }

    fn more(&mut self, connection: &mut Connection) -> Result<(), String> {
        if self.bytes.len() > ANSWER_BYTES {
            return Err("the other side does not answer as Redis does".to_owned());
        }
        let bytes = connection.receive(16 << 10).map_err(|error| error.to_string())?;
        if bytes.is_empty() {
            return Err("Redis closed the connection".to_owned());
        }
        self.bytes.extend(bytes);
        Ok(())
    }
}

weir_guest::export_sink!(Redis);

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use weir_guest::{sink, testing};

    use super::*;

    fn serve(answer: impl Fn(&str) -> String + 'static) -> Rc<RefCell<String>> {
        let sent = Rc::new(RefCell::new(String::new()));
        let keep = Rc::clone(&sent);
        testing::serve_tcp(move |bytes| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            keep.borrow_mut().push_str(&text);
            answer(&text).into_bytes()
        });
        sent
    }

    fn open(settings: &str) -> Result<Redis, String> {
        sink::open(settings)
    }

    #[test]
    fn rows_are_commands_in_one_go() {
        let sent = serve(|text| if text.contains("AUTH") { "+OK\r\n" } else { "+OK\r\n$3\r\n1-0\r\n" }.to_owned());
        let mut redis = open(r#"{"address":"a:1","key":"last:{device}","password":"p"}"#).unwrap();
        assert_eq!(redis.write(&testing::rows(&["1", "22"])), Verdicts::delivered());
        let set = |value: &str| format!("*3\r\n$3\r\nSET\r\n$8\r\nlast:dev\r\n${}\r\n{value}\r\n", value.len());
        let expected = format!("*2\r\n$4\r\nAUTH\r\n$1\r\np\r\n{}{}", set("1"), set("22"));
        assert_eq!(*sent.borrow(), expected);
    }

    #[test]
    fn errors_are_told_apart() {
        serve(|_| "+OK\r\n-WRONGTYPE no\r\n-OOM full\r\n+OK\r\n".to_owned());
        let mut redis = open(r#"{"address":"a:1","key":"k"}"#).unwrap();
        let verdicts = redis.write(&testing::rows(&["1", "2", "3", "4"]));
        assert_eq!(verdicts.of(0), Outcome::Delivered);
        assert_eq!(verdicts.of(1), Outcome::Refused("Redis refuses: WRONGTYPE no".to_owned()));
        assert_eq!(verdicts.of(2), Outcome::unavailable("Redis refuses: OOM full"));
        assert_eq!(verdicts.of(3), verdicts.of(2));
    }

    #[test]
    fn a_server_that_is_gone_keeps_every_row_and_one_that_is_back_takes_them() {
        testing::stop_tcp();
        let mut redis = open(r#"{"address":"a:1","key":"k","command":"xadd"}"#).unwrap();
        let rows = testing::rows(&["1", "2"]);
        assert_eq!(redis.write(&rows).of(1), Outcome::unavailable("connection refused"));
        let sent = serve(|_| "$3\r\n1-0\r\n$3\r\n1-1\r\n".to_owned());
        assert_eq!(redis.write(&rows), Verdicts::delivered());
        assert!(sent.borrow().contains("$8\r\ntest/1/0\r\n$3\r\nrow\r\n$1\r\n2\r\n"), "{}", sent.borrow());
        serve(|_| "HTTP/1.1 400\r\n".to_owned());
        assert!(matches!(redis.write(&rows).of(0), Outcome::Unavailable { .. }));
    }

    #[test]
    fn settings_are_checked() {
        let error = |settings: &str| open(settings).err().unwrap();
        assert_eq!(error(r#"{"address":"a:1","key":"k","command":"get"}"#), "command: write 'set', 'xadd' or 'publish'");
        assert_eq!(error(r#"{"address":"a:1","key":"k","username":"u"}"#), "username: it needs a password");
    }
}
