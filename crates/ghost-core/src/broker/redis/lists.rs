//! Lists: which tasks of a shard a query asks for.

use super::form;
use super::keys;
use super::reply::{array, bytes, number};
use super::scripts;
use super::shard::Shard;
use super::{Error, MAX_BATCH, Query};
use crate::id::{TaskId, TaskKey};
use crate::lifecycle::Record;

/// Members of an index that one script looks at.
const SCAN_AT_ONCE: usize = 512;
/// The failed tasks, newest first, among which a query looks for those that failed in one way.
const MOST_FAILED: usize = 10_000;
/// The furthest that a query may skip: more than any store holds, less than Lua's numbers lose digits at.
const FURTHEST: usize = 1 << 50;

impl Shard {
    pub(super) async fn list(&self, query: &Query) -> Result<Vec<Record>, Error> {
        if let Some(id) = &query.id {
            let found = self.of_id(query, id).await?;
            return Ok(found.into_iter().skip(query.offset).take(query.limit).collect());
        }
        if query.failure.is_some() {
            return self.failed(query).await;
        }
        let members = self.scan(query, query.offset.min(FURTHEST), query.limit).await?;
        Ok(self.read(&members).await?.into_iter().map(|(_, record)| record).collect())
    }

    /// The tasks of this id, in whatever batch, newest first.
    async fn of_id(&self, query: &Query, id: &TaskId) -> Result<Vec<Record>, Error> {
        let batches = match query.batch {
            Some(batch) => vec![Some(batch)],
            None => {
                let named = array(self.command(&["ZRANGE", &self.keys.batches(), "0", "-1"]).await?)?;
                let batch = |value| form::parsed(&form::text(bytes(value)?)?, "a batch").map(Some);
                let mut batches = named.into_iter().map(batch).collect::<Result<Vec<_>, _>>()?;
                batches.push(None);
                batches
            }
        };
        let members: Vec<String> =
            batches.into_iter().map(|batch| keys::member(&TaskKey { batch, id: id.clone() })).collect();
        let mut found = self.read(&members).await?;
        found.retain(|(_, record)| query.fits(record));
        found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        Ok(found.into_iter().map(|(_, record)| record).collect())
    }

    /// The members of an index that a query asks for, newest first.
    async fn scan(&self, query: &Query, mut skip: usize, limit: usize) -> Result<Vec<String>, Error> {
        let batch = query.batch.map(|batch| batch.to_string()).unwrap_or_default();
        let status = query.status().map(|status| form::letter(status).to_string()).unwrap_or_default();
        // How many there are to be found: when all are, older members need not be looked at.
        let mut left = match query.status() {
            Some(status) => {
                let counted = self.tally(query.batch).await?;
                counted.into_iter().find(|(of, _)| *of == status).map_or(0, |(_, n)| n)
            }
            None => u64::MAX,
        };
        // Where the index holds nothing else, what is skipped need not be read.
        let mut offset = if query.status().is_none() { std::mem::take(&mut skip) } else { 0 };
        let mut found = Vec::new();
        while found.len() < limit && left > 0 {
            let page =
                if query.status().is_none() { (limit - found.len()).min(SCAN_AT_ONCE) } else { SCAN_AT_ONCE };
            let (offset_text, page_text) = (offset.to_string(), page.to_string());
            let args = [batch.as_str(), &status, &offset_text, &page_text];
            let mut reply = array(self.run(&scripts::SCAN, args).await?)?.into_iter();
            let looked_at = number(reply.next().unwrap_or_default())?;
            for value in reply {
                left = left.saturating_sub(1);
                if skip > 0 {
                    skip -= 1;
                } else if found.len() < limit {
                    found.push(form::text(bytes(value)?)?);
                }
            }
            offset += page;
            if looked_at < page as u64 {
                break;
            }
        }
        Ok(found)
    }

    /// The records that failed in one way, newest first. No index knows the ways, so the records tell.
    async fn failed(&self, query: &Query) -> Result<Vec<Record>, Error> {
        let members = self.scan(query, 0, MOST_FAILED).await?;
        let (mut skip, mut found) = (query.offset, Vec::new());
        for members in members.chunks(MAX_BATCH) {
            for (_, record) in self.read(members).await? {
                if !query.fits(&record) {
                    continue;
                }
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                found.push(record);
                if found.len() == query.limit {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }
}
