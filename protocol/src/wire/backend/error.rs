//! ErrorResponse and NoticeResponse: fields, each with a letter before it.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Tag, write};
use crate::reader::{ReadError, Reader};

/// How bad it is. PostgreSQL knows more; these are what matters to a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The request failed.
    Error,
    /// The connection ends.
    Fatal,
    /// Anything else, such as a notice.
    Other,
}

/// The fields of an error or a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorFields {
    /// Letter and text, in the order they came.
    pub fields: Vec<(u8, Bytes)>,
}

impl ErrorFields {
    /// Reads the message's body.
    pub fn decode(body: Bytes) -> Result<Self, ReadError> {
        let mut reader = Reader::new(body);
        let mut fields = Vec::new();
        loop {
            match reader.u8("field code")? {
                0 => break,
                code => fields.push((code, reader.cstr("field")?)),
            }
        }
        reader.finish()?;
        Ok(Self { fields })
    }

    /// The field with this letter.
    pub fn field(&self, code: u8) -> Option<&Bytes> {
        let found = self.fields.iter().find(|(letter, _)| *letter == code);
        found.map(|(_, text)| text)
    }

    /// The severity: the field that is never translated, or the translated one of old servers.
    pub fn severity(&self) -> Severity {
        let text = self.field(b'V').or_else(|| self.field(b'S'));
        match text.map(Bytes::as_ref) {
            Some(b"ERROR") => Severity::Error,
            Some(b"FATAL" | b"PANIC") => Severity::Fatal,
            _ => Severity::Other,
        }
    }

    /// Whether it is an entry of the server's log, which a client may ask to hear.
    pub fn is_log(&self) -> bool {
        let text = self.field(b'V').map(Bytes::as_ref);
        text.is_some_and(|text| text == b"LOG" || text.starts_with(b"DEBUG"))
    }

    /// The SQLSTATE.
    pub fn sqlstate(&self) -> Option<&Bytes> {
        self.field(b'C')
    }

    /// Where in the text the error is: a count of characters, the first being 1.
    pub fn position(&self) -> Option<usize> {
        std::str::from_utf8(self.field(b'P')?).ok()?.parse().ok()
    }

    /// Replaces the position.
    pub fn set_position(&mut self, position: usize) {
        let found = self.fields.iter_mut().find(|(letter, _)| *letter == b'P');
        if let Some((_, text)) = found {
            *text = Bytes::from(position.to_string());
        }
    }

    /// Appends the message under `tag`, which is ErrorResponse or NoticeResponse.
    pub fn encode(&self, out: &mut BytesMut, tag: Tag) {
        write::frame(out, tag.as_byte(), |out| {
            for (code, text) in &self.fields {
                out.put_u8(*code);
                write::cstr(out, text);
            }
            out.put_u8(0);
        });
    }
}

/// An ErrorResponse that the proxy itself says.
pub fn error_response(
    severity: Severity,
    sqlstate: &'static str,
    message: &str,
    detail: Option<&str>,
    hint: Option<&str>,
) -> Bytes {
    let severity = match severity {
        Severity::Fatal => "FATAL",
        Severity::Error | Severity::Other => "ERROR",
    };
    let always = [
        (b'S', severity),
        (b'V', severity),
        (b'C', sqlstate),
        (b'M', message),
    ];
    let sometimes = [(b'D', detail), (b'H', hint)];
    let said = sometimes
        .into_iter()
        .filter_map(|(code, text)| Some((code, text?)));
    let fields = always.into_iter().chain(said);
    let fields = ErrorFields {
        fields: fields
            .map(|(code, text)| (code, Bytes::from(text.replace('\0', " "))))
            .collect(),
    };
    let mut out = BytesMut::new();
    fields.encode(&mut out, Tag::ErrorResponse);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_ours_reads_back() {
        let bytes = error_response(Severity::Fatal, "53300", "too many", None, Some("wait"));
        let fields = ErrorFields::decode(bytes.slice(5..)).unwrap();
        assert_eq!(fields.severity(), Severity::Fatal);
        assert_eq!(fields.sqlstate().unwrap(), "53300");
        assert_eq!(fields.field(b'H').unwrap(), "wait");
        let mut out = BytesMut::new();
        fields.encode(&mut out, Tag::ErrorResponse);
        assert_eq!(out, bytes);
    }

    #[test]
    fn a_position_is_read_and_replaced() {
        let body = Bytes::from_static(b"SFEHLER\0VERROR\0P120\0\0");
        let mut fields = ErrorFields::decode(body).unwrap();
        assert_eq!(fields.severity(), Severity::Error);
        assert_eq!(fields.position(), Some(120));
        fields.set_position(20);
        assert_eq!(fields.position(), Some(20));
    }

    #[test]
    fn fields_that_do_not_end_are_refused() {
        for body in [&b"SERROR"[..], b"SERROR\0", b"", b"\0\0"] {
            assert!(ErrorFields::decode(Bytes::from_static(body)).is_err());
        }
    }
}
