//! SQLite files, read without SQLite: tables, whole, and what waits in a write-ahead log beside them. A file of a stranger may say
//! anything of itself; here it is never asked for more pages, or more bytes of rows, than it has.

use std::collections::HashMap;
use std::io::{Read, SeekFrom};

use serde_json::{Map, Value};

use super::{BIGGEST, ReadSeek, Trouble};

/// What such a file begins with.
pub const MAGIC: &[u8] = b"SQLite format 3\0";
/// Levels of a tree; a real one of this height would not fit on any disk.
const DEEPEST: usize = 24;

/// A file, and how its pages are found.
pub struct Database<'a> {
    file: &'a mut dyn ReadSeek,
    log: Option<&'a mut dyn ReadSeek>,
    /// Where in the log the newest copy of a page is that was committed.
    newer: HashMap<u32, u64>,
    /// The log's own header, to tell whether somebody wrote meanwhile.
    log_head: Vec<u8>,
    page_size: usize,
    /// Bytes of a page that hold anything.
    usable: usize,
    pages: u32,
}

/// A table.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    root: u32,
    columns: Vec<String>,
}

/// Where a row is.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    page: u32,
    cell: u16,
}

/// A row: columns by name. Bytes that are no text are null.
pub type Row = Map<String, Value>;

fn bad(what: impl std::fmt::Display) -> Trouble {
    Trouble::Bad(format!("the SQLite file is damaged: {what}"))
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 2).map_or(0, |two| usize::from(u16::from_be_bytes([two[0], two[1]])))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut number = 0_u64;
    for index in 0..9 {
        let byte = *bytes.get(*at)?;
        *at += 1;
        if index == 8 {
            return Some(number << 8 | u64::from(byte));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            break;
        }
    }
    Some(number)
}

fn read_at(file: &mut dyn ReadSeek, at: u64, len: usize) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(len as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl<'a> Database<'a> {
    /// Opens a file, with the log beside it when there is one.
    pub fn open(file: &'a mut dyn ReadSeek, log: Option<&'a mut dyn ReadSeek>) -> Result<Self, Trouble> {
        let len = file.seek(SeekFrom::End(0))?;
        let head = read_at(file, 0, 100)?;
        if head.len() < 100 || !head.starts_with(MAGIC) {
            return Err(bad("it has no header"));
        }
        let page_size = match u16_at(&head, 16) {
            1 => 65_536,
            size if size.is_power_of_two() && size >= 512 => size,
            size => return Err(bad(format!("pages of {size} bytes"))),
        };
        if u32_at(&head, 56) > 1 {
            return Err(Trouble::Bad("an SQLite file whose texts are not UTF-8 can't be read".to_owned()));
        }
        let usable = page_size - usize::from(head[20]);
        if usable < 480 {
            return Err(bad("nothing fits on its pages"));
        }
        let pages = u32::try_from(len.div_ceil(page_size as u64)).map_err(|_| bad("it has more pages than any"))?;
        let (newer, log_head) = (HashMap::new(), Vec::new());
        let mut database = Database { file, log, newer, log_head, page_size, usable, pages };
        database.read_log()?;
        Ok(database)
    }

    /// Finds what was committed to the log: frames with the log's own salt and sums that add up, to the last commit.
    fn read_log(&mut self) -> Result<(), Trouble> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let head = read_at(&mut **log, 0, 32)?;
        let big_endian = match u32_at(&head, 0) {
            0x377f_0682 => false,
            0x377f_0683 => true,
            _ => return Ok(()),
        };
        let first = sums(&head[..24.min(head.len())], big_endian, (0, 0));
        if head.len() < 32
            || u32_at(&head, 8) as usize != self.page_size
            || first != (u32_at(&head, 24), u32_at(&head, 28))
        {
            return Ok(());
        }
        let (mut at, mut sum, mut waiting) = (32_u64, first, Vec::new());
        loop {
            let frame = read_at(&mut **log, at, 24 + self.page_size)?;
            if frame.len() < 24 + self.page_size || frame[8..16] != head[16..24] {
                break;
            }
            sum = sums(&frame[24..], big_endian, sums(&frame[..8], big_endian, sum));
            if sum != (u32_at(&frame, 16), u32_at(&frame, 20)) {
                break;
            }
            waiting.push((u32_at(&frame, 0), at + 24));
            at += frame.len() as u64;
            let size_after = u32_at(&frame, 4);
            if size_after > 0 {
                self.newer.extend(waiting.drain(..));
                // A commit that says more pages than there are bytes for is believed as far as they go.
                let most = self.newer.keys().max().copied().unwrap_or(0).max(self.pages);
                self.pages = size_after.min(most);
            }
        }
        self.log_head = head;
        Ok(())
    }

    /// Whether a program has begun its log anew since: what was read before and after don't belong together.
    pub fn has_changed(&mut self) -> bool {
        match &mut self.log {
            Some(log) => {
                read_at(&mut **log, 0, 32).is_ok_and(|head| !self.log_head.is_empty() && head != self.log_head)
            }
            None => false,
        }
    }

    fn page(&mut self, number: u32) -> Result<Vec<u8>, Trouble> {
        if number == 0 || number > self.pages {
            return Err(bad(format!("page {number} is not in it")));
        }
        let bytes = match (&mut self.log, self.newer.get(&number)) {
            (Some(log), Some(&at)) => read_at(&mut **log, at, self.page_size)?,
            _ => read_at(self.file, u64::from(number - 1) * self.page_size as u64, self.page_size)?,
        };
        if bytes.len() == self.page_size { Ok(bytes) } else { Err(bad(format!("page {number} is cut off"))) }
    }

    /// Bytes that all rows of a table can have together.
    fn most(&self) -> u64 {
        u64::from(self.pages) * self.page_size as u64
    }

    /// The tables, by name.
    pub fn tables(&mut self) -> Result<HashMap<String, Table>, Trouble> {
        let names = ["type", "name", "tbl_name", "rootpage", "sql"].map(str::to_owned).to_vec();
        let mut found = HashMap::new();
        self.scan(&Table { root: 1, columns: names }, |_, row| {
            let row = row?;
            let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
            if text("type") == "table"
                && let Some(root) =
                    row.get("rootpage").and_then(Value::as_u64).and_then(|root| u32::try_from(root).ok())
            {
                found.insert(text("name").to_owned(), Table { root, columns: columns(text("sql")) });
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// All rows of a table, in the order of their keys. A row or a page that can't be read is told as an error, and what
    /// comes after it is read; an error that `each` gives back ends it.
    pub fn scan(
        &mut self,
        table: &Table,
        mut each: impl FnMut(Place, Result<Row, Trouble>) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let nowhere = Place { page: 0, cell: 0 };
        let (mut open, mut seen, mut left) = (vec![(table.root, 0)], 0_u32, self.most());
        while let Some((number, depth)) = open.pop() {
            seen += 1;
            if seen > self.pages || depth > DEEPEST {
                return each(nowhere, Err(bad("its pages point to each other in a circle")));
            }
            let page = match self.page(number) {
                Ok(page) => page,
                Err(trouble) => {
                    each(nowhere, Err(trouble))?;
                    continue;
                }
            };
            let start = if number == 1 { 100 } else { 0 };
            let (kind, cells) = (page[start], u16_at(&page, start + 3));
            match kind {
                5 => {
                    let child = |cell: usize| u32_at(&page, u16_at(&page, start + 12 + 2 * cell));
                    let cells = cells.min((self.page_size - start - 12) / 2);
                    // The first is to be taken first, so it goes on the stack last.
                    open.push((u32_at(&page, start + 8), depth + 1));
                    open.extend((0..cells).rev().map(|cell| (child(cell), depth + 1)));
                    // Every child is a page of its own: more of them than pages is a circle.
                    if open.len() as u64 > u64::from(self.pages) {
                        return each(nowhere, Err(bad("its pages point to each other in a circle")));
                    }
                }
                13 => {
                    for cell in 0..cells.min((self.page_size - start - 8) / 2) {
                        let cell = cell as u16;
                        let row = self.cell(&page, start, cell, &mut left).and_then(|bytes| row(table, &bytes));
                        each(Place { page: number, cell }, row)?;
                    }
                }
                _ => each(nowhere, Err(bad(format!("page {number} is no page of a table"))))?,
            }
        }
        Ok(())
    }

    /// The row at a place that a scan has told.
    pub fn row(&mut self, table: &Table, place: Place) -> Result<Row, Trouble> {
        let page = self.page(place.page)?;
        let (start, mut left) = (if place.page == 1 { 100 } else { 0 }, self.most());
        let bytes = self.cell(&page, start, place.cell, &mut left)?;
        row(table, &bytes)
    }

    /// A cell's record, put together from the pages it runs over. `left` is what all of them may still have.
    fn cell(&mut self, page: &[u8], start: usize, cell: u16, left: &mut u64) -> Result<Vec<u8>, Trouble> {
        let cut = || bad("a row ends in the middle");
        let mut at = u16_at(page, start + 8 + 2 * usize::from(cell));
        let len = varint(page, &mut at).ok_or_else(cut)?;
        varint(page, &mut at).ok_or_else(cut)?;
        if len > *left || len > BIGGEST {
            return Err(bad("its rows have more bytes than the file"));
        }
        *left -= len;
        let len = usize::try_from(len).map_err(|_| cut())?;
        let most = self.usable - 35;
        let here = if len <= most {
            len
        } else {
            let least = (self.usable - 12) * 32 / 255 - 23;
            let kept = least + (len - least) % (self.usable - 4);
            if kept <= most { kept } else { least }
        };
        let mut bytes = page.get(at..at + here).ok_or_else(cut)?.to_vec();
        let mut next = if here < len { u32_at(page, at + here) } else { 0 };
        while bytes.len() < len {
            let page = self.page(next)?;
            let more = (len - bytes.len()).min(self.usable - 4);
            bytes.extend_from_slice(&page[4..4 + more]);
            next = u32_at(&page, 0);
        }
        Ok(bytes)
    }
}

/// The log's running sums.
fn sums(bytes: &[u8], big_endian: bool, (mut first, mut second): (u32, u32)) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let word = |at: usize| {
            let four = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
        };
        first = first.wrapping_add(word(0)).wrapping_add(second);
        second = second.wrapping_add(word(4)).wrapping_add(first);
    }
    (first, second)
}

/// A record's values, named.
fn row(table: &Table, bytes: &[u8]) -> Result<Row, Trouble> {
    let cut = || bad("a row's values end in the middle");
    let mut at = 0;
    let head = varint(bytes, &mut at).and_then(|head| usize::try_from(head).ok()).filter(|head| *head <= bytes.len());
    let head = head.ok_or_else(cut)?;
    let (mut body, mut row) = (head, Row::new());
    let mut names = table.columns.iter();
    while at < head {
        let kind = varint(bytes, &mut at).ok_or_else(cut)?;
        let Some(name) = names.next() else { break };
        let len = match kind {
            0..=4 => kind as usize,
            5 => 6,
            6 | 7 => 8,
            8..=11 => 0,
            _ => usize::try_from((kind - 12) / 2).map_err(|_| cut())?,
        };
        let end = body.checked_add(len).ok_or_else(cut)?;
        let value = bytes.get(body..end).ok_or_else(cut)?;
        body = end;
        row.insert(name.clone(), one(kind, value));
    }
    Ok(row)
}

fn one(kind: u64, value: &[u8]) -> Value {
    match kind {
        1..=6 => {
            let negative = value.first().is_some_and(|byte| *byte >= 0x80);
            let from = if negative { -1_i64 } else { 0 };
            value.iter().fold(from, |number, byte| number << 8 | i64::from(*byte)).into()
        }
        7 => f64::from_be_bytes(value.try_into().unwrap_or_default()).into(),
        8 => 0.into(),
        9 => 1.into(),
        13.. if kind % 2 == 1 => String::from_utf8_lossy(value).into(),
        _ => Value::Null,
    }
}

/// The names of a table's columns, from the statement that made it.
fn columns(sql: &str) -> Vec<String> {
    let Some((_, inner)) = sql.split_once('(') else { return Vec::new() };
    let (mut found, mut depth, mut quote, mut one) = (Vec::new(), 0, None, String::new());
    for letter in inner.chars() {
        match (quote, letter) {
            (Some(end), letter) if letter == end => quote = None,
            (Some(_), _) => {}
            (None, '`' | '"' | '\'') => quote = Some(letter),
            (None, '[') => quote = Some(']'),
            (None, '(') => depth += 1,
            (None, ')') if depth == 0 => break,
            (None, ')') => depth -= 1,
            (None, ',') if depth == 0 => {
                found.push(std::mem::take(&mut one));
                continue;
            }
            _ => {}
        }
        one.push(letter);
    }
    found.push(one);
    found.iter().filter_map(|one| column(one.trim())).collect()
}

/// The name a column's definition begins with; a constraint of the table has none.
fn column(definition: &str) -> Option<String> {
    let first = definition.chars().next()?;
    let end = match first {
        '`' | '"' | '\'' => Some(first),
        '[' => Some(']'),
        _ => None,
    };
    if let Some(end) = end {
        return definition[1..].split(end).next().map(str::to_owned);
    }
    let word = definition.split(|letter: char| letter.is_whitespace() || letter == '(').next()?;
    let constraint = ["constraint", "primary", "unique", "check", "foreign"];
    (!constraint.contains(&word.to_ascii_lowercase().as_str())).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_the_names_a_table_was_made_with() {
        for (sql, names) in [
            ("CREATE TABLE `a` (`id` text PRIMARY KEY, `b c` integer DEFAULT (1, 2) NOT NULL)", vec!["id", "b c"]),
            (
                "create table a(id, \"x,y\" text, [z] real, n numeric(10,2), CHECK (id > 0))",
                vec!["id", "x,y", "z", "n"],
            ),
            (
                "CREATE TABLE a (id text, CONSTRAINT `c` FOREIGN KEY (`id`) REFERENCES b(`id`), primary key (id))",
                vec!["id"],
            ),
            ("CREATE TABLE a", vec![]),
        ] {
            assert_eq!(columns(sql), names, "{sql}");
        }
    }

    #[test]
    fn numbers_are_read_in_every_width() {
        for (kind, bytes, value) in [
            (1, &[0xff_u8][..], -1_i64),
            (2, &[0x01, 0x00], 256),
            (3, &[0xff, 0xff, 0xfe], -2),
            (6, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], i64::MAX),
            (9, &[], 1),
        ] {
            assert_eq!(one(kind, bytes), Value::from(value));
        }
        assert_eq!((one(13, &[]), one(17, b"hi"), one(16, b"xy")), ("".into(), "hi".into(), Value::Null));
        let mut at = 0;
        assert_eq!(varint(&[0x81, 0x00], &mut at), Some(128));
        assert_eq!(varint(&[0xff; 9], &mut 0), Some(u64::MAX));
        assert_eq!(varint(&[0x80], &mut 0), None);
    }
}
