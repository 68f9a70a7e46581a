//! What stands in the brackets of an attribute.

use std::{fmt, time::Duration};

use proc_macro::{Delimiter, Ident, TokenStream, TokenTree};

use crate::tokens::{Error, as_ident, as_literal, as_text, code, is_punct, place_of, split};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    Main,
    Test,
}

impl Attribute {
    /// Its arguments, and whether they are there for this one.
    fn knows(self, name: &str) -> Option<bool> {
        match name {
            "workers" | "backend" | "name" | "crate" => Some(true),
            "backends" | "deadline" => Some(self == Self::Test),
            _ => None,
        }
    }

    fn all(self) -> &'static str {
        match self {
            Self::Main => "workers, backend, name and crate",
            Self::Test => "workers, backend, backends, deadline, name and crate",
        }
    }
}

/// What is to be written in place of an argument of tokio's attributes.
fn of_tokio(name: &str) -> &'static str {
    match name {
        "worker_threads" => "; tokio's `worker_threads = 2` is `workers = 2`",
        "flavor" => {
            "; tokio's `flavor = \"current_thread\"` is `workers = 1`, and \"multi_thread\" is the default"
        }
        "start_paused" => "; for tokio's `start_paused` build the runtime by `Builder::mock_clock`",
        _ => "",
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Main => "#[ringloop::main]",
            Self::Test => "#[ringloop::test]",
        })
    }
}

/// The arguments, each as the code that it stands for.
pub struct Arguments {
    /// The path of ringloop.
    krate: TokenStream,
    /// Counts of workers: of `main`, one at most.
    pub workers: Vec<TokenStream>,
    /// Variants of `Backend`, with the name of the type: of `main`, one at most.
    pub backends: Vec<&'static str>,
    pub name: Option<TokenStream>,
    pub deadline: Option<TokenStream>,
}

impl Arguments {
    pub fn parse(attribute: Attribute, tokens: TokenStream) -> Result<Self, Error> {
        let mut arguments = Self {
            krate: code("::ringloop"),
            workers: Vec::new(),
            backends: Vec::new(),
            name: None,
            deadline: None,
        };
        let mut seen: Vec<String> = Vec::new();
        for part in split(tokens) {
            let (name, value) = split_argument(attribute, &part)?;
            let text = name.to_string();
            match attribute.knows(&text) {
                Some(true) => {}
                Some(false) => {
                    let text = format!(
                        "`{text}` is for #[ringloop::test]: {attribute} takes {}",
                        attribute.all()
                    );
                    return Err(Error::new(name.span(), text));
                }
                None => {
                    let text = format!(
                        "there is no argument `{text}`: {attribute} takes {}{}",
                        attribute.all(),
                        of_tokio(&text)
                    );
                    return Err(Error::new(name.span(), text));
                }
            }
            // `backend` and `backends` say the same thing.
            let subject = text.trim_end_matches('s').to_owned();
            if seen.contains(&subject) {
                return Err(Error::new(name.span(), format!("`{text}` is said twice")));
            }
            seen.push(subject);
            arguments.take(attribute, &text, value)?;
        }
        Ok(arguments)
    }

    fn take(&mut self, attribute: Attribute, name: &str, value: &[TokenTree]) -> Result<(), Error> {
        match name {
            "workers" => self.workers = workers(attribute, value)?,
            "backend" => self.backends = vec![backend(value)?],
            "backends" => {
                let text = "`backends` is a list: `backends = [\"uring\", \"epoll\"]`";
                let items = items(value).ok_or_else(|| Error::new(place_of(value), text))?;
                self.backends = items.iter().map(|item| backend(item)).collect::<Result<_, _>>()?;
            }
            "deadline" => self.deadline = Some(deadline(value)?),
            "name" => self.name = Some(value.iter().cloned().collect()),
            _ => self.krate = krate(value)?,
        }
        Ok(())
    }

    /// A path below ringloop's.
    pub fn path(&self, rest: &str) -> TokenStream {
        let mut tokens = self.krate.clone();
        tokens.extend(code(&format!("::{rest}")));
        tokens
    }
}

/// Of `name = value`, both.
fn split_argument(
    attribute: Attribute,
    part: &[TokenTree],
) -> Result<(&Ident, &[TokenTree]), Error> {
    let name = part.first().and_then(as_ident).ok_or_else(|| {
        let text = format!("{attribute} takes {}, each as `name = value`", attribute.all());
        Error::new(place_of(part), text)
    })?;
    match part {
        [_, equals, value @ ..] if is_punct(equals, '=') && !value.is_empty() => Ok((name, value)),
        _ => Err(Error::new(name.span(), format!("`{name}` has a value: `{name} = ..`"))),
    }
}

/// What is in a list that is not empty.
fn items(value: &[TokenTree]) -> Option<Vec<Vec<TokenTree>>> {
    let [TokenTree::Group(group)] = value else { return None };
    let items = match group.delimiter() {
        Delimiter::Bracket => split(group.stream()),
        Delimiter::None => items(&group.stream().into_iter().collect::<Vec<_>>())?,
        _ => return None,
    };
    (!items.is_empty() && items.iter().all(|item| !item.is_empty())).then_some(items)
}

fn workers(attribute: Attribute, value: &[TokenTree]) -> Result<Vec<TokenStream>, Error> {
    let is_list =
        matches!(value, [TokenTree::Group(group)] if group.delimiter() == Delimiter::Bracket);
    let counts = match items(value) {
        Some(_) if attribute == Attribute::Main => {
            let text =
                "a program has one count of workers: a list of them is for #[ringloop::test]";
            return Err(Error::new(place_of(value), text));
        }
        Some(items) => items,
        None if is_list => {
            return Err(Error::new(place_of(value), "the list names no count of workers"));
        }
        None => vec![value.to_vec()],
    };
    for count in &counts {
        let is_number = |literal: &String| literal.starts_with(|c: char| c.is_ascii_digit());
        let literal = as_literal(count).map(|literal| literal.to_string());
        if literal.as_ref().is_some_and(|literal| !is_number(literal)) {
            return Err(Error::new(place_of(count), "`workers` is a number: `workers = 2`"));
        }
        if literal.is_some_and(|literal| literal == "0") {
            return Err(Error::new(place_of(count), "0 workers run nothing: give it at least 1"));
        }
    }
    Ok(counts.into_iter().map(|count| count.into_iter().collect()).collect())
}

fn backend(value: &[TokenTree]) -> Result<&'static str, Error> {
    match as_text(value).as_deref() {
        Some("auto") => Ok("Backend::Auto"),
        Some("uring") => Ok("Backend::Uring"),
        Some("epoll") => Ok("Backend::Epoll"),
        _ => {
            let text = "there is no such backend: say \"auto\", \"uring\" or \"epoll\"";
            Err(Error::new(place_of(value), text))
        }
    }
}

fn deadline(value: &[TokenTree]) -> Result<TokenStream, Error> {
    const SAY: &str = "`deadline` is a time: a number of seconds, or \"30s\", \"500ms\", \"2m\"";
    let read = |number: &str, unit: f64| {
        let seconds = number.trim_end().replace('_', "").parse::<f64>().ok()? * unit;
        Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero())
    };
    let time = match as_text(value) {
        Some(text) => {
            let start = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
            let (number, unit) = text.split_at(start);
            let unit = match unit {
                "ms" => Some(0.001),
                "s" => Some(1.0),
                "m" => Some(60.0),
                _ => None,
            };
            unit.and_then(|unit| read(number, unit))
        }
        None => as_literal(value).and_then(|literal| read(&literal.to_string(), 1.0)),
    };
    let time = time.ok_or_else(|| Error::new(place_of(value), SAY))?;
    let (seconds, nanos) = (time.as_secs(), time.subsec_nanos());
    Ok(code(&format!("::core::time::Duration::new({seconds}, {nanos})")))
}

/// A path, written as one or as a string.
fn krate(value: &[TokenTree]) -> Result<TokenStream, Error> {
    let wrong = || Error::new(place_of(value), "`crate` is the path of ringloop: `crate = ring`");
    let path: TokenStream = match as_literal(value) {
        Some(_) => as_text(value).and_then(|text| text.parse().ok()).ok_or_else(wrong)?,
        None => value.iter().cloned().collect(),
    };
    let is_path = |token: TokenTree| as_ident(&token).is_some() || is_punct(&token, ':');
    if path.is_empty() || !path.clone().into_iter().all(is_path) {
        return Err(wrong());
    }
    Ok(path)
}
