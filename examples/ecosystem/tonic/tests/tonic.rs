//! gRPC over our server and over our client's connections.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use harness::on_every;
use ringloop::{compat::hyper::HttpServer, gather, time::Instant};
use tonic::{Code, Request};
use tonic_on_ringloop::{
    Channel, connect,
    echo::{Slow, Text, echo_client::EchoClient},
    serve,
};

/// Longer than a test lasts.
const HOUR: u64 = 3_600_000;

fn text(text: &str) -> Text {
    Text { text: text.to_owned() }
}

async fn pair() -> (HttpServer, EchoClient<Channel>) {
    let server = serve("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", server.local_addrs()[0]).parse().unwrap();
    (server, connect(uri))
}

async fn end(server: HttpServer, client: EchoClient<Channel>) {
    drop(client);
    let drained = server.drain(Duration::from_secs(20)).await;
    assert_eq!((drained.cancelled, drained.aborted), (0, 0));
}

#[test]
fn calls_of_all_four_kinds_are_answered() {
    on_every(|| async {
        let (server, mut client) = pair().await;
        assert_eq!(client.say(text("hi")).await.unwrap().into_inner(), text("hi"));
        let status = client.say(text("")).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "say something"));

        let words = client.words(text("one two three")).await.unwrap().into_inner();
        let words: Vec<_> = words.map(|word| word.unwrap().text).collect().await;
        assert_eq!(words, ["one", "two", "three"]);

        let sent = stream::iter((0..200).map(|number| text(&number.to_string().repeat(1000))));
        let back = client.chat(sent.clone()).await.unwrap().into_inner();
        let back: Vec<_> = back.map(Result::unwrap).collect().await;
        assert!(back == sent.collect::<Vec<_>>().await);
        end(server, client).await;
    });
}

#[test]
fn many_calls_share_a_connection() {
    on_every(|| async {
        let (server, client) = pair().await;
        gather((0..100).map(|number| {
            let mut client = client.clone();
            async move {
                let said = text(&number.to_string());
                assert_eq!(client.say(said.clone()).await.unwrap().into_inner(), said);
            }
        }))
        .await;
        assert_eq!(server.server().connections(), 1);
        end(server, client).await;
    });
}

#[test]
fn a_deadline_ends_the_call_on_both_sides() {
    on_every(|| async {
        let (server, mut client) = pair().await;
        let within = |millis| {
            let mut request = Request::new(Slow { millis: HOUR });
            request.set_timeout(Duration::from_millis(millis));
            request
        };
        let begun = Instant::now();
        let status = client.wait(within(50)).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        // One that has begun to answer.
        let mut texts = client.stall(within(50)).await.unwrap().into_inner();
        assert_eq!(texts.message().await.unwrap(), Some(text("at once")));
        assert_eq!(texts.message().await.unwrap_err().code(), Code::DeadlineExceeded);
        assert!(begun.elapsed() >= Duration::from_millis(100));
        // A call that is quick enough, and one without a deadline.
        let mut quick = within(20_000);
        quick.get_mut().millis = 1;
        assert_eq!(client.wait(quick).await.unwrap().into_inner(), text("waited"));
        assert_eq!(client.wait(Slow { millis: 1 }).await.unwrap().into_inner(), text("waited"));
        // The server has nothing left to wait for.
        end(server, client).await;
    });
}

/// The server's side alone: a client that only sends the header.
#[test]
fn the_server_ends_a_call_by_itself() {
    on_every(|| async {
        let server = serve("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", server.local_addrs()[0]).parse().unwrap();
        let mut http = ringloop::compat::hyper::client_builder();
        let http = http.http2_only(true).build(ringloop::compat::hyper::HyperConnector::new());
        let mut client = EchoClient::with_origin(http, uri);
        let mut request = Request::new(Slow { millis: HOUR });
        request.set_timeout(Duration::from_millis(50));
        assert_eq!(client.wait(request).await.unwrap_err().code(), Code::DeadlineExceeded);
        drop(client);
        let drained = server.drain(Duration::from_secs(20)).await;
        assert_eq!((drained.cancelled, drained.aborted), (0, 0));
    });
}
