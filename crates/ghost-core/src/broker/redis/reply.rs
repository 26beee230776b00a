//! What Redis and our scripts answer, as values of ours.

use redis::Value;

use super::form::{self, Row};
use crate::broker::Error;

pub(super) fn array(value: Value) -> Result<Vec<Value>, Error> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(unexpected()),
    }
}

pub(super) fn bytes(value: Value) -> Result<Vec<u8>, Error> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        _ => Err(unexpected()),
    }
}

/// A whole number, as Redis writes it: as such, as text, or as a score.
pub(super) fn number(value: Value) -> Result<u64, Error> {
    match value {
        Value::Int(number) => u64::try_from(number).map_err(|_| unexpected()),
        Value::BulkString(bytes) => form::parsed(&form::text(bytes)?, "a number"),
        _ => Err(unexpected()),
    }
}

/// Names and their numbers.
pub(super) fn pairs(value: Value) -> Result<Vec<(String, i64)>, Error> {
    let mut values = array(value)?.into_iter();
    let mut pairs = Vec::new();
    while let Some((name, n)) = values.next().zip(values.next()) {
        pairs.push((form::text(bytes(name)?)?, form::parsed(&form::text(bytes(n)?)?, "a number")?));
    }
    Ok(pairs)
}

/// Tasks as scripts return them.
pub(super) fn rows(mut values: impl Iterator<Item = Value>) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    while let Some(member) = values.next() {
        let mut field = || match values.next() {
            Some(Value::BulkString(bytes)) => Some(bytes),
            _ => None,
        };
        let (number, claim, record, request) = (field(), field(), field(), field());
        rows.push(Row::of([Some(bytes(member)?), number, claim, record, request])?);
    }
    Ok(rows)
}

pub(super) fn unexpected() -> Error {
    Error::Damaged("Redis answered what our scripts never do".to_owned())
}
