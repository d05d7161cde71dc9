//! `CONTRACT.md` of targets, kept by a plugin: the InfluxDB sink, before a server that behaves as it is told to.

use axum::{Router, http::StatusCode};
use tokio::net::TcpListener;
use weir_targets::testkit::{self, BROKEN, Behaviour, OtherSide};

use super::*;

struct Database {
    host: TestHost,
    port: u16,
    behaviour: Arc<Mutex<Behaviour>>,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Database {
    async fn start() -> Self {
        let host = TestHost::start();
        host.push("influxdb", &guests::component("influxdb")).await;
        let behaviour = Arc::new(Mutex::new(Behaviour::Fine));
        let taken = Arc::<Mutex<Vec<String>>>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (behave, take) = (Arc::clone(&behaviour), Arc::clone(&taken));
        let handler = move |body: String| {
            let (behaviour, taken) = (*behave.lock().unwrap(), Arc::clone(&take));
            async move {
                if behaviour == Behaviour::Slow {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                match behaviour {
                    Behaviour::Gone => StatusCode::SERVICE_UNAVAILABLE,
                    Behaviour::Refusing => StatusCode::BAD_REQUEST,
                    Behaviour::HalfBroken if body.contains(BROKEN) => StatusCode::BAD_REQUEST,
                    _ => {
                        taken.lock().unwrap().extend(body.lines().map(payload));
                        StatusCode::NO_CONTENT
                    }
                }
            }
        };
        #[expect(clippy::disallowed_methods, reason = "the server ends with the test's runtime")]
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await.unwrap() });
        Self { host, port, behaviour, taken }
    }
}

/// The row that a line of the protocol was made of, as the test-kit made it.
fn payload(line: &str) -> String {
    let fields = line.split_once("device=").unwrap().1.split_once(' ').unwrap().1.rsplit_once(' ').unwrap().0;
    let field = |name: &str| {
        let field = fields.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        field.unwrap_or_default()
    };
    match field(BROKEN) {
        "" => format!("{{\"device\":{},\"row\":{},\"of\":{}}}", field("device"), field("row"), field("of")),
        broken => format!("{{\"{BROKEN}\":{broken}}}"),
    }
}

impl OtherSide for Database {
    fn open(&self) -> Arc<dyn Target> {
        let url = format!("http://127.0.0.1:{}", self.port);
        let grant = Grant::Http(format!("127.0.0.1:{}", self.port).parse().unwrap());
        self.host.open("influxdb", &[("url", &url), ("database", "iot")], &[grant]).unwrap()
    }

    fn behave(&self, behaviour: Behaviour) -> BoxFuture<'_, ()> {
        *self.behaviour.lock().unwrap() = behaviour;
        Box::pin(async {})
    }

    fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn the_contract_is_kept() {
    testkit::check(&Database::start().await).await;
}
