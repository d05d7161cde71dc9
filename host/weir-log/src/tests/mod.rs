//! Tests of the log as a whole, on storage that fails.

mod appending;
mod crash;
mod damage;
mod folder;
mod reading;
mod retention;

use std::{future::Future, sync::Arc, time::Duration};

use arrow::array::Array;
use proptest::{
    option,
    prelude::*,
    sample::{select, subsequence},
};
use weir_core::{
    Envelope, Offset, Protocol, Qos, Timestamp,
    schema::{Kind, Records},
    seams::{History, HistoryError},
};

use crate::{Clock, Frame, Log, LogOptions, OpenError, Record, storage::faulty::Faulty};

pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);

pub(crate) fn open(disk: &Faulty, options: LogOptions) -> Result<Log, OpenError> {
    Log::open(Arc::new(disk.clone()), options, Clock::manual(NOW))
}

pub(crate) fn message<'a>(qos: Qos, topic: &'a str, payload: &'a [u8]) -> Record<'a> {
    Record::Message(Envelope::new(topic, "key:app", Protocol::Api, qos, payload))
}

/// Appends one QoS 1 message and waits until it is durable.
pub(crate) async fn append_durably(log: &Log, payload: &[u8]) -> Offset {
    let offset = log.append(&[message(Qos::AtLeastOnce, "A1B2C3D4E5/dev/event", payload)]).await.unwrap();
    log.durable().wait_for(offset).await.unwrap();
    offset
}

/// Offsets and payloads of all that is durable.
pub(crate) fn durable_rows(log: &Log) -> Result<Vec<(Offset, Vec<u8>)>, HistoryError> {
    let mut rows = Vec::new();
    for batch in log.scan(Offset::ZERO, Offset(u64::MAX)) {
        let records = Records::try_from(&batch?).unwrap();
        rows.extend(
            (0..records.len()).map(|row| (Offset(records.offset.value(row)), records.payload.value(row).into())),
        );
    }
    Ok(rows)
}

pub(crate) fn payloads(frame: &Frame) -> Vec<&[u8]> {
    frame.records.payload.iter().flatten().collect()
}

/// What is waited for must come, or the test fails rather than hang.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("nothing came within 20 s")
}

/// A record that owns its texts.
#[derive(Debug, Clone)]
pub(crate) struct Owned {
    kind: Option<Kind>,
    topic: String,
    publisher: String,
    session: Option<String>,
    packet_id: Option<u16>,
    protocol: Protocol,
    qos: Qos,
    retain: bool,
    is_text: bool,
    expiry: Option<u32>,
    texts: [Option<String>; 4],
    correlation: Option<Vec<u8>>,
    hop: u8,
    payload: Vec<u8>,
}

impl Owned {
    pub(crate) fn strategy() -> impl Strategy<Value = Self> {
        let text = || option::of(select(vec!["", "x", "größer", "application/json"]).prop_map(str::to_owned));
        let topics = vec!["A1B2C3D4E5/dev/event", "a", "$shadow/operation/A1B2C3D4E5/dev_2", "é/ü"];
        (
            (
                select(vec![None, None, None, Some(Kind::Tick), Some(Kind::Subscribed)]),
                select(topics),
                select(vec!["", "p"]),
            ),
            (text(), option::of(any::<u16>()), select(Protocol::ALL.to_vec()), 0..3_u8, any::<(bool, bool)>()),
            (option::of(any::<u32>()), [text(), text(), text(), text()], option::of(any::<[u8; 3]>()), any::<u8>()),
            prop::collection::vec(any::<u8>(), 0..20),
        )
            .prop_map(
                |((kind, topic, publisher), (session, packet_id, protocol, qos, (retain, is_text)), rest, payload)| {
                    let (expiry, texts, correlation, hop) = rest;
                    Self {
                        kind,
                        topic: topic.to_owned(),
                        publisher: publisher.to_owned(),
                        session,
                        packet_id,
                        protocol,
                        qos: Qos::from_u8(qos).unwrap(),
                        retain,
                        is_text,
                        expiry,
                        texts,
                        correlation: correlation.map(Vec::from),
                        hop,
                        payload,
                    }
                },
            )
    }

    /// Records of which whole columns are often absent.
    pub(crate) fn many(rows: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Self>> {
        (prop::collection::vec(Self::strategy(), rows), subsequence(vec![0, 1, 2, 3], 0..=4)).prop_map(
            |(mut rows, absent)| {
                for row in &mut rows {
                    absent.iter().for_each(|n| row.texts[*n] = None);
                }
                rows
            },
        )
    }

    pub(crate) fn record(&self) -> Record<'_> {
        let session = self.session.as_deref();
        if let Some(kind) = self.kind {
            return Record::Control { kind, session, topic: &self.topic, payload: &self.payload };
        }
        let [content_type, response_topic, user_properties, origin] = self.texts.each_ref().map(Option::as_deref);
        Record::Message(Envelope {
            topic: &self.topic,
            publisher: &self.publisher,
            session,
            packet_id: self.packet_id,
            protocol: self.protocol,
            qos: self.qos,
            retain: self.retain,
            text: self.is_text,
            expiry: self.expiry,
            content_type,
            response_topic,
            correlation: self.correlation.as_deref(),
            user_properties,
            hop: self.hop,
            origin,
            payload: &self.payload,
        })
    }

    /// That row `row` is this record.
    pub(crate) fn check(&self, records: &Records, row: usize) {
        fn value<T>(present: bool, value: T) -> Option<T> {
            present.then_some(value)
        }
        macro_rules! optional {
            ($column:ident) => {
                value(records.$column.is_valid(row), records.$column.value(row))
            };
        }
        let message = self.kind.is_none();
        let device = weir_core::Topic::device_of(&self.topic);
        let texts = self.texts.each_ref().map(|text| text.as_deref().filter(|_| message));
        assert_eq!(records.kind.value(row), self.kind.unwrap_or(Kind::Message) as u8);
        assert_eq!(optional!(product).zip(optional!(device)), device);
        assert_eq!(records.topic.value(row), self.topic);
        assert_eq!(records.publisher.value(row), if message { &self.publisher } else { "" });
        assert_eq!(optional!(session), self.session.as_deref());
        assert_eq!(optional!(packet_id), self.packet_id.filter(|_| message));
        assert_eq!(records.protocol.value(row), if message { self.protocol as u8 } else { 0 });
        assert_eq!(records.qos.value(row), if message { self.qos as u8 } else { 0 });
        assert_eq!(records.retain.value(row), self.retain && message);
        assert_eq!(records.text.value(row), self.is_text && message);
        assert_eq!(optional!(expiry), self.expiry.filter(|_| message));
        assert_eq!(
            [optional!(content_type), optional!(response_topic), optional!(user_properties), optional!(origin)],
            texts
        );
        assert_eq!(optional!(correlation), self.correlation.as_deref().filter(|_| message));
        assert_eq!(records.hop.value(row), if message { self.hop } else { 0 });
        assert_eq!(records.payload.value(row), self.payload);
    }
}
