//! Frames and messages of the wire and of the stream.

use std::hint::black_box;

use apply::connection::ServerError;
use bytes::{Bytes, BytesMut};
use protocol::decide::streamed::Records;
use protocol::pgoutput::{self, frame::Frame as StreamFrame};
use protocol::wire::backend::{
    Authentication, CommandTag, DataRow, ErrorFields, ParameterStatus, ReadyForQuery,
    RowDescription, Tag,
};
use protocol::wire::frame::Frame;
use protocol::wire::frontend::{Bind, Close, Describe, Execute, Parse, Query, SaslInitialResponse};
use protocol::wire::startup::{self, StartupPacket};

/// Cutting loses no byte and makes none up, wherever the buffer ends meanwhile.
pub(super) fn frame(data: &[u8]) {
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    let step = usize::from(*first).max(1);
    let mut whole = BytesMut::from(rest);
    let mut parts = BytesMut::new();
    let mut expected = Vec::new();
    while let Ok(Some(frame)) = Frame::split(&mut whole) {
        expected.push(frame.into_bytes());
    }
    let mut cut = Vec::new();
    for part in rest.chunks(step) {
        parts.extend_from_slice(part);
        while let Ok(Some(frame)) = Frame::split(&mut parts) {
            cut.push(frame.into_bytes());
        }
    }
    assert_eq!(cut, expected);
    let cut: Vec<u8> = cut.into_iter().chain([parts.freeze()]).flatten().collect();
    assert_eq!(cut, rest);
}

/// What is read is what is written again.
pub(super) fn startup(data: &[u8]) {
    let Ok(Some(length)) = startup::packet_len(data) else {
        return;
    };
    let Some(packet) = data.get(..length) else {
        return;
    };
    let packet = Bytes::copy_from_slice(packet);
    let Ok(read) = startup::decode(packet.clone()) else {
        return;
    };
    drop(format!("{read:?}"));
    let mut out = BytesMut::new();
    match read {
        StartupPacket::Cancel(key) => out.extend_from_slice(&startup::cancel_request(&key)),
        StartupPacket::Startup(startup) if startup.version >> 16 == 3 => {
            black_box((startup.database(), startup.is_replication()));
            startup.encode(&mut out);
        }
        // Of another major version nothing more is read than that.
        StartupPacket::Ssl | StartupPacket::GssEnc | StartupPacket::Startup(_) => return,
    }
    assert_eq!(out, packet);
}

/// The body of what was written, and what it reads as, is the same.
fn again<M: std::fmt::Debug + PartialEq, E: std::fmt::Debug>(
    message: &M,
    encode: impl FnOnce(&M, &mut BytesMut),
    decode: impl FnOnce(Bytes) -> Result<M, E>,
) {
    let mut out = BytesMut::new();
    encode(message, &mut out);
    let Ok(Some(frame)) = Frame::split(&mut out) else {
        panic!("{message:?} was written as no frame");
    };
    assert!(
        out.is_empty(),
        "{message:?} was written as more than a frame"
    );
    match decode(frame.body()) {
        Ok(read) => assert_eq!(&read, message),
        Err(error) => panic!("{message:?} cannot be read again: {error:?}"),
    }
}

/// Messages of clients. The first byte says which.
pub(super) fn frontend(data: &[u8]) {
    let (which, body) = data.split_first().unwrap_or((&0, &[]));
    let body = Bytes::copy_from_slice(body);
    match which % 7 {
        0 => {
            if let Ok(read) = Bind::decode(body.clone()) {
                again(&read, Bind::encode, Bind::decode);
                let names = Bind::names(&body);
                assert_eq!(names, Ok((read.portal, read.statement)));
            }
        }
        1 => {
            if let Ok(read) = Close::decode(body) {
                again(&read, Close::encode, Close::decode);
            }
        }
        2 => {
            if let Ok(read) = Describe::decode(body) {
                again(&read, Describe::encode, Describe::decode);
            }
        }
        3 => {
            if let Ok(read) = Execute::decode(body) {
                again(&read, Execute::encode, Execute::decode);
            }
        }
        4 => {
            if let Ok(read) = Parse::decode(body) {
                again(&read, Parse::encode, Parse::decode);
            }
        }
        5 => {
            if let Ok(read) = SaslInitialResponse::decode(body) {
                again(
                    &read,
                    SaslInitialResponse::encode,
                    SaslInitialResponse::decode,
                );
            }
        }
        _ => {
            if let Ok(read) = Query::decode(body) {
                again(&read, Query::encode, Query::decode);
            }
        }
    }
}

/// Messages of servers. The first byte says which.
pub(super) fn backend(data: &[u8]) {
    let (which, body) = data.split_first().unwrap_or((&0, &[]));
    let body = Bytes::copy_from_slice(body);
    match which % 8 {
        0 => {
            if let Ok(read) = RowDescription::decode(body) {
                again(&read, RowDescription::encode, RowDescription::decode);
            }
        }
        1 => rows(&body),
        2 => {
            if let Ok(read) = ErrorFields::decode(body) {
                let encode =
                    |it: &ErrorFields, out: &mut BytesMut| it.encode(out, Tag::ErrorResponse);
                again(&read, encode, ErrorFields::decode);
                black_box((read.severity(), read.position(), read.is_log()));
            }
        }
        3 => {
            if let Ok(read) = CommandTag::decode(body) {
                black_box((read.rows(), read.is("INSERT")));
            }
        }
        4 => drop(ParameterStatus::decode(body)),
        5 => {
            if let Ok(read) = ReadyForQuery::decode(body) {
                let encode = |it: &ReadyForQuery, out: &mut BytesMut| it.encode(out);
                again(&read, encode, ReadyForQuery::decode);
            }
        }
        6 => match Authentication::decode(body) {
            // Another method is only forwarded.
            Ok(Authentication::Other) | Err(_) => (),
            Ok(read) => again(&read, Authentication::encode, Authentication::decode),
        },
        _ => {
            // Both read the same message; one of them for its words alone.
            let (words, fields) = (ServerError::parse(body.clone()), ErrorFields::decode(body));
            assert_eq!(words.is_ok(), fields.is_ok(), "{words:?} {fields:?}");
        }
    }
}

/// A row without its last column is that row.
fn rows(body: &Bytes) {
    let read = DataRow::decode(body.clone());
    if let Ok(row) = &read {
        again(row, DataRow::encode, DataRow::decode);
    }
    let cut = DataRow::cut_last(body.clone());
    match (read, cut) {
        (Ok(mut row), Ok(cut)) => {
            assert_eq!(row.columns.pop(), Some(cut.last.clone()));
            let (mut expected, mut found) = (BytesMut::new(), BytesMut::new());
            row.encode(&mut expected);
            cut.encode(&mut found);
            assert_eq!(found, expected);
        }
        // A row without columns has no last one.
        (Ok(row), Err(_)) => assert!(row.columns.is_empty(), "{row:?}"),
        (Err(error), Ok(_)) => panic!("cut, and yet not to be read: {error:?}"),
        (Err(_), Err(_)) => (),
    }
}

/// Frames of the stream, and the messages in them, outside and inside of a streamed block. Who owns a
/// message is the same for the quick look and the whole one; what a spool holds is read as written.
pub(super) fn pgoutput(data: &[u8]) {
    let data = Bytes::copy_from_slice(data);
    drop(StreamFrame::decode(data.clone()));
    drop(pgoutput::Message::decode(data.clone()));
    if let Ok(owned) = pgoutput::streamed::decode(data.clone()) {
        assert_eq!(pgoutput::streamed::owner(&data), Ok(owned.owner));
    }
    let mut records = Records::default();
    let mut again = BytesMut::new();
    for part in data.chunks(7) {
        records.feed(part);
        while let Some(record) = records.next() {
            record.put(&mut again);
        }
    }
    assert!(data.starts_with(&again));
    assert_eq!(data.len(), again.len() + records.unread());
}
