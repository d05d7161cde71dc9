//! What `CONTRACT.md` says of every target.

use std::sync::Mutex;

use weir_core::seams::BoxFuture;

use super::*;
use crate::testkit::{self, BROKEN, Behaviour, OtherSide};

/// A receiver that behaves as it is told to.
struct TestReceiver {
    port: u16,
    behaviour: Arc<Mutex<Behaviour>>,
    taken: Arc<Mutex<Vec<String>>>,
}

impl TestReceiver {
    async fn start() -> Self {
        let behaviour = Arc::new(Mutex::new(Behaviour::Fine));
        let taken = Arc::<Mutex<Vec<String>>>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (behave, take) = (Arc::clone(&behaviour), Arc::clone(&taken));
        let handler = move |body: Bytes| {
            let (behaviour, taken) = (*behave.lock().unwrap(), Arc::clone(&take));
            async move {
                let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let payload = body["payload"].to_string();
                if behaviour == Behaviour::Slow {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
                match behaviour {
                    Behaviour::Gone => status(503),
                    Behaviour::Refusing => status(422),
                    Behaviour::HalfBroken if payload.contains(BROKEN) => status(422),
                    _ => {
                        taken.lock().unwrap().push(payload);
                        status(200)
                    }
                }
            }
        };
        #[expect(clippy::disallowed_methods, reason = "the server ends with the test's runtime")]
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await.unwrap() });
        Self { port, behaviour, taken }
    }
}

impl OtherSide for TestReceiver {
    fn open(&self) -> Arc<dyn Target> {
        to(self.port)
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
    testkit::check(&TestReceiver::start().await).await;
}
