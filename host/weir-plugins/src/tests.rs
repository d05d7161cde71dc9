//! Against real guests, compiled once.

mod contract;
mod guests;
mod hostile;
mod pushing;

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use weir_core::{
    Grant, Offset, Principal, Timestamp,
    plugin::{PluginValues, Plugins},
    seams::{BoxFuture, Delivery, IdempotenceKey, Outcome, SettingError, Settings, Target, TargetContext},
};

use crate::{PluginHost, PluginOptions, PluginServices, Resolve};

/// Keys and values in memory.
#[derive(Default)]
struct Values(Mutex<BTreeMap<(String, String), Vec<u8>>>);

impl PluginValues for Values {
    fn get<'a>(&'a self, owner: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, String>> {
        let found = self.0.lock().unwrap().get(&(owner.to_owned(), key.to_owned())).cloned();
        Box::pin(async { Ok(found) })
    }

    fn set<'a>(
        &'a self,
        owner: &'a str,
        key: &'a str,
        value: Vec<u8>,
        limit: u64,
    ) -> BoxFuture<'a, Result<bool, String>> {
        let fits = (key.len() + value.len()) as u64 <= limit;
        if fits {
            self.0.lock().unwrap().insert((owner.to_owned(), key.to_owned()), value);
        }
        Box::pin(async move { Ok(fits) })
    }

    fn delete<'a>(&'a self, owner: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), String>> {
        self.0.lock().unwrap().remove(&(owner.to_owned(), key.to_owned()));
        Box::pin(async { Ok(()) })
    }
}

/// Knows `inside.test` and `metadata.test` beside what the system knows.
struct Names;

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let found = match host {
            "inside.test" => "127.0.0.1".parse().ok(),
            "metadata.test" => "169.254.169.254".parse().ok(),
            _ => None,
        };
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "no such name");
        Box::pin(async move { found.map(|address| vec![address]).ok_or_else(unknown) })
    }
}

struct TestHost {
    host: PluginHost,
    _folder: TempDir,
}

impl TestHost {
    fn start() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut PluginOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = PluginOptions::new(folder.path().join("plugins"));
        options.compute_time = Duration::from_millis(200);
        change(&mut options);
        let services = PluginServices {
            now: Arc::new(|| Timestamp(1_700_000_000_000)),
            values: Arc::new(Values::default()),
            resolver: Arc::new(Names),
        };
        Self { host: PluginHost::start(options, services).unwrap(), _folder: folder }
    }

    async fn push(&self, name: &str, component: &[u8]) {
        let summary = self.host.check(component.into()).await.unwrap();
        self.host.put_in_force(&name.parse().unwrap(), &summary);
    }

    fn open(&self, name: &str, settings: &[(&str, &str)], grants: &[Grant]) -> Result<Arc<dyn Target>, SettingError> {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let context = TargetContext {
            rule: "r".parse().unwrap(),
            owner: Principal::Administrator("admin".parse().unwrap()),
            sink: Some("archive".parse().unwrap()),
            grants: grants.to_vec(),
        };
        self.host.target_kind(&name.parse().unwrap()).unwrap().open(&Settings(settings), context)
    }
}

fn row(index: u64, payload: &str) -> Delivery {
    Delivery {
        key: IdempotenceKey { offset: Offset::new(1, index), rule: "r".parse().unwrap(), row: 0 },
        topic: "A1B2C3D4E5/dev/event".to_owned(),
        product: Some("A1B2C3D4E5".to_owned()),
        device: Some("dev".to_owned()),
        accepted_at: 1_700_000_000_000,
        qos: 1,
        hop: 0,
        payload: payload.to_owned().into(),
        arguments: Vec::new(),
        failure: None,
    }
}

async fn write(target: &Arc<dyn Target>, payloads: &[&str]) -> Vec<Outcome> {
    let rows: Vec<Delivery> = (0..).zip(payloads).map(|(index, payload)| row(index, payload)).collect();
    let outcomes = target.write(&rows).await;
    assert_eq!(outcomes.len(), rows.len());
    outcomes
}

/// Why a row was not taken.
fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Delivered => "",
        Outcome::Rejected { reason, .. } | Outcome::Unavailable { reason, .. } => reason,
    }
}
