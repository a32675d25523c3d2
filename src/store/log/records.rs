//! Records that are not a part of a trace, read without reading what isn't asked for: all of a kind, one, those of a run.

use std::collections::HashSet;

use bytes::Bytes;
use indexmap::IndexMap;
use rayon::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::LogError;
use super::entry::Record;
use super::reader::Reader;
use super::record::{Meta, RecordMeta, record_data};
use super::shelf::Shelf;
use super::side::Kindred;

/// So many records are read in one go; several goes run side by side.
const GO: usize = 256;

/// The records of a kind that belong to one run.
#[derive(Debug, Default)]
pub struct Belonging<T> {
    /// The latest of each id, in order of first appearance.
    pub found: Vec<T>,
    /// Ids of those that make no sense.
    pub unreadable: Vec<String>,
}

impl Reader {
    /// The records of a kind, the latest of each id, in order of first appearance.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn records(&self, kind: &str) -> Result<Vec<Record>, LogError> {
        self.values(|record| record.kind == kind)
    }

    /// The records of a kind with these ids, the latest of each.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn records_named(&self, kind: &str, ids: &HashSet<&str>) -> Result<Vec<Record>, LogError> {
        self.values(|record| record.kind == kind && ids.contains(record.id.as_str()))
    }

    /// The record of a kind and id, as it is now.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn record(&self, kind: &str, id: &str) -> Result<Option<Record>, LogError> {
        Ok(self.records_named(kind, &HashSet::from([id]))?.pop())
    }

    /// The records of a kind that name `run` as the run they belong to: the work is that of this run, however many others the
    /// log holds.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn records_of<T: DeserializeOwned + Send>(&self, kind: &str, run: &str) -> Result<Belonging<T>, LogError> {
        #[derive(serde::Deserialize)]
        struct Of {
            run: Option<String>,
        }
        // Records of the first versions do not say what they belong to: these have to be looked into.
        let theirs = |record: &Kindred| record.kind == kind && record.of.as_ref().is_none_or(|of| of == run);
        let read = |meta: &RecordMeta, data: &Bytes| {
            if meta.of.is_none() {
                let of: Of = serde_json::from_slice(data).ok()?;
                of.run.filter(|of| of == run)?;
            }
            Some(serde_json::from_slice::<T>(data).ok())
        };
        let mut result = Belonging { found: Vec::new(), unreadable: Vec::new() };
        for (id, found) in self.latest(theirs, read)? {
            match found {
                Some(found) => result.found.push(found),
                None => result.unreadable.push(id),
            }
        }
        Ok(result)
    }

    /// How many records of a kind name `run`, each time one was kept counted: nothing is read for it.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn count_of(&self, kind: &str, run: &str) -> Result<usize, LogError> {
        let mut count = 0;
        for shelf in self.shelves.iter().filter(|shelf| shelf.short.record_count > 0) {
            let records = &shelf.side()?.records;
            count += records.iter().filter(|record| record.kind == kind && record.of.as_deref() == Some(run)).count();
        }
        Ok(count)
    }

    fn values(&self, wanted: impl Fn(&Kindred) -> bool) -> Result<Vec<Record>, LogError> {
        let read = |meta: &RecordMeta, data: &Bytes| {
            let data: Value = record_data(data)?;
            Some(Record { kind: meta.kind.clone(), id: meta.id.clone(), data })
        };
        Ok(self.latest(wanted, read)?.into_iter().map(|(_, record)| record).collect())
    }

    /// What `read` makes of the latest of each id among those that are wanted.
    fn latest<T: Send>(
        &self,
        wanted: impl Fn(&Kindred) -> bool,
        read: impl Fn(&RecordMeta, &Bytes) -> Option<T> + Sync,
    ) -> Result<Vec<(String, T)>, LogError> {
        let mut latest: IndexMap<String, (RecordMeta, T)> = IndexMap::new();
        for shelf in self.shelves.iter().filter(|shelf| shelf.short.record_count > 0) {
            let records = shelf.side()?.records.iter().filter(|record| wanted(record));
            let offsets: Vec<u64> = records.map(|record| record.offset).collect();
            let gone_through = offsets.par_chunks(GO).map(|offsets| go(shelf, offsets, &read));
            for (meta, found) in gone_through.collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
                let known = latest.get(&meta.id).is_some_and(|(known, _)| known.at > meta.at);
                if !known {
                    latest.insert(meta.id.clone(), (meta, found));
                }
            }
        }
        Ok(latest.into_iter().map(|(id, (_, found))| (id, found)).collect())
    }
}

fn go<T>(
    shelf: &Shelf,
    offsets: &[u64],
    read: &(impl Fn(&RecordMeta, &Bytes) -> Option<T> + Sync),
) -> Result<Vec<(RecordMeta, T)>, LogError> {
    let mut frames = shelf.segment()?.frames()?;
    let one = |offset: &u64| {
        let frame = frames.must(*offset).ok()?;
        let Some(Meta::Record(meta)) = Meta::read(frame.kind, &frame.parts.meta) else { return None };
        let found = read(&meta, &frame.parts.data)?;
        Some((meta, found))
    };
    Ok(offsets.iter().filter_map(one).collect())
}
