//! Requests by HTTP to hosts that are granted: `GRANT http 'api.example.com:443'`.

use std::{fmt, time::Duration};

/// A request, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// Begins with `http://` or `https://`.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// What is sent.
    pub body: Vec<u8>,
    /// At most, and without it, ten seconds.
    pub timeout: Option<Duration>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response {
    /// 200, for instance.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// What came.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Not granted; the text says how to.
    Denied(String),
    /// The request itself is wrong.
    Invalid(String),
    /// No answer, not in time, or not one of HTTP.
    Failed(String),
    /// The answer is larger than 8 MiB.
    TooLarge,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(reason) | Self::Invalid(reason) | Self::Failed(reason) => f.write_str(reason),
            Self::TooLarge => f.write_str("the answer is too large"),
        }
    }
}

impl std::error::Error for Error {}

/// A `GET`.
pub fn get(url: &str) -> Request {
    request("GET", url)
}

/// A `POST`.
pub fn post(url: &str) -> Request {
    request("POST", url)
}

/// Any method.
pub fn request(method: &str, url: &str) -> Request {
    Request { method: method.to_owned(), url: url.to_owned(), headers: Vec::new(), body: Vec::new(), timeout: None }
}

impl Request {
    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets what is sent.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_owned();
        self
    }

    /// Waits no longer than this.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends it, and waits for the answer.
    pub fn send(self) -> Result<Response, Error> {
        #[cfg(target_arch = "wasm32")]
        {
            use crate::bindings::weir::plugin::http::{self, Error as Host};
            let answer = http::send(&http::Request {
                method: self.method,
                url: self.url,
                headers: self.headers,
                body: self.body,
                timeout_ms: self.timeout.map(|time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX)),
            });
            match answer {
                Ok(http::Response { status, headers, body }) => Ok(Response { status, headers, body }),
                Err(Host::Denied(reason)) => Err(Error::Denied(reason)),
                Err(Host::Invalid(reason)) => Err(Error::Invalid(reason)),
                Err(Host::Failed(reason)) => Err(Error::Failed(reason)),
                Err(Host::TooLarge) => Err(Error::TooLarge),
            }
        }
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::answer(self)
    }
}

impl Response {
    /// The first header of a name, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        std::str::from_utf8(&found?.1).ok()
    }

    /// The first line of the answer, as far as it is worth showing.
    pub fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.lines().next().unwrap_or_default().chars().take(200).collect()
    }
}
