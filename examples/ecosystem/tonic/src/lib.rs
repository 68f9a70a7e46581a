//! tonic on ringloop: its code generator and its codec, without its transport, which takes tokio's runtime. The server is
//! `serve_tower`, the client hyper-util's over our connections, and both obey the deadline that a request carries.

use std::{io, pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use hyper_util::client::legacy::Client;
use ringloop::{
    compat::{
        hyper::{HttpServer, HyperConnector, client_builder, serve_tower},
        tower::{GrpcTimeout, GrpcTimeoutLayer},
    },
    net::ToSocketAddrs,
    time,
};
use tonic::{
    Request, Response, Status, Streaming, body::Body, codegen::http::Uri, service::Routes,
};
use tower_layer::Layer;

use self::echo::{Slow, Text, echo_client::EchoClient, echo_server};

/// What tonic-prost-build makes of `echo.proto`.
#[allow(missing_docs)]
#[rustfmt::skip]
pub mod echo;

/// A channel of gRPC: requests share a connection of HTTP/2.
pub type Channel = GrpcTimeout<Client<HyperConnector, Body>>;

/// A client of the service at an address.
pub fn connect(uri: Uri) -> EchoClient<Channel> {
    let http = client_builder().http2_only(true).build(HyperConnector::new());
    EchoClient::with_origin(GrpcTimeoutLayer::new().layer(http), uri)
}

/// Serves it.
///
/// # Errors
///
/// Nothing can be bound.
pub async fn serve(addrs: impl ToSocketAddrs) -> io::Result<HttpServer> {
    // As many services as there are, and what tower has for them.
    let routes = Routes::new(echo_server::EchoServer::new(Echo)).prepare();
    serve_tower(addrs, GrpcTimeoutLayer::new().layer(routes)).await
}

/// The service.
pub struct Echo;

type Texts = Pin<Box<dyn Stream<Item = Result<Text, Status>> + Send>>;

/// Sleeps for as long as the request says.
async fn wait(slow: Request<Slow>) {
    time::sleep(Duration::from_millis(slow.into_inner().millis)).await;
}

#[tonic::async_trait]
impl echo_server::Echo for Echo {
    async fn say(&self, request: Request<Text>) -> Result<Response<Text>, Status> {
        let text = request.into_inner();
        if text.text.is_empty() {
            return Err(Status::invalid_argument("say something"));
        }
        Ok(Response::new(text))
    }

    type WordsStream = Texts;

    async fn words(&self, request: Request<Text>) -> Result<Response<Texts>, Status> {
        let text = request.into_inner().text;
        let words: Vec<_> =
            text.split(' ').map(|word| Ok(Text { text: word.to_owned() })).collect();
        Ok(Response::new(stream::iter(words).boxed()))
    }

    type ChatStream = Texts;

    async fn chat(&self, request: Request<Streaming<Text>>) -> Result<Response<Texts>, Status> {
        Ok(Response::new(request.into_inner().boxed()))
    }

    async fn wait(&self, request: Request<Slow>) -> Result<Response<Text>, Status> {
        wait(request).await;
        Ok(Response::new(Text { text: "waited".to_owned() }))
    }

    type StallStream = Texts;

    async fn stall(&self, request: Request<Slow>) -> Result<Response<Texts>, Status> {
        let text = |text: &str| Ok(Text { text: text.to_owned() });
        let first = stream::iter([text("at once")]);
        let last = stream::once(async move {
            wait(request).await;
            text("at last")
        });
        Ok(Response::new(first.chain(last).boxed()))
    }
}
