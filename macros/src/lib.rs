//! The attributes of ringloop, which exports and documents them.
//!
//! All that they have to read is the head of one function. So they do that by hand, and a program that uses
//! ringloop does not have to build a parser of Rust first.

mod arguments;
mod function;
mod tokens;

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

use self::{
    arguments::{Arguments, Attribute},
    function::Function,
    tokens::{Error, code, list},
};

/// Runs an `async fn main` on a runtime: see `ringloop::main`.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand(Attribute::Main, arguments, item)
}

/// Runs an `async fn` as a test: see `ringloop::test`.
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand(Attribute::Test, arguments, item)
}

fn expand(attribute: Attribute, arguments: TokenStream, item: TokenStream) -> TokenStream {
    let written = || {
        let arguments = Arguments::parse(attribute, arguments)?;
        let function = Function::parse(attribute, item.clone())?;
        Ok(match attribute {
            Attribute::Main => write_main(&arguments, &function),
            Attribute::Test => write_test(&arguments, &function),
        })
    };
    match written() {
        Ok(tokens) => tokens,
        Err(error) => {
            let error: Error = error;
            [error.into_tokens(), function::stand_in(item)].into_iter().collect()
        }
    }
}

/// The function, with the asynchronous one inside.
fn write_main(arguments: &Arguments, function: &Function) -> TokenStream {
    let mut builder = arguments.path("Builder::new()");
    builder.extend(arguments.workers.first().map(|workers| call("workers", workers.clone())));
    let backend = arguments.backends.first();
    builder.extend(backend.map(|backend| call("backend", arguments.path(backend))));
    builder.extend(arguments.name.clone().map(|name| call("name", name)));
    let mut run = arguments.path("__macros::main");
    run.extend(parenthesized([builder, code(","), function.call()].into_iter().collect()));

    let body = [function.inner(), run];
    function.outer(function.returns.clone(), body.into_iter().collect())
}

fn write_test(arguments: &Arguments, function: &Function) -> TokenStream {
    let name = format!("::core::concat!(::core::module_path!(), \"::{}\")", function.name);
    let mut sweep = arguments.path("__macros::Sweep::new");
    sweep.extend(parenthesized(code(&name)));
    if !arguments.workers.is_empty() {
        sweep.extend(call("workers", list(arguments.workers.iter().cloned())));
    }
    if !arguments.backends.is_empty() {
        let backends = arguments.backends.iter().map(|backend| arguments.path(backend));
        sweep.extend(call("backends", list(backends)));
    }
    sweep.extend(arguments.name.clone().map(|name| call("name", name)));
    sweep.extend(arguments.deadline.clone().map(|deadline| call("deadline", deadline)));
    sweep.extend(function.should_panic.clone().map(|text| call("should_panic", text)));
    sweep.extend(call("run", TokenTree::from(function.name.clone()).into()));

    let (returns, end) = if function.returns.is_empty() {
        (TokenStream::new(), code(";"))
    } else {
        (code("-> ::std::process::ExitCode"), TokenStream::new())
    };
    let body = [function.inner(), sweep, end];
    let mut tokens = code("#[::core::prelude::v1::test]");
    tokens.extend(function.outer(returns, body.into_iter().collect()));
    tokens
}

/// `.method(argument)`
fn call(method: &str, argument: TokenStream) -> TokenStream {
    let mut tokens = code(&format!(".{method}"));
    tokens.extend(parenthesized(argument));
    tokens
}

fn parenthesized(tokens: TokenStream) -> TokenStream {
    TokenTree::from(Group::new(Delimiter::Parenthesis, tokens)).into()
}
