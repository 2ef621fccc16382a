//! A value as the target would send it.
//!
//! An array or a record of a user-defined type names it by its OID, which is another one at the
//! target; and an array may say that it has NULLs when it has none. Everything else is what it is.

use bytes::{BufMut, Bytes, BytesMut};

use crate::contract::Form;
use crate::reader::{ReadError, Reader};

/// `value`, a send format with the source's OIDs, as the target's receive function wants it.
pub fn to_target(form: &Form, value: &Bytes) -> Result<Bytes, ReadError> {
    match form {
        Form::Plain | Form::Text => Ok(value.clone()),
        Form::Array {
            element_oid,
            element,
        } => array(*element_oid, element, value),
        Form::Composite { fields } => composite(fields, value),
    }
}

/// `array_send`: dimensions, a flag for NULLs, the element type, two integers a dimension, elements.
fn array(element_oid: u32, element: &Form, value: &Bytes) -> Result<Bytes, ReadError> {
    let mut reader = Reader::new(value.clone());
    let mut out = BytesMut::with_capacity(value.len());
    let dimensions = reader.i32("array dimensions")?;
    out.put_i32(dimensions);
    reader.i32("array flags")?;
    let flags_at = out.len();
    out.put_i32(0);
    reader.u32("array element type")?;
    out.put_u32(element_oid);
    for _ in 0..dimensions {
        out.put_i32(reader.i32("array length")?);
        out.put_i32(reader.i32("array lower bound")?);
    }
    let mut has_nulls = false;
    while reader.remaining() > 0 {
        let value = reader.nullable("array element")?;
        has_nulls |= value.is_none();
        put_nullable(&mut out, element, value)?;
    }
    // An array that was assigned to in parts keeps its room for NULLs (`array_set_slice`), and a
    // server that receives it does not.
    if let Some(flags) = out.get_mut(flags_at..flags_at.saturating_add(4)) {
        flags.copy_from_slice(&i32::from(has_nulls).to_be_bytes());
    }
    Ok(out.freeze())
}

/// `record_send`: a count, then type, length and value of each field.
fn composite(fields: &[(u32, Form)], value: &Bytes) -> Result<Bytes, ReadError> {
    let mut reader = Reader::new(value.clone());
    let mut out = BytesMut::with_capacity(value.len());
    let count = reader.i32("record field count")?;
    if usize::try_from(count) != Ok(fields.len()) {
        return Err(ReadError::Invalid {
            field: "record field count",
            value: i64::from(count),
        });
    }
    out.put_i32(count);
    for (oid, form) in fields {
        reader.u32("record field type")?;
        out.put_u32(*oid);
        put_nullable(&mut out, form, reader.nullable("record field")?)?;
    }
    reader.finish()?;
    Ok(out.freeze())
}

fn put_nullable(out: &mut BytesMut, form: &Form, value: Option<Bytes>) -> Result<(), ReadError> {
    match value {
        None => out.put_i32(-1),
        Some(value) => {
            let value = to_target(form, &value)?;
            let length = i32::try_from(value.len()).map_err(|_| ReadError::Invalid {
                field: "value length",
                value: i64::MAX,
            })?;
            out.put_i32(length);
            out.put_slice(&value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enum_array_names_the_target_type() {
        let mut value = BytesMut::new();
        for word in [1, 1, 16_400, 2, 1, 3] {
            value.put_i32(word);
        }
        value.put_slice(b"new");
        value.put_i32(-1);
        let form = Form::Array {
            element_oid: 17_000,
            element: Box::new(Form::Plain),
        };
        let mut expected = value.clone();
        expected[8..12].copy_from_slice(&17_000_u32.to_be_bytes());
        assert_eq!(to_target(&form, &value.freeze()).unwrap(), expected);
    }

    #[test]
    fn room_for_nulls_that_are_not_there_is_given_up() {
        let form = Form::Array {
            element_oid: 23,
            element: Box::new(Form::Plain),
        };
        let array = |flags, last: &[u8]| {
            let mut value = BytesMut::new();
            for word in [1, flags, 23, 2, 1, 4, 7] {
                value.put_i32(word);
            }
            value.put_slice(last);
            value.freeze()
        };
        let (one, null) = ([0, 0, 0, 4, 0, 0, 0, 1], [0xff; 4]);
        assert_eq!(to_target(&form, &array(1, &one)), Ok(array(0, &one)));
        assert_eq!(to_target(&form, &array(1, &null)), Ok(array(1, &null)));
    }

    #[test]
    fn a_record_of_another_width_is_refused() {
        let form = Form::Composite {
            fields: vec![(23, Form::Plain)],
        };
        let value = Bytes::from_static(&[0, 0, 0, 2]);
        assert!(to_target(&form, &value).is_err());
    }

    #[test]
    fn a_truncated_array_is_refused() {
        let form = Form::Array {
            element_oid: 1,
            element: Box::new(Form::Plain),
        };
        assert!(to_target(&form, &Bytes::from_static(&[0, 0, 0, 1, 0, 0])).is_err());
    }
}
