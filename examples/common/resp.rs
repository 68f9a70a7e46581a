//! A table of keys and values, and the commands on it in the protocol of redis (RESP 2): no runtime, and no I/O.
//!
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Parts of the table, each behind a lock of its own.
const PARTS: usize = 64;
/// The largest value and the longest command line, in bytes.
const LARGEST: usize = 8 << 20;
/// Arguments that a command may have.
const ARGUMENTS: usize = 1024;

type Part = HashMap<Box<[u8]>, Arc<[u8]>>;

/// Keys and values in memory.
pub struct Table {
    hasher: RandomState,
    parts: [Mutex<Part>; PARTS],
}

/// What came is not the protocol: the connection has to end.
#[derive(Debug, PartialEq)]
pub struct Broken(pub &'static str);

impl Table {
    pub fn new() -> Self {
        Self { hasher: RandomState::new(), parts: std::array::from_fn(|_| Mutex::default()) }
    }

    /// No lock is held longer than one access, and none over an await.
    fn part(&self, key: &[u8]) -> MutexGuard<'_, Part> {
        let at = self.hasher.hash_one(key) as usize % PARTS;
        self.parts[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        self.part(key).get(key).cloned()
    }

    fn set(&self, key: &[u8], value: &[u8]) {
        self.part(key).insert(key.into(), value.into());
    }

    fn add(&self, key: &[u8], number: i64) -> Result<i64, &'static str> {
        let mut part = self.part(key);
        let old = match part.get(key) {
            Some(value) => str::from_utf8(value).ok().and_then(|text| text.parse().ok()),
            None => Some(0),
        };
        let new = old.and_then(|old: i64| old.checked_add(number));
        let new = new.ok_or("ERR value is not an integer or out of range")?;
        part.insert(key.into(), new.to_string().as_bytes().into());
        Ok(new)
    }

    fn len(&self) -> usize {
        let len = |part: &Mutex<Part>| part.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.parts.iter().map(len).sum()
    }
}

/// Carries out the commands that are whole, appends their answers to `output`, and gives the number of bytes that they
/// took.
pub fn answer(table: &Table, input: &[u8], output: &mut Vec<u8>) -> Result<usize, Broken> {
    let (mut taken, mut parts) = (0, Vec::new());
    while let Some(len) = split(&input[taken..], &mut parts)? {
        let command: Vec<_> = parts.drain(..).map(|part| &input[taken..][part]).collect();
        carry_out(table, &command, output);
        taken += len;
    }
    Ok(taken)
}

/// The parts of the first command, and its length; `None` if it is not whole.
fn split(input: &[u8], parts: &mut Vec<Range<usize>>) -> Result<Option<usize>, Broken> {
    parts.clear();
    let Some((line, mut at)) = line(input, 0)? else { return Ok(None) };
    let Some(count) = line.strip_prefix(b"*") else {
        // By hand, as of nc: words on a line.
        for word in line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
            let from = word.as_ptr() as usize - input.as_ptr() as usize;
            parts.push(from..from + word.len());
        }
        return Ok(Some(at));
    };
    for _ in 0..number(count, ARGUMENTS)? {
        let Some((line, from)) = self::line(input, at)? else { return Ok(None) };
        let len = line.strip_prefix(b"$").ok_or(Broken("ERR Protocol error: expected '$'"))?;
        let to = from + number(len, LARGEST)?;
        if input.len() < to + 2 {
            return Ok(None);
        }
        parts.push(from..to);
        at = to + 2;
    }
    Ok(Some(at))
}

/// The line from `from` on, without its end, and where the next one begins.
fn line(input: &[u8], from: usize) -> Result<Option<(&[u8], usize)>, Broken> {
    match input[from..].iter().position(|&byte| byte == b'\n') {
        Some(len) => {
            let line = &input[from..from + len];
            Ok(Some((line.strip_suffix(b"\r").unwrap_or(line), from + len + 1)))
        }
        None if input.len() - from > LARGEST => Err(Broken("ERR Protocol error: too big line")),
        None => Ok(None),
    }
}

fn number(text: &[u8], most: usize) -> Result<usize, Broken> {
    let number = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.filter(|&number| number <= most).ok_or(Broken("ERR Protocol error: invalid length"))
}

fn carry_out(table: &Table, command: &[&[u8]], output: &mut Vec<u8>) {
    let Some((name, arguments)) = command.split_first() else { return };
    match (&*name.to_ascii_uppercase(), arguments) {
        (b"PING", []) => output.extend(b"+PONG\r\n"),
        (b"PING" | b"ECHO", [text]) => bulk(output, text),
        (b"GET", [key]) => match table.get(key) {
            Some(value) => bulk(output, &value),
            None => output.extend(b"$-1\r\n"),
        },
        (b"SET", [key, value]) => {
            table.set(key, value);
            output.extend(b"+OK\r\n");
        }
        (b"MSET", pairs) if !pairs.is_empty() && pairs.len().is_multiple_of(2) => {
            pairs.chunks(2).for_each(|pair| table.set(pair[0], pair[1]));
            output.extend(b"+OK\r\n");
        }
        (b"INCR", [key]) => match table.add(key, 1) {
            Ok(number) => integer(output, number),
            Err(error) => refuse(output, error),
        },
        (b"DEL", keys) if !keys.is_empty() => {
            let gone = keys.iter().filter(|&&key| table.part(key).remove(key).is_some()).count();
            integer(output, gone as i64);
        }
        (b"EXISTS", keys) if !keys.is_empty() => {
            let here = keys.iter().filter(|&&key| table.part(key).contains_key(key)).count();
            integer(output, here as i64);
        }
        (b"DBSIZE", []) => integer(output, table.len() as i64),
        // Tools ask for these before they begin.
        (b"CONFIG" | b"COMMAND", _) => output.extend(b"*0\r\n"),
        _ => {
            let name = String::from_utf8_lossy(name);
            let name: String = name.chars().filter(|c| !c.is_control()).take(32).collect();
            refuse(output, &format!("ERR unknown command '{name}', or not with such arguments"));
        }
    }
}

fn bulk(output: &mut Vec<u8>, value: &[u8]) {
    output.extend(format!("${}\r\n", value.len()).as_bytes());
    output.extend(value);
    output.extend(b"\r\n");
}

fn integer(output: &mut Vec<u8>, number: i64) {
    output.extend(format!(":{number}\r\n").as_bytes());
}

pub fn refuse(output: &mut Vec<u8>, error: &str) {
    output.extend(format!("-{error}\r\n").as_bytes());
}
