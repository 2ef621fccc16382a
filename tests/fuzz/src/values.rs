//! Captured records, row keys, values with OIDs inside, and the session's own state.

use bytes::Bytes;
use protocol::contract::{Column, Form, KeyForm, Table, TableIndex};
use protocol::decide::record::{ValueFormat, decode};
use protocol::remap::to_target;
use protocol::row::{Datum, Image, RowKey};
use protocol::wire::backend::DataRow;
use proxy::capture::Capture;

/// The hexadecimal form of a record is the same row.
pub(super) fn record(data: &[u8]) {
    let data = Bytes::copy_from_slice(data);
    drop(decode(&data, ValueFormat::Text));
    if let Ok(row) = decode(&data, ValueFormat::Binary) {
        let text = data
            .iter()
            .fold("\\x".to_owned(), |text, byte| format!("{text}{byte:02x}"));
        let text = Bytes::from(text);
        assert_eq!(decode(&text, ValueFormat::Text), Ok(row));
    }
}

fn column(key_form: KeyForm) -> Column {
    Column {
        key_form,
        ..Column::plain("c", "any", 0)
    }
}

/// A key has the values that it was made of, and is found again in what was stored.
pub(super) fn row(data: &[u8]) {
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    let place = usize::from(*first).min(rest.len());
    let (left, right) = rest.split_at(place);
    let table = Table {
        name: "public.t".into(),
        schema: "public".into(),
        relation: "t".into(),
        columns: [KeyForm::Bytes, KeyForm::Numeric, KeyForm::Bytes]
            .map(column)
            .into(),
        key: vec![2, 1],
    };
    let value = |bytes| Datum::Binary(Bytes::copy_from_slice(bytes));
    let image = Image::new(vec![Datum::Null, value(left), value(right)]);
    let index = TableIndex::new(0);
    let Ok(key) = RowKey::of(index, &table, &image) else {
        return;
    };
    let [third, _] = key.values().try_into().unwrap_or_default();
    assert_eq!(third, right);
    let stored = RowKey::from_stored(index, key.bytes().clone());
    assert_eq!(stored, key);
    // Whatever stands in the table is read with care.
    drop(RowKey::from_stored(index, Bytes::copy_from_slice(data)).values());
    // The normal form is its own normal form.
    let values: Vec<Datum> = key.values().into_iter().map(Datum::Binary).collect();
    if let [third, second] = values.as_slice() {
        let image = Image::new(vec![Datum::Null, second.clone(), third.clone()]);
        assert_eq!(RowKey::of(index, &table, &image), Ok(key));
    }
}

/// What was made for the target stays as it is when it is made for the target again.
pub(super) fn remap(data: &[u8]) {
    let array = |element| Form::Array {
        element_oid: 23,
        element: Box::new(element),
    };
    let pair = Form::Composite {
        fields: vec![(25, Form::Plain), (1007, array(Form::Plain))],
    };
    let data = Bytes::copy_from_slice(data);
    for form in [array(Form::Plain), pair.clone(), array(pair)] {
        if let Ok(once) = to_target(&form, &data) {
            assert_eq!(to_target(&form, &once), Ok(once));
        }
    }
}

/// The proxy's own question may be answered with anything; read twice, it says the same.
pub(super) fn session_state(data: &[u8]) {
    let Ok(row) = DataRow::decode(Bytes::copy_from_slice(data)) else {
        return;
    };
    let read = Capture::read_session(&row.columns);
    assert_eq!(Capture::read_session(&row.columns), read);
}
