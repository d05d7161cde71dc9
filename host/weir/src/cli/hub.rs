//! The running hub as commands see it: found, authenticated to, and spoken to by its REST API.

use std::{path::PathBuf, time::Duration};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use super::{failure::Failure, lines::Lines};
use crate::data::{DataFolder, Endpoints};

/// Bounds one request and its answer; streams are bounded in their connecting only.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps these options together in every command's help.
const HEADING: &str = "Which hub";

/// Which hub a command is for.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Target {
    /// Folder of a hub on this machine: `weir serve` keeps its data there, other commands find the hub and the
    /// administrator's key by it [default: $XDG_DATA_HOME/weir or ~/.local/share/weir]
    #[arg(long, global = true, help_heading = HEADING, value_name = "DIR", env = "WEIR_DATA", hide_env_values = true)]
    data: Option<PathBuf>,
    /// Management address of a hub elsewhere, such as http://hub:8080; needs --key
    #[arg(long, global = true, help_heading = HEADING, value_name = "URL", env = "WEIR_SERVER", hide_env_values = true)]
    server: Option<String>,
    /// Key to act with, instead of the administrator's key in the data folder
    #[arg(long, global = true, help_heading = HEADING, value_name = "NAME:SECRET", env = "WEIR_KEY", hide_env_values = true)]
    key: Option<String>,
}

impl Target {
    pub(crate) fn data_folder(&self) -> Result<DataFolder, Failure> {
        match &self.data {
            Some(path) => Ok(DataFolder::new(path)),
            None => DataFolder::default_place(|name| std::env::var(name).ok())
                .map_err(|error| Failure::usage(error.to_string())),
        }
    }

    /// Finds the hub. Does not connect yet.
    pub(crate) fn hub(&self) -> Result<Hub, Failure> {
        let (url, mqtt, key, hint) = match &self.server {
            Some(server) => {
                let key = self.key.clone().ok_or_else(|| {
                    Failure::usage(
                        "--server needs --key NAME:SECRET (or WEIR_KEY); make one there: weir create key NAME",
                    )
                })?;
                let hint =
                    "check the address; the hub's management listener leaves its machine only with --admin-listen";
                (server.clone(), None, key, hint.to_owned())
            }
            None => {
                let folder = self.data_folder()?;
                let Endpoints { http, mqtt, .. } = self.endpoints(&folder)?;
                let key = match &self.key {
                    Some(key) => key.clone(),
                    None => admin_key(&folder)?,
                };
                (http, Some(mqtt), key, start_hint(&folder))
            }
        };
        Hub::new(&url, mqtt, key, hint)
    }

    fn endpoints(&self, folder: &DataFolder) -> Result<Endpoints, Failure> {
        let endpoints = folder.endpoints().map_err(|error| Failure::refused(error.to_string()))?;
        endpoints.ok_or_else(|| Failure::Unreachable {
            message: format!("no hub serves {}", folder.path().display()),
            hint: start_hint(folder),
        })
    }
}

fn start_hint(folder: &DataFolder) -> String {
    let flag = match DataFolder::default_place(|name| std::env::var(name).ok()) {
        Ok(default) if default == *folder => String::new(),
        _ => format!(" --data {}", folder.path().display()),
    };
    format!("start it: weir serve{flag}\nor say where it is: --data DIR, or --server URL --key NAME:SECRET")
}

fn admin_key(folder: &DataFolder) -> Result<String, Failure> {
    let key = folder.admin_key().map_err(|error| Failure::refused(error.to_string()))?;
    key.ok_or_else(|| {
        Failure::refused(format!("{} is missing", folder.admin_key_file().display()))
            .hint("give a key by --key NAME:SECRET, or restart the hub, which makes a new one")
    })
}

#[derive(Debug)]
pub(crate) struct Hub {
    base: Url,
    /// `HOST:PORT`, if the hub is on this machine.
    mqtt: Option<String>,
    key: String,
    client: Client,
    unreachable_hint: String,
}

impl Hub {
    pub(crate) fn new(url: &str, mqtt: Option<String>, key: String, unreachable_hint: String) -> Result<Self, Failure> {
        let base = Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| Failure::usage(format!("{url:?} is not an address; write it as http://HOST:PORT")))?;
        if key.split_once(':').is_none_or(|(name, secret)| name.is_empty() || secret.is_empty()) {
            return Err(Failure::usage("a key is written NAME:SECRET"));
        }
        let client = client(&base).map_err(|error| Failure::refused(format!("cannot make an HTTP client: {error}")))?;
        Ok(Self { base, mqtt, key, client, unreachable_hint })
    }

    /// The key's name and secret.
    pub(crate) fn key(&self) -> (&str, &str) {
        self.key.split_once(':').unwrap_or((&self.key, ""))
    }

    /// Where MQTT clients connect: known for a hub on this machine, otherwise its host and the usual port.
    pub(crate) fn mqtt(&self) -> String {
        match (&self.mqtt, self.base.host_str()) {
            (Some(mqtt), _) => mqtt.clone(),
            (None, host) => format!("{}:1883", host.unwrap_or("127.0.0.1")),
        }
    }

    pub(crate) async fn get(&self, path: &[&str]) -> Result<Value, Failure> {
        self.answer(self.request(Method::GET, path)?).await
    }

    pub(crate) async fn get_with(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value, Failure> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        self.answer(self.authorized(Method::GET, url)).await
    }

    /// An answer that is text for people and files.
    pub(crate) async fn get_text(&self, path: &[&str]) -> Result<String, Failure> {
        let sent = self.request(Method::GET, path)?.send().await;
        let response = self.accepted(sent.map_err(|error| self.unreachable(&error))?).await?;
        response.text().await.map_err(|error| self.unreachable(&error))
    }

    pub(crate) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.answer(self.request(Method::POST, path)?.json(body)).await
    }

    pub(crate) async fn post_text(&self, path: &[&str], text: String) -> Result<Value, Failure> {
        let request = self.request(Method::POST, path)?.header("content-type", "text/plain; charset=utf-8").body(text);
        self.answer(request).await
    }

    pub(crate) async fn put(&self, path: &[&str], body: Vec<u8>) -> Result<Value, Failure> {
        self.answer(self.request(Method::PUT, path)?.body(body)).await
    }

    pub(crate) async fn patch(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.answer(self.request(Method::PATCH, path)?.json(body)).await
    }

    pub(crate) async fn delete(&self, path: &[&str]) -> Result<Value, Failure> {
        self.answer(self.request(Method::DELETE, path)?).await
    }

    /// Any method, with a query and perhaps a body.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let mut url = self.url(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.authorized(method, url);
        self.answer(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    /// A body that goes on until the hub or the caller ends it.
    pub(crate) async fn stream(&self, path: &[&str], query: &[(&str, String)]) -> Result<Response, Failure> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        let request = self.client.request(Method::GET, url).bearer_auth(&self.key);
        self.accepted(request.send().await.map_err(|error| self.unreachable(&error))?).await
    }

    /// The same, line by line.
    pub(crate) async fn lines(&self, path: &[&str], query: &[(&str, String)]) -> Result<Lines, Failure> {
        Ok(Lines::new(self.stream(path, query).await?.bytes_stream()))
    }

    fn url(&self, path: &[&str]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        // Segments are encoded one by one: a name with a slash in it must not become another path.
        url.path_segments_mut()
            .map_err(|()| Failure::usage(format!("{} cannot have paths", self.base)))?
            .pop_if_empty()
            .push("v1")
            .extend(path);
        Ok(url)
    }

    fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, Failure> {
        Ok(self.authorized(method, self.url(path)?))
    }

    fn authorized(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url).bearer_auth(&self.key).timeout(REQUEST_TIMEOUT)
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let body = self.accepted(response).await?.bytes().await.map_err(|error| self.unreachable(&error))?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body)
            .map_err(|_| Failure::refused(format!("{} does not answer as a hub does; is it one?", self.base)))
    }

    /// Turns an answer other than success into the failure that it tells of.
    async fn accepted(&self, response: Response) -> Result<Response, Failure> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        let error = serde_json::from_slice::<Value>(&body).ok();
        let field = |name: &str| error.as_ref()?.get("error")?.get(name)?.as_str().map(str::to_owned);
        let message = field("message").unwrap_or_else(|| format!("the hub answered {status}"));
        let failure = Failure::Refused { kind: field("kind"), message, hint: None };
        Err(match status {
            StatusCode::UNAUTHORIZED => {
                failure.hint("check the key: --key NAME:SECRET, or admin.key in the data folder")
            }
            StatusCode::FORBIDDEN => {
                failure.hint("use a key that may do this; an administrator makes one: weir create key NAME")
            }
            _ => failure,
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let message = if error.is_timeout() {
            format!("{} did not answer in time", self.base)
        } else {
            format!("cannot reach the hub at {}: {}", self.base, root_cause(error))
        };
        Failure::Unreachable { message, hint: self.unreachable_hint.clone() }
    }
}

fn client(base: &Url) -> Result<Client, reqwest::Error> {
    let mut builder = Client::builder().connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true);
    if base.scheme() == "http" {
        // No certificates are needed, and a machine without any must not fail here.
        builder = builder.tls_certs_only([]);
    }
    if base.host_str().is_some_and(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]") {
        // A proxy cannot know what listens on this machine.
        builder = builder.no_proxy();
    }
    builder.build()
}

/// The innermost reason: the outer ones repeat the address.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(data: Option<PathBuf>, server: Option<&str>, key: Option<&str>) -> Target {
        Target { data, server: server.map(str::to_owned), key: key.map(str::to_owned) }
    }

    fn install_tls() {
        // Another test of this process may have been first.
        let _installed = rustls::crypto::ring::default_provider().install_default();
    }

    #[test]
    fn a_hub_on_this_machine_is_found_by_its_folder() {
        install_tls();
        let temporary = tempfile::tempdir().unwrap();
        let folder = DataFolder::new(temporary.path());
        let here = |key| target(Some(temporary.path().to_owned()), None, key);

        assert!(matches!(here(None).hub(), Err(Failure::Unreachable { .. })));
        let endpoints = Endpoints {
            pid: 1,
            version: "0".into(),
            http: "http://127.0.0.1:8080".into(),
            mqtt: "127.0.0.1:1884".into(),
            mqtts: None,
            ws: "127.0.0.1:8081".into(),
            wss: None,
        };
        folder.write_endpoints(&endpoints).unwrap();
        assert!(matches!(here(None).hub(), Err(Failure::Refused { .. })));
        folder.write_admin_key("admin:secret").unwrap();
        let hub = here(None).hub().unwrap();
        assert_eq!((hub.key(), hub.mqtt().as_str()), (("admin", "secret"), "127.0.0.1:1884"));
        assert_eq!(here(Some("app:x")).hub().unwrap().key(), ("app", "x"));
    }

    #[test]
    fn a_hub_elsewhere_never_gets_the_key_of_this_machine() {
        install_tls();
        assert!(matches!(target(None, Some("http://hub:8080"), None).hub(), Err(Failure::Usage(_))));
        let hub = target(None, Some("http://hub:8080"), Some("a:b")).hub().unwrap();
        assert_eq!(hub.mqtt(), "hub:1883");
        assert!(matches!(target(None, Some("hub"), Some("a:b")).hub(), Err(Failure::Usage(_))));
        assert!(matches!(target(None, Some("http://hub"), Some("ab")).hub(), Err(Failure::Usage(_))));
    }

    #[test]
    fn names_cannot_change_the_path() {
        install_tls();
        let hub = target(None, Some("http://hub:8080/weir/"), Some("a:b")).hub().unwrap();
        assert_eq!(hub.url(&["rules", "a/../b?c"]).unwrap().as_str(), "http://hub:8080/weir/v1/rules/a%2F..%2Fb%3Fc");
    }
}
