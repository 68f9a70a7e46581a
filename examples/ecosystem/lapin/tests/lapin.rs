//! lapin against RabbitMQ.

use std::process::Command;

use futures_util::StreamExt;
use harness::{Service, free_port, on_every, path_of};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, options::*,
    types::FieldTable,
};
use lapin_on_ringloop::runtime;
use ringloop::spawn;

const MESSAGES: u32 = 10_000;

/// A broker with nothing in it, and its port.
fn broker() -> Option<(Service, u16, tempfile::TempDir)> {
    let program = path_of("rabbitmq-server")?;
    let folder = tempfile::tempdir().unwrap();
    let (port, other) = (free_port(), free_port());
    let mut command = Command::new(program);
    let at = |name: &str| folder.path().join(name);
    command
        .env("HOME", folder.path())
        // The server itself, and no script around it.
        .env("RUNNING_UNDER_SYSTEMD", "1")
        .env("RABBITMQ_NODENAME", format!("ringloop{port}@localhost"))
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_DIST_PORT", other.to_string())
        .env("RABBITMQ_MNESIA_BASE", at("data"))
        .env("RABBITMQ_LOGS", "-")
        .env("RABBITMQ_PID_FILE", at("pid"))
        .env("RABBITMQ_CONFIG_FILE", at("none"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins"));
    Some((Service::start(&mut command, port), port, folder))
}

async fn publish(channel: &Channel, number: u32) -> lapin::Result<Confirmation> {
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let payload = number.to_be_bytes();
    channel.basic_publish("".into(), "numbers".into(), options, &payload, properties).await?.await
}

async fn connect(port: u16) -> Connection {
    let uri = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
    let properties = ConnectionProperties::default();
    Connection::connect_with_runtime(&uri, properties, runtime()).await.unwrap()
}

#[test]
fn messages_arrive_once() {
    let Some((_broker, port, _folder)) = broker() else { return };
    on_every(|| async {
        let sends = connect(port).await;
        let takes = connect(port).await;
        let (out, back) =
            (sends.create_channel().await.unwrap(), takes.create_channel().await.unwrap());
        for channel in [&out, &back] {
            let options = QueueDeclareOptions::durable();
            channel.queue_declare("numbers".into(), options, FieldTable::default()).await.unwrap();
        }
        out.confirm_select(ConfirmSelectOptions::default()).await.unwrap();

        let sending = spawn(async move {
            for number in 0..MESSAGES {
                publish(&out, number).await.unwrap();
            }
        });
        let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumed = back.basic_consume("numbers".into(), "takes".into(), options, table).await;
        let mut consumer = consumed.unwrap();
        let mut seen = vec![false; MESSAGES as usize];
        let mut left = MESSAGES;
        while left > 0 {
            let delivery = consumer.next().await.unwrap().unwrap();
            let number = u32::from_be_bytes(delivery.data.as_slice().try_into().unwrap());
            assert!(!std::mem::replace(&mut seen[number as usize], true), "{number} came twice");
            left -= 1;
            assert!(delivery.ack(BasicAckOptions::default()).await.unwrap());
        }
        sending.await.unwrap();
        back.queue_purge("numbers".into(), QueuePurgeOptions::default()).await.unwrap();
        sends.close(200, "done".into()).await.unwrap();
        takes.close(200, "done".into()).await.unwrap();
    });
}
