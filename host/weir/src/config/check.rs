//! What settings must be together: each check says what is wrong with those that it looks at.

use super::{Config, Log, RATES, Tls};

impl Config {
    pub(super) fn check_listen(&self) -> Result<(), String> {
        let address = self.listen.address;
        if self.tls.enabled || self.plain_address() == address {
            return Ok(());
        }
        Err(format!(
            "plain MQTT on {address} would show passwords to everyone on the way; \
             add --allow-plaintext if the network is trusted, or serve TLS (tls.enabled), or stay on 127.0.0.1"
        ))
    }

    pub(super) fn check_tls(&self) -> Result<(), String> {
        let Tls { certificate, private_key, .. } = &self.tls;
        if certificate.as_os_str().is_empty() == private_key.as_os_str().is_empty() {
            return Ok(());
        }
        Err("tls.certificate and tls.private_key are given together, or neither is".to_owned())
    }

    pub(super) fn check_rates(&self) -> Result<(), String> {
        let limits = &self.limits;
        let given = [
            (limits.connects_per_second, limits.connect_burst),
            (limits.connects_per_second_per_address, limits.connect_burst_per_address),
            (limits.device_messages_per_second, limits.device_messages_burst),
            (limits.device_bytes_per_second, limits.device_bytes_burst),
            (limits.broadcast_messages_per_second, limits.broadcast_messages_burst),
            (limits.registrations_per_second, limits.registration_burst),
            (self.gateway.requests_per_second_per_address, self.gateway.request_burst_per_address),
            (self.coap.strangers_per_second, self.coap.stranger_burst),
            (self.coap.strangers_per_second_per_address, self.coap.stranger_burst_per_address),
        ];
        match RATES.iter().zip(given).find(|(_, (rate, burst))| *rate > 0 && *burst == 0) {
            None => Ok(()),
            Some(((rate, burst), _)) => Err(format!("{burst} must be at least 1, or {rate} must be 0")),
        }
    }

    pub(super) fn check_expiry(&self) -> Result<(), String> {
        // MQTT counts seconds in 32 bits, of which the highest number means for ever.
        if self.limits.session_expiry.as_secs() < u64::from(u32::MAX) {
            return Ok(());
        }
        Err("a session is kept for less than 136 years".to_owned())
    }

    pub(super) fn check_lake(&self) -> Result<(), String> {
        let location = self.lake.location.as_str();
        match location.split_once("://") {
            None => Ok(()),
            Some(("s3", rest)) if rest.split('/').next().is_some_and(|bucket| !bucket.is_empty()) => Ok(()),
            Some(_) => Err(format!("{location:?} is no place for a lake: write a folder, or s3://BUCKET/PREFIX")),
        }
    }

    pub(super) fn check_log(&self) -> Result<(), String> {
        let Log { segment_bytes, max_bytes, group_bytes, .. } = self.log;
        if segment_bytes < group_bytes as u64 {
            return Err("log.segment_bytes must be at least log.group_bytes".to_owned());
        }
        if max_bytes / 2 < segment_bytes {
            return Err("log.max_bytes must hold at least two segments (log.segment_bytes)".to_owned());
        }
        if self.limits.payload_bytes > group_bytes {
            return Err("limits.payload_bytes must not exceed log.group_bytes".to_owned());
        }
        Ok(())
    }
}
