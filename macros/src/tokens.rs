//! What is needed of tokens, and errors.

use proc_macro::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

/// What the compiler says instead of building the program.
pub struct Error {
    at: Span,
    text: String,
}

impl Error {
    pub fn new(at: Span, text: impl Into<String>) -> Self {
        Self { at, text: text.into() }
    }

    /// `::core::compile_error! { "text" }`, at its place in the source.
    pub fn into_tokens(self) -> TokenStream {
        let text = TokenTree::from(Literal::string(&self.text));
        let mut tokens = code("::core::compile_error!");
        tokens.extend([TokenTree::from(Group::new(Delimiter::Brace, text.into()))]);
        tokens.into_iter().map(|token| place(token, self.at)).collect()
    }
}

fn place(mut token: TokenTree, at: Span) -> TokenTree {
    if let TokenTree::Group(group) = &token {
        let inner = group.stream().into_iter().map(|token| place(token, at)).collect();
        token = Group::new(group.delimiter(), inner).into();
    }
    token.set_span(at);
    token
}

/// Tokens from text, which name what is visible where the attribute stands.
pub fn code(text: &str) -> TokenStream {
    text.parse().expect("written by us")
}

/// `&[a, b, c]`
pub fn list(items: impl Iterator<Item = TokenStream>) -> TokenStream {
    let mut inner = TokenStream::new();
    for item in items {
        inner.extend(item);
        inner.extend(code(","));
    }
    let reference = TokenTree::from(Punct::new('&', Spacing::Alone));
    [reference, Group::new(Delimiter::Bracket, inner).into()].into_iter().collect()
}

/// The parts between commas.
pub fn split(tokens: TokenStream) -> Vec<Vec<TokenTree>> {
    let mut parts = vec![Vec::new()];
    for token in tokens {
        if is_punct(&token, ',') {
            parts.push(Vec::new());
        } else {
            parts.last_mut().expect("never empty").push(token);
        }
    }
    // One may stand at the end.
    parts.pop_if(|last| last.is_empty());
    parts
}

pub fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

pub fn is_ident(token: &TokenTree, name: &str) -> bool {
    as_ident(token).is_some_and(|ident| ident.to_string() == name)
}

pub fn as_ident(token: &TokenTree) -> Option<&Ident> {
    match token {
        TokenTree::Ident(ident) => Some(ident),
        _ => None,
    }
}

/// The only token, if it is a literal: the one that was handed through a macro as well.
pub fn as_literal(tokens: &[TokenTree]) -> Option<Literal> {
    match tokens {
        [TokenTree::Literal(literal)] => Some(literal.clone()),
        [TokenTree::Group(group)] if group.delimiter() == Delimiter::None => {
            as_literal(&group.stream().into_iter().collect::<Vec<_>>())
        }
        _ => None,
    }
}

/// The text of a string's literal, if it has no escapes.
pub fn as_text(tokens: &[TokenTree]) -> Option<String> {
    let text = as_literal(tokens)?.to_string();
    let text = text.strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('\\')).then(|| text.to_owned())
}

/// Where they begin.
pub fn place_of(tokens: &[TokenTree]) -> Span {
    tokens.first().map_or_else(Span::call_site, TokenTree::span)
}
