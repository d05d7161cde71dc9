//! The main path, and what it promises.
//!
//! ```text
//! front-end ── Session::publish ──▶ Ingress::accept ──▶ Log ══ durable ══▶ acknowledged
//!                                                        ║
//!               ┌────────────────────────┬───────────────╬───────────────┐
//!            Delivery                   Shadows         Head ─▶ Worker    Tail      each with its own cursor
//!         inboxes of sessions    apply, answer    every rule, once   one per action
//! ```
//!
//! 1. **Acknowledged is durable.** A QoS 1 message is acknowledged only after it was synced. QoS 0 may be delivered when
//!    it is appended; everything else reads durable data only. Nothing stored names an offset above the durable
//!    watermark. After a failed sync the hub refuses work and ends.
//! 2. **Isolation.** A failing or slow rule, plugin or target harms only its own output: it never delays an
//!    acknowledgement, a subscriber or another action. Only the log's size bound refuses at the door, and what rules
//!    republish and shadows answer has a reserved share there.
//! 3. **Nothing is lost silently.** Per action: `produced = delivered + dead_lettered + expired + pending`; per session:
//!    `enqueued = acknowledged + dropped + pending`; per cursor: `read = matched + unmatched + failed`. The first and
//!    the last are stored with the cursor and hold over a crash.
//! 4. **Order is the log's offset.** Timestamps inform. A session's messages and an action's rows go out in offset
//!    order; a row that its target rejects steps aside and loses its place.
//! 5. **A cursor moves only when every effect of its batch is settled**: delivered, dead-lettered with the reason, or
//!    expired.
//! 6. **A rule means what the same SQL means** in a query over the same messages: one planner, one evaluator.
//! 7. **A row's result never depends on which other rows share its batch.**
//!
//! Shutdown goes against the stream: front-ends first, so that nothing new comes in while pending acknowledgements still
//! go out; then actions, which finish what they are writing; then the head of the rules, whose last checkpoint names what
//! is settled; then Delivery and shadows; then the log and the store.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use weir_core::{
    Policy,
    plugin::Plugins,
    seams::{Language, Publisher, TargetKind},
};
use weir_log::{Clock, Log};
use weir_store::{Product, Store, StoreError};

use crate::{
    ApplyError, Broker, Drain, Limits, Metrics, RuleOptions, RuleRuntime, StoreAuthenticator,
    activation::activations,
    broker::{Ailment, Inner},
    delivery::DeliveryParts,
    gateway::{Gateways, SubDevices},
    ingress::Ingress,
    policy::PolicyInForce,
    presence::presence,
    registration::Registrar,
    rules::{Floors, Head, LogPublisher, Shared, Table, Ticker, stored_sources},
    services::{Broadcaster, Calls, Services},
    session::Connections,
    shadow::{ChangeReaders, ShadowParts},
    trace::Happenings,
    visits::Visitors,
};

/// Makes the kinds of target, given the hub as something to publish to.
pub type MakeTargets = Box<dyn FnOnce(Arc<dyn Publisher>) -> Vec<Arc<dyn TargetKind>> + Send>;

/// What the middle is made of.
pub struct Parts {
    pub log: Log,
    pub store: Store,
    pub clock: Clock,
    pub limits: Limits,
    pub rules: RuleOptions,
    pub language: Arc<dyn Language>,
    pub targets: MakeTargets,
    pub plugins: Arc<dyn Plugins>,
    /// Shared with the front-ends, which are told first.
    pub front: Drain,
}

/// The middle at work. It must be ended by [`Running::drain`].
#[derive(Debug)]
pub struct Running {
    pub broker: Broker,
    joined: Joined,
    front: Drain,
    actions: Drain,
    rules: Drain,
    delivery: Drain,
}

/// Where rules find the tables that they join. These hold the broker, so they are let go of at the end.
struct Joined(Arc<Shared>);

impl std::fmt::Debug for Joined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Joined").finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the stored sessions cannot be read")]
    Sessions(#[source] StoreError),
    #[error("the stored shadows cannot be read")]
    Shadows(#[source] StoreError),
    #[error("the progress of rules cannot be read")]
    Progress(#[source] StoreError),
    #[error("products and their topic classes cannot be read")]
    Products(#[source] StoreError),
    #[error("the stored plugins cannot be read")]
    Plugins(#[source] StoreError),
    #[error("the stored rules cannot be read")]
    Rules(#[source] ApplyError),
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

impl Parts {
    /// Starts Delivery and the rules. Front-ends may serve as soon as this returns.
    pub async fn start(self) -> Result<Running, StartError> {
        let Self { log, store, clock, limits, rules: options, language, targets, plugins, front } = self;
        let metrics = Metrics::default();
        let (actions_drain, rules_drain, delivery_drain) = (Drain::new(), Drain::new(), Drain::new());

        let ailment = Ailment::default();
        let mut policy = Policy::default();
        for (product, classes) in store.all_topics().await.map_err(StartError::Products)? {
            policy.set_classes(product, classes);
        }
        let sub_devices = SubDevices::new(metrics.sub_devices_online());
        let policy = PolicyInForce::new(policy, sub_devices.clone());

        // Sessions first: they are as they were before anybody can reach them.
        let delivery = DeliveryParts {
            log: &log,
            store: &store,
            clock: &clock,
            limits: &limits,
            metrics: &metrics,
            ailment: &ailment,
            drain: &delivery_drain,
        }
        .start()
        .await
        .map_err(StartError::Sessions)?;

        // Changes of shadows are told to those who read of them, rules among them.
        let readers = Arc::new(ChangeReaders::default());
        let sources = stored_sources(&store, language.as_ref()).await.map_err(StartError::Rules)?;
        readers.set_rules(sources.iter());

        // Then shadows: what was asked of them before the last end is done before anybody asks for more.
        let shadows = ShadowParts {
            log: &log,
            store: &store,
            delivery: &delivery,
            readers: Arc::clone(&readers),
            limits: &limits,
            metrics: &metrics,
            ailment: &ailment,
            drain: &delivery_drain,
        }
        .start()
        .await
        .map_err(StartError::Shadows)?;

        let epoch = log.epoch();
        let calls = Arc::new(Calls::new(epoch, limits.calls));
        let services = Services::new(&log, &clock, &metrics, &calls);
        let registrar = Registrar::new(limits.registrations);
        let broadcasts_changed = Arc::new(Notify::new());
        let broadcaster = Broadcaster {
            log: log.clone(),
            store: store.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            rate: limits.broadcast_messages,
            changed: Arc::clone(&broadcasts_changed),
        };
        let largest = limits.payload;
        let happenings = Happenings::default();
        let ingress = Ingress {
            log: log.clone(),
            policy: policy.clone(),
            limits,
            metrics: metrics.clone(),
            happenings: happenings.clone(),
        };
        let kinds = targets(Arc::new(LogPublisher { ingress: ingress.clone(), shadows: Arc::clone(&shadows.state) }));

        let progress = store.progress().await.map_err(StartError::Progress)?;
        // What was accepted after the last checkpoint is read again: effects are at least once. Without a checkpoint
        // everything is, and each rule passes over what is older than itself.
        let position = progress.head.unwrap_or_default().max(log.oldest());
        let shared = Arc::new(Shared {
            log: log.clone(),
            clock: clock.clone(),
            table: ArcSwap::from_pointee(Table { evaluator: language.evaluator(), rules: Default::default() }),
            begun: watch::Sender::new(position),
            open: Mutex::default(),
            dead_letters: Mutex::default(),
            checkpoint_now: Notify::new(),
            change_readers: readers,
            options,
            largest,
            tables: watch::Sender::new(Arc::new([])),
            metrics: metrics.clone(),
            happenings,
        });
        let runtime = RuleRuntime::new(
            Arc::clone(&shared),
            store.clone(),
            language,
            kinds,
            plugins,
            policy,
            actions_drain.clone(),
        );
        crate::admin::plugins::load(&store, runtime.plugins()).await.map_err(StartError::Plugins)?;
        runtime.load(&progress, position).await.map_err(StartError::Rules)?;
        rules_drain.spawn("ticks for windows", Ticker::new(Arc::clone(&shared)).run(rules_drain.clone()));
        let rules_shared = Arc::clone(&shared);
        let head = Head::new(shared, store.clone(), Floors::of(&delivery, &shadows), ailment.clone(), position);
        rules_drain.spawn("rules", head.run(rules_drain.clone()));

        rules_drain.spawn("services of devices", services.run(rules_drain.clone()));

        // Ends with the rules, after the front-ends: the last to go are told, too.
        let (activations, activator) = activations(store.clone(), clock.clone(), metrics.clone());
        rules_drain.spawn("activation of devices", activator.run(rules_drain.clone()));
        let (presence, reporter) = presence(log, clock.clone(), metrics, activations);
        rules_drain.spawn("presence", reporter.run(rules_drain.clone()));

        // With the front-ends: what it appends is as new as what they do.
        front.spawn("broadcasts", broadcaster.run(front.clone()));

        let authenticator = Arc::new(StoreAuthenticator::new(store.clone(), clock.clone()));
        let broker = Broker::new(Inner {
            store,
            clock,
            ingress,
            authenticator,
            connections: Connections::new(epoch, sub_devices.clone()),
            delivery,
            shadows,
            calls,
            registrar,
            broadcasts_changed,
            sub_devices,
            visitors: Visitors::default(),
            rules: runtime,
            presence,
            ailment,
            front: front.clone(),
            background: rules_drain.clone(),
        });
        rules_shared.tables.send_replace(broker.tables().into());
        // Before anybody can reach the hub: what gateways subscribed to for others rested on connections that are gone.
        if broker.store().products().await.map_err(StartError::Products)?.iter().any(Product::is_of_gateways) {
            broker.end_what_was_lent().await;
        }
        rules_drain.spawn("gateways", Gateways::new(broker.clone()).run(rules_drain.clone()));
        Ok(Running {
            broker,
            joined: Joined(rules_shared),
            front,
            actions: actions_drain,
            rules: rules_drain,
            delivery: delivery_drain,
        })
    }
}

impl Running {
    /// Ends everything in order. Each stage has at most `timeout`; says whether all ended by themselves.
    pub async fn drain(self, timeout: Duration) -> bool {
        let front = self.front.run_down(timeout).await;
        let actions = self.actions.run_down(timeout).await;
        self.joined.0.tables.send_replace(Arc::new([]));
        let rules = self.rules.run_down(timeout).await;
        let delivery = self.delivery.run_down(timeout).await;
        self.broker.log().close().await;
        self.broker.store().close().await;
        front && actions && rules && delivery
    }
}
