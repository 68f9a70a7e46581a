//! redis-rs over ringloop's stream, against a real server.

use std::{process::Command, sync::Arc, time::Duration};

use harness::{Service, free_port, has, on_every};
use redis::{
    AsyncCommands, AsyncConnectionConfig, PushInfo, PushKind, RedisConnectionInfo, RedisResult,
    Value, aio::MultiplexedConnection, cmd, pipe,
};
use redis_on_ringloop::{answer, connect};
use ringloop::{gather, net::TcpStream, spawn, sync::Queue, time};

/// A server with nothing in it, and its port.
fn server() -> Option<(Service, u16)> {
    if !has("redis-server") {
        return None;
    }
    let port = free_port();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
    Some((Service::start(&mut command, port), port))
}

#[test]
fn tasks_share_a_connection() {
    let Some((_server, port)) = server() else { return };
    on_every(|| async {
        let config = AsyncConnectionConfig::new();
        let (connection, driver) = connect(("127.0.0.1", port), config).await.unwrap();
        let large = "x".repeat(1 << 20);
        gather((0..50).map(|number| {
            let (mut connection, large) = (connection.clone(), &large);
            async move {
                let key = format!("key {number}");
                let _: () = answer(connection.set(&key, number)).await.unwrap();
                let counted: usize = answer(connection.incr(&key, 1)).await.unwrap();
                assert_eq!(counted, number + 1);
                if number % 10 == 0 {
                    let _: () = answer(connection.set(&key, large)).await.unwrap();
                    let back: String = answer(connection.get(&key)).await.unwrap();
                    assert!(back == *large);
                }
            }
        }))
        .await;
        let mut own = connection.clone();
        let mut both = pipe();
        both.atomic().set("a", 1).ignore().incr("a", 4).get("a");
        let (sum, read): (i32, i32) = answer(both.query_async(&mut own)).await.unwrap();
        assert_eq!((sum, read), (5, 5));
        let error = answer::<i64>(cmd("INCR").arg(&["a", "b"]).query_async(&mut own)).await;
        assert!(error.unwrap_err().to_string().contains("wrong number of arguments"));
        // The last one ends the driver.
        drop((connection, own));
        driver.await.unwrap();
    });
}

#[test]
fn messages_of_channels_come_on_the_same_connection() {
    let Some((_server, port)) = server() else { return };
    on_every(|| async {
        let pushed = Arc::new(Queue::unbounded());
        let sender = pushed.clone();
        let push = move |info: PushInfo| sender.try_put(info);
        let config = AsyncConnectionConfig::new().set_push_sender(push);
        let (mut hears, _driver) = connect(("127.0.0.1", port), config).await.unwrap();
        let config = AsyncConnectionConfig::new();
        let (mut says, _other) = connect(("127.0.0.1", port), config).await.unwrap();
        answer(hears.subscribe("news")).await.unwrap();
        answer(hears.psubscribe("sport.*")).await.unwrap();
        for number in 0..100 {
            let heard: i32 = answer(says.publish("news", number)).await.unwrap();
            assert_eq!(heard, 1);
        }
        let _: i32 = answer(says.publish("sport.chess", "mate")).await.unwrap();
        let mut numbers: Vec<i32> = Vec::new();
        loop {
            let PushInfo { kind, data } = pushed.get().await.unwrap();
            let Some(Value::BulkString(last)) = data.last() else { continue };
            match kind {
                PushKind::Message => numbers.push(String::from_utf8_lossy(last).parse().unwrap()),
                PushKind::PMessage => {
                    assert_eq!(last, b"mate");
                    break;
                }
                _ => {}
            }
        }
        assert_eq!(numbers, (0..100).collect::<Vec<i32>>());
        // Commands go on beside it.
        let pong: String = answer(cmd("PING").query_async(&mut hears)).await.unwrap();
        assert_eq!(pong, "PONG");
    });
}

/// What a user trips over: the item is gone from the list, and nobody has it.
#[test]
fn a_dropped_blpop_loses_what_it_takes() {
    let Some((_server, port)) = server() else { return };
    on_every(|| async {
        let config = AsyncConnectionConfig::new;
        let (mut waits, _driver) = connect(("127.0.0.1", port), config()).await.unwrap();
        let (mut pushes, _other) = connect(("127.0.0.1", port), config()).await.unwrap();
        let take = async {
            let taken: RedisResult<Option<(String, String)>> = waits.blpop("list", 0.0).await;
            taken
        };
        let limit = time::timeout(Duration::from_millis(20), take).await;
        assert!(limit.is_err(), "nothing is there");
        let _: i32 = answer(pushes.rpush("list", "item")).await.unwrap();
        // The server gives the item to the command that nobody waits for.
        let left: i32 = answer(pushes.llen("list")).await.unwrap();
        assert_eq!(left, 0);
    });
}

/// What a user trips over: the limit that is set by default takes tokio's timers.
#[test]
fn the_default_limit_panics_without_tokio() {
    let Some((_server, port)) = server() else { return };
    on_every(|| async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let info = RedisConnectionInfo::default();
        let config = AsyncConnectionConfig::new();
        let made = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (mut connection, driver) = made.unwrap();
        spawn(driver).detach();
        let pinged = spawn(async move {
            let pong: RedisResult<String> = cmd("PING").query_async(&mut connection).await;
            pong
        });
        let text = pinged.await.unwrap_err().to_string();
        assert!(text.contains("there is no reactor running"), "{text}");
    });
}
