//! How the values of a type travel and how they compare.
//!
//! A type is carried only if its send format means the same at both sides once the OIDs inside are
//! replaced. Does not look at values.

use protocol::contract::{Form, KeyForm};

use super::catalog::{Catalog, CatalogColumn, CatalogType, Shape};

/// Types whose values are OIDs of catalog objects: another object, or none, at the target.
const REFERENCES: [(u32, &str); 11] = [
    (24, "regproc"),
    (2202, "regprocedure"),
    (2203, "regoper"),
    (2204, "regoperator"),
    (2205, "regclass"),
    (2206, "regtype"),
    (4096, "regrole"),
    (4089, "regnamespace"),
    (3734, "regconfig"),
    (3769, "regdictionary"),
    (4191, "regcollation"),
];

/// Types of which a server sends what no server receives: the empty vector.
const ONE_WAY: [(u32, &str); 2] = [(22, "int2vector"), (30, "oidvector")];

/// "char", int8, int2, int4, oid, bool, bytea, name, macaddr, cidr, inet, macaddr8, money, date,
/// time, timestamp, timestamptz, bit, varbit, uuid, `pg_lsn`, xid8: equal exactly if their send
/// formats are.
const EQUAL_BY_BYTES: [u32; 22] = [
    18, 20, 21, 23, 26, 16, 17, 19, 829, 650, 869, 774, 790, 1082, 1083, 1114, 1184, 1560, 1562,
    2950, 3220, 5069,
];

/// text and varchar: equal by bytes under a deterministic collation.
const TEXTS: [u32; 2] = [25, 1043];

const NUMERIC: u32 = 1700;

/// Types nest (arrays of composites of …); a catalog cannot hold a cycle, and this bounds one.
const DEPTH_MAX: u32 = 32;

/// The catalogs of both sides, source first.
#[derive(Clone, Copy)]
pub(super) struct Catalogs<'a> {
    pub(super) source: &'a Catalog,
    pub(super) target: &'a Catalog,
}

impl Catalogs<'_> {
    /// The form of a value of these types; an error says why it cannot be carried.
    pub(super) fn form(self, source: u32, target: u32) -> Result<Form, String> {
        self.form_at(source, target, 0)
    }

    fn form_at(self, source: u32, target: u32, depth: u32) -> Result<Form, String> {
        let missing = |oid| format!("type {oid} is not in the catalog");
        let here = self
            .source
            .types
            .get(&source)
            .ok_or_else(|| missing(source))?;
        let there = self
            .target
            .types
            .get(&target)
            .ok_or_else(|| missing(target))?;
        if let Some(reason) = unfit(source, there) {
            return Err(reason);
        }
        if depth > DEPTH_MAX {
            return Err("its type is nested too deep".to_owned());
        }
        if here.name != there.name {
            return Err(format!(
                "it is {} here and {} at the target",
                here.name, there.name
            ));
        }
        let next = |source, target| self.form_at(source, target, depth + 1);
        let form = match (&here.shape, &there.shape) {
            (Shape::Domain { base: here }, Shape::Domain { base: there }) => {
                return next(*here, *there);
            }
            (Shape::Base, Shape::Base) if here.is_binary && there.is_binary => Form::Plain,
            // The stream sends such a type as text; inside an array or a record it could not be
            // sent at all.
            (Shape::Base, Shape::Base) => Form::Text,
            (Shape::Enum { labels }, Shape::Enum { labels: theirs }) => {
                let mut missing = labels.iter().filter(|label| !theirs.contains(label));
                match missing.next() {
                    None => Form::Plain,
                    Some(label) => {
                        return Err(format!("the target's type {} has no {label:?}", here.name));
                    }
                }
            }
            (Shape::Array { element: here }, Shape::Array { element: there }) => {
                array(*there, next(*here, *there)?)?
            }
            (Shape::Range { bound: here }, Shape::Range { bound: there }) => {
                match next(*here, *there)? {
                    Form::Plain => Form::Plain,
                    Form::Text | Form::Array { .. } | Form::Composite { .. } => {
                        return Err("its bounds cannot be carried in binary".to_owned());
                    }
                }
            }
            (Shape::Composite { fields }, Shape::Composite { fields: theirs }) => {
                composite(fields, theirs, next)?
            }
            _ => {
                return Err(format!(
                    "type {} is of another kind at the target",
                    here.name
                ));
            }
        };
        Ok(form)
    }

    /// How values of a key column compare.
    pub(super) fn key_form(self, column: &CatalogColumn) -> KeyForm {
        let mut oid = column.type_oid;
        for _ in 0..DEPTH_MAX {
            match self.source.types.get(&oid).map(|found| &found.shape) {
                Some(Shape::Domain { base }) => oid = *base,
                Some(Shape::Enum { .. }) => return KeyForm::Bytes,
                _ => break,
            }
        }
        if oid == NUMERIC {
            KeyForm::Numeric
        } else if EQUAL_BY_BYTES.contains(&oid) || TEXTS.contains(&oid) && column.is_deterministic {
            KeyForm::Bytes
        } else {
            KeyForm::Unordered
        }
    }
}

/// Why no value of this type is carried, or not every one could be.
fn unfit(source: u32, there: &CatalogType) -> Option<String> {
    let is = |(oid, _): &&(u32, &str)| *oid == source;
    if let Some((_, name)) = REFERENCES.iter().find(is) {
        Some(format!(
            "values of type {name} are OIDs, which differ at the target"
        ))
    } else if let Some((_, name)) = ONE_WAY.iter().find(is) {
        Some(format!("an empty {name} cannot be received in binary"))
    } else if there.is_one_way {
        Some(format!(
            "the target does not receive an empty {} in binary, which is a fault of its minor \
             version; update PostgreSQL there",
            there.name
        ))
    } else {
        None
    }
}

/// An array names its element type by OID.
fn array(there: u32, element: Form) -> Result<Form, String> {
    match element {
        Form::Text => Err("its elements have no binary format".to_owned()),
        element @ (Form::Plain | Form::Array { .. } | Form::Composite { .. }) => Ok(Form::Array {
            element_oid: there,
            element: Box::new(element),
        }),
    }
}

/// A record names the type of each field by OID.
fn composite(
    here: &[(String, u32)],
    there: &[(String, u32)],
    form: impl Fn(u32, u32) -> Result<Form, String>,
) -> Result<Form, String> {
    if here.len() != there.len() {
        return Err("its type has other fields at the target".to_owned());
    }
    let mut is_same = true;
    let mut fields = Vec::with_capacity(here.len());
    for ((name, source), (their_name, target)) in here.iter().zip(there) {
        if name != their_name {
            return Err(format!("its field {name} is {their_name} at the target"));
        }
        let field = form(*source, *target)?;
        if field == Form::Text {
            return Err(format!("its field {name} has no binary format"));
        }
        is_same &= field == Form::Plain && source == target;
        fields.push((*target, field));
    }
    Ok(if is_same {
        Form::Plain
    } else {
        Form::Composite { fields }
    })
}
