//! The function that an attribute stands at.

use proc_macro::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};

use crate::{
    arguments::Attribute,
    tokens::{Error, code, is_ident, is_punct, place_of},
};

/// An `async fn` without arguments.
pub struct Function {
    attributes: TokenStream,
    visibility: TokenStream,
    pub name: Ident,
    /// What stands between the arguments and the body: an arrow and a type, or nothing.
    pub returns: TokenStream,
    body: Group,
    /// Of a test that is to panic: with which text, as an `Option`.
    pub should_panic: Option<TokenStream>,
}

impl Function {
    pub fn parse(attribute: Attribute, item: TokenStream) -> Result<Self, Error> {
        let not_one = |at: &[TokenTree]| {
            Error::new(
                place_of(at),
                format!("{attribute} stands at an `async fn`, of which this is none"),
            )
        };
        let tokens: Vec<TokenTree> = item.into_iter().collect();
        let (attributes, rest) = split_attributes(&tokens);
        let should_panic = read_attributes(attribute, attributes)?;
        let start = rest.iter().position(|token| is_ident(token, "fn"));
        let (head, rest) = rest.split_at(start.ok_or_else(|| not_one(&tokens))?);
        let [function, TokenTree::Ident(name), rest @ ..] = rest else {
            return Err(not_one(rest));
        };
        let visibility = read_head(attribute, head, function.span())?;
        let [TokenTree::Group(arguments), rest @ ..] = rest else {
            let text = format!(
                "{attribute} stands at a function without parameters of types or lifetimes"
            );
            return Err(Error::new(place_of(rest), text));
        };
        if !arguments.stream().is_empty() {
            let text =
                format!("a function with {attribute} takes no arguments: nobody gives it any");
            return Err(Error::new(arguments.span(), text));
        }
        let no_body = || Error::new(name.span(), "the function has no body");
        let (body, returns) = rest.split_last().ok_or_else(no_body)?;
        let body = as_body(body).ok_or_else(no_body)?;
        Ok(Self {
            attributes: attributes.iter().cloned().collect(),
            visibility: visibility.iter().cloned().collect(),
            name: name.clone(),
            returns: returns.iter().cloned().collect(),
            body,
            should_panic,
        })
    }

    /// The asynchronous function, as it was written, for the inside of the other.
    pub fn inner(&self) -> TokenStream {
        let mut tokens = code("async fn");
        tokens.extend([TokenTree::from(self.name.clone())]);
        tokens.extend(code("()"));
        tokens.extend(self.returns.clone());
        tokens.extend([TokenTree::from(self.body.clone())]);
        tokens
    }

    /// A call of it: a future.
    pub fn call(&self) -> TokenStream {
        let mut tokens = TokenStream::from(TokenTree::from(self.name.clone()));
        tokens.extend(code("()"));
        tokens
    }

    /// The function that takes its place.
    pub fn outer(&self, returns: TokenStream, body: TokenStream) -> TokenStream {
        let mut tokens = self.attributes.clone();
        tokens.extend(self.visibility.clone());
        tokens.extend(code("fn"));
        tokens.extend([TokenTree::from(self.name.clone())]);
        tokens.extend(code("()"));
        tokens.extend(returns);
        let mut body = Group::new(Delimiter::Brace, body);
        // Where the compiler misses a value, it shows the body that was written.
        body.set_span(self.body.span());
        tokens.extend([TokenTree::from(body)]);
        tokens
    }
}

/// A group in braces: the one that was handed through a macro as well.
fn as_body(token: &TokenTree) -> Option<Group> {
    let TokenTree::Group(group) = token else { return None };
    match group.delimiter() {
        Delimiter::Brace => Some(group.clone()),
        Delimiter::None => as_body(&group.stream().into_iter().next()?),
        _ => None,
    }
}

/// What stands in place of a function that was refused, so that no more is missed than what is wrong: a
/// `main` cannot be `async`, and has to be there.
pub fn stand_in(item: TokenStream) -> TokenStream {
    let tokens: Vec<TokenTree> = item.clone().into_iter().collect();
    let is_main = |pair: &[TokenTree]| is_ident(&pair[0], "fn") && is_ident(&pair[1], "main");
    if tokens.windows(2).any(is_main) { code("fn main() {}") } else { item }
}

/// The attributes at the front, each a `#` and a group.
fn split_attributes(tokens: &[TokenTree]) -> (&[TokenTree], &[TokenTree]) {
    let pairs = tokens.chunks(2).take_while(|pair| {
        is_punct(&pair[0], '#') && matches!(pair.get(1), Some(TokenTree::Group(_)))
    });
    tokens.split_at(2 * pairs.count())
}

/// What is to be known of a test's other attributes: the text with which it is to panic.
fn read_attributes(
    attribute: Attribute,
    attributes: &[TokenTree],
) -> Result<Option<TokenStream>, Error> {
    let mut should_panic = None;
    if attribute == Attribute::Main {
        return Ok(should_panic);
    }
    for group in attributes.iter().skip(1).step_by(2) {
        let TokenTree::Group(group) = group else { continue };
        let inner: Vec<TokenTree> = group.stream().into_iter().collect();
        let is_path =
            |token: &&TokenTree| matches!(token, TokenTree::Ident(_)) || is_punct(token, ':');
        let path = inner.iter().take_while(is_path).last();
        if path.is_some_and(|name| is_ident(name, "test")) {
            let text = "the function has a second attribute that makes it a test: take one away";
            return Err(Error::new(group.span(), text));
        }
        if inner.first().is_some_and(|name| is_ident(name, "should_panic")) {
            should_panic = Some(expected_text(&inner[1..]));
        }
    }
    Ok(should_panic)
}

/// Of `(expected = "text")` or `= "text"`, the text.
fn expected_text(tokens: &[TokenTree]) -> TokenStream {
    let text = match tokens {
        [TokenTree::Group(group)] => group.stream().into_iter().last(),
        _ => tokens.last().cloned(),
    };
    match text {
        Some(text @ TokenTree::Literal(_)) => {
            let mut tokens = code("::core::option::Option::Some");
            tokens.extend([TokenTree::from(Group::new(Delimiter::Parenthesis, text.into()))]);
            tokens
        }
        _ => code("::core::option::Option::None"),
    }
}

/// Of what stands before `fn`, the visibility.
fn read_head(
    attribute: Attribute,
    head: &[TokenTree],
    function: Span,
) -> Result<&[TokenTree], Error> {
    let Some(start) = head.iter().position(|token| is_ident(token, "async")) else {
        let text = format!("a function with {attribute} is asynchronous: write `async fn`");
        return Err(Error::new(function, text));
    };
    let (visibility, rest) = head.split_at(start);
    let odd = visibility.iter().find(|token| is_ident(token, "const")).or(rest.get(1));
    match odd {
        Some(odd) => {
            let text =
                format!("a function with {attribute} is a plain `async fn`, without `{odd}`");
            Err(Error::new(odd.span(), text))
        }
        None => Ok(visibility),
    }
}
