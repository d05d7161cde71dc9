//! Settings as the parts of the hub want them.

use std::sync::Arc;

use weir_broker::{Limits, Rate, RuleOptions};
use weir_coap::{CoapOptions, EndpointLimits, PeerLimits, exponent_within};
use weir_core::windows::WindowLimits;
use weir_http::{Gateway, GatewayLimits, HttpLimits};
use weir_lake::{LakeCompression, LakeOptions, Location, QueryOptions, S3Location};
use weir_log::{LogOptions, SyncPolicy};
use weir_mqtt::WebSocketOptions;
use weir_plugins::PluginOptions;
use weir_store::StoreOptions;

use super::gateway::OnWebSocketPorts;
use crate::{
    config::{self, Config},
    data::DataFolder,
};

impl Config {
    pub(super) fn log_options(&self) -> LogOptions {
        let log = &self.log;
        LogOptions {
            segment_bytes: log.segment_bytes,
            retain_bytes: log.retain_bytes,
            retain_age: log.retain_age,
            max_bytes: log.max_bytes,
            sync: match log.sync {
                config::Sync::Always => SyncPolicy::Always,
                config::Sync::Interval => SyncPolicy::Interval(log.sync_interval),
                config::Sync::Never => SyncPolicy::Never,
            },
            group_rows: log.group_rows,
            group_bytes: log.group_bytes,
            tail_bytes: log.tail_bytes,
        }
    }

    pub(crate) fn client_limits(&self) -> Limits {
        let limits = &self.limits;
        Limits {
            payload: limits.payload_bytes,
            connections: limits.connections,
            connections_per_address: limits.connections_per_address,
            connects: Rate::new(limits.connects_per_second, limits.connect_burst),
            connects_per_address: Rate::new(limits.connects_per_second_per_address, limits.connect_burst_per_address),
            device_messages: Rate::new(limits.device_messages_per_second, limits.device_messages_burst),
            device_bytes: Rate::new(limits.device_bytes_per_second, limits.device_bytes_burst),
            inflight: limits.inflight_messages.get(),
            receive_maximum: limits.receive_maximum.get(),
            topic_aliases: limits.topic_aliases,
            sessions: limits.sessions,
            sessions_per_key: limits.sessions_per_key,
            session_expiry: limits.session_expiry,
            inbox_messages: limits.inbox_messages,
            inbox_bytes: limits.inbox_bytes,
            inbox_age: limits.inbox_age,
            retained_messages: limits.retained_messages,
            retained_bytes: limits.retained_bytes,
            filters_per_subscribe: limits.filters_per_subscribe,
            subscriptions: limits.subscriptions,
            topics_per_product: limits.topics_per_product,
            shadow_bytes: limits.shadow_bytes,
            shadow_names: limits.shadow_names,
            shadow_cache: limits.shadow_cache_bytes,
            calls: limits.calls,
            broadcasts: limits.broadcasts,
            broadcast_bytes: limits.broadcast_bytes.min(limits.payload_bytes),
            broadcast_messages: Rate::new(limits.broadcast_messages_per_second, limits.broadcast_messages_burst),
            registrations: Rate::new(limits.registrations_per_second, limits.registration_burst),
            sub_devices: limits.sub_devices,
            sub_products: limits.sub_products,
            gateway_devices: limits.gateway_devices,
            bind_signature_age: limits.bind_signature_age,
            handshake: limits.handshake_timeout,
            keep_alive: limits.keep_alive,
            write_stall: limits.write_stall,
        }
    }

    pub(super) fn gateway_limits(&self) -> GatewayLimits {
        let gateway = &self.gateway;
        let (rate, burst) = (gateway.requests_per_second_per_address, gateway.request_burst_per_address);
        GatewayLimits {
            body: gateway.body_bytes,
            batch: gateway.batch_bytes,
            body_time: gateway.body_timeout,
            requests_per_address: Rate::new(rate, burst),
        }
    }

    pub(super) fn coap_options(&self) -> CoapOptions {
        let coap = &self.coap;
        CoapOptions {
            endpoint: EndpointLimits {
                body: coap.body_bytes,
                block: exponent_within(coap.block_bytes),
                observations: coap.observations,
                acknowledgement: coap.acknowledgement,
            },
            peers: PeerLimits {
                peers: coap.peers,
                peers_per_address: coap.peers_per_address,
                strangers: Rate::new(coap.strangers_per_second, coap.stranger_burst),
                strangers_per_address: Rate::new(
                    coap.strangers_per_second_per_address,
                    coap.stranger_burst_per_address,
                ),
            },
            idle: coap.idle_timeout,
            session_idle: coap.session_idle_timeout,
        }
    }

    pub(super) fn websocket_options(&self, gateway: Gateway) -> WebSocketOptions {
        WebSocketOptions {
            origins: self.websocket.origins.clone(),
            message: self.websocket.message_bytes,
            handshake: self.limits.handshake_timeout,
            requests: Some(Arc::new(OnWebSocketPorts(gateway))),
            request: self.gateway.request_timeout,
        }
    }

    pub(super) fn rule_options(&self) -> RuleOptions {
        let rules = &self.rules;
        RuleOptions {
            max_lag: rules.max_lag,
            checkpoint: rules.checkpoint,
            longest_pause: rules.longest_pause,
            dead_letter_batch: rules.dead_letter_batch,
            rules: rules.max_rules,
            window_checkpoint: rules.window_checkpoint,
            windows: WindowLimits { groups: rules.window_groups, bytes: rules.window_bytes },
        }
    }

    pub(super) fn plugin_options(&self, data: &DataFolder) -> PluginOptions {
        let plugins = &self.plugins;
        PluginOptions {
            component_bytes: plugins.component_bytes,
            memory_bytes: plugins.memory_bytes,
            instances: plugins.instances,
            compute_time: plugins.compute_time,
            call_time: plugins.call_time,
            trusted_keys: plugins.trusted_keys.clone(),
            require_signature: plugins.require_signature,
            ..PluginOptions::new(data.plugins())
        }
    }

    pub(super) fn store_options(&self) -> StoreOptions {
        StoreOptions {
            dead_letters_per_rule: self.dead_letters.per_rule,
            dead_letter_bytes_per_rule: self.dead_letters.bytes_per_rule,
        }
    }

    pub(super) fn query_options(&self) -> QueryOptions {
        let query = &self.query;
        QueryOptions { rows: query.rows, memory: query.memory_bytes, time: query.timeout }
    }

    /// `None`: the hub keeps no lake. `hub`: whose lake it is.
    pub(super) fn lake_options(&self, data: &DataFolder, hub: String) -> Option<LakeOptions> {
        let (lake, s3) = (&self.lake, &self.s3);
        let location = match lake.location.strip_prefix("s3://") {
            Some(place) => {
                let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
                Location::S3(S3Location {
                    bucket: bucket.to_owned(),
                    prefix: prefix.to_owned(),
                    endpoint: s3.endpoint.clone(),
                    region: s3.region.clone(),
                    access_key_id: s3.access_key_id.clone(),
                    secret_access_key: s3.secret_access_key.0.clone(),
                    virtual_hosted: s3.virtual_hosted,
                })
            }
            None if lake.location.is_empty() => Location::Folder(data.lake()),
            None => Location::Folder(lake.location.clone().into()),
        };
        lake.enabled.then(|| LakeOptions {
            location,
            compression: match lake.compression {
                config::LakeCompression::Lz4 => LakeCompression::Lz4,
                config::LakeCompression::Zstd => LakeCompression::Zstd,
            },
            retain_age: lake.retain_age,
            retain_bytes: lake.retain_bytes,
            memory: lake.memory_bytes,
            interval: lake.interval,
            hub,
            scratch: data.lake_scratch(),
        })
    }

    pub(super) fn http_limits(&self) -> HttpLimits {
        let (admin, query) = (&self.admin, &self.query);
        HttpLimits {
            connections: admin.connections,
            body: admin.body_bytes,
            component: self.plugins.component_bytes,
            header_time: admin.header_timeout,
            body_time: admin.body_timeout,
            write_stall: admin.write_stall,
            queries: query.concurrent,
            query_rows: query.rows,
            query_bytes: query.result_bytes,
            query_time: query.timeout,
            backtests: query.backtests,
            backtest_time: query.backtest_timeout,
            tail_lag: admin.tail_lag,
        }
    }
}
