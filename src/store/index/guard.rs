//! What a person may ask of the index: one statement, and one that reads.
//!
//! The read-only, locked-down connection is what keeps everything safe; this only says so in plain words first.

use super::Error;

/// How statements that read begin.
const READS: [&str; 12] = [
    "SELECT",
    "WITH",
    "FROM",
    "VALUES",
    "TABLE",
    "DESCRIBE",
    "DESC",
    "SHOW",
    "EXPLAIN",
    "SUMMARIZE",
    "PIVOT",
    "UNPIVOT",
];

/// The statement without what follows its semicolon, when it is one and begins as a reading one does.
pub(super) fn one_reading_statement(sql: &str) -> Result<&str, Error> {
    let mut first: Option<(usize, usize)> = None;
    let mut end: Option<usize> = None;
    let mut at = 0;
    while at < sql.len() {
        let rest = &sql[at..];
        let (len, kind) = token(rest);
        match kind {
            Kind::Blank => {}
            _ if end.is_some() => {
                return Err(Error::Sql(
                    "that is more than one statement: give them to `holdback sql` one at a time".to_owned(),
                ));
            }
            Kind::Semicolon if first.is_some() => end = Some(at),
            Kind::Semicolon => {}
            Kind::Other if first.is_none() && rest.starts_with('(') => {}
            Kind::Other => {
                first.get_or_insert((at, at + len));
            }
        }
        at += len;
    }
    let Some((from, to)) = first else {
        return Err(Error::Sql("there is no statement in that; try: select * from traces limit 5".to_owned()));
    };
    let word = sql[from..to].to_ascii_uppercase();
    if !READS.contains(&word.as_str()) {
        return Err(Error::Sql(refusal(&word)));
    }
    Ok(&sql[..end.unwrap_or(sql.len())])
}

fn refusal(word: &str) -> String {
    let hint = match word {
        "INSERT" | "UPDATE" | "DELETE" | "CREATE" | "DROP" | "ALTER" | "TRUNCATE" | "MERGE" => {
            "the index only mirrors the recorded log and is made anew from it; \
             to remove traces use `holdback traces rm` or `holdback prune`"
        }
        "COPY" | "EXPORT" => {
            "files are written with `holdback sql --csv` or `--parquet FILE`, with the SELECT as the statement"
        }
        "ATTACH" | "INSTALL" | "LOAD" | "IMPORT" => "no files, networks or extensions are reached from here",
        "SET" | "RESET" | "PRAGMA" => "the connection's settings are locked",
        _ => "it should begin with SELECT, WITH, FROM, VALUES, DESCRIBE, SHOW, EXPLAIN, SUMMARIZE or PIVOT",
    };
    format!("`holdback sql` only reads, and a statement that begins with {word} does not: {hint}")
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Blank,
    Semicolon,
    Other,
}

/// Length and kind of the token at the start of `rest`, which isn't empty.
fn token(rest: &str) -> (usize, Kind) {
    let until = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |i| from + i + end.len());
    let first = rest.chars().next().unwrap_or(' ');
    if first.is_whitespace() {
        return (first.len_utf8(), Kind::Blank);
    }
    if rest.starts_with("--") {
        return (until("\n", 2), Kind::Blank);
    }
    if rest.starts_with("/*") {
        return (until("*/", 2), Kind::Blank);
    }
    match first {
        ';' => (1, Kind::Semicolon),
        '\'' => (until("'", 1), Kind::Other),
        '"' => (until("\"", 1), Kind::Other),
        '$' => (dollar_quoted(rest).unwrap_or(1), Kind::Other),
        _ if is_word(first) => (rest.find(|c: char| !is_word(c)).unwrap_or(rest.len()), Kind::Other),
        _ => (first.len_utf8(), Kind::Other),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of a `$tag$ … $tag$` literal.
fn dollar_quoted(rest: &str) -> Option<usize> {
    let tag_end = 1 + rest[1..].find('$')?;
    if !rest[1..tag_end].chars().all(is_word) {
        return None;
    }
    let tag = &rest[..=tag_end];
    rest[tag.len()..].find(tag).map(|i| tag.len() * 2 + i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_statements_pass_and_lose_their_semicolon() {
        for (given, kept) in [
            ("select 1", "select 1"),
            ("  -- note; really\n SELECT ';' ; \n", "  -- note; really\n SELECT ';' "),
            ("/* a; b */ with x as (select 1) from x;", "/* a; b */ with x as (select 1) from x"),
            ("((select 1))", "((select 1))"),
            ("select $$;$$, $t$ ; $$ $t$, \"a;b\", 'it''s;'", "select $$;$$, $t$ ; $$ $t$, \"a;b\", 'it''s;'"),
            ("; describe traces;", "; describe traces"),
            ("select 'ü;' -- end", "select 'ü;' -- end"),
        ] {
            assert_eq!(one_reading_statement(given).unwrap(), kept);
        }
    }

    #[test]
    fn what_writes_or_is_several_is_refused_in_plain_words() {
        for (given, word) in [
            ("delete from calls", "holdback prune"),
            ("  create table x (i int)", "CREATE"),
            ("copy calls to 'x.csv'", "--parquet"),
            ("ATTACH 'x'", "no files"),
            ("set threads = 4", "locked"),
            ("select 1; select 2", "one at a time"),
            ("", "no statement"),
            (" -- nothing ; \n;", "no statement"),
            ("selec 1", "begin with SELECT"),
            ("'x'", "begin with SELECT"),
        ] {
            let refused = one_reading_statement(given).unwrap_err().to_string();
            assert!(refused.contains(word), "{given}: {refused}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_to_its_end_without_a_slip(text in "\\PC*") {
            let _ = one_reading_statement(&text);
        }
    }
}
