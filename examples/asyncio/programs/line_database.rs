//! A client of a database that speaks in lines. Many tasks share one connection: their questions go out without waiting
//! for each other, and the answers come in the same order.
//!
//! ```python
//! import asyncio, collections
//!
//! class Client:
//!     def __init__(self, reader, writer):
//!         self.writer, self.waiting = writer, collections.deque()
//!         self.answers = asyncio.create_task(self.read(reader))
//!
//!     async def ask(self, line):
//!         answer = asyncio.get_running_loop().create_future()
//!         self.waiting.append(answer)
//!         self.writer.write(f"{line}\n".encode())
//!         await self.writer.drain()
//!         return await answer
//!
//!     async def read(self, reader):
//!         while line := await reader.readline():
//!             sign, text = line[:1], line[1:].decode().strip()
//!             answer = self.waiting.popleft()
//!             if sign == b"+":
//!                 answer.set_result(text)
//!             else:
//!                 answer.set_exception(KeyError(text))
//!
//! async def main():
//!     client = Client(*await asyncio.open_connection("127.0.0.1", await database()))
//!     await asyncio.gather(*(client.ask(f"SET {n} {n * n}") for n in range(10)))
//!     print(await asyncio.gather(*(client.ask(f"GET {n}") for n in range(10))))
//!     try:
//!         await client.ask("GET pi")
//!     except KeyError as error:
//!         print("error:", error)
//!     client.writer.close()
//!     await client.answers
//!
//! asyncio.run(main())
//! ```

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use ringloop::{
    Task, spawn,
    streams::{self, StreamReader, StreamWriter},
    sync::{
        Promise,
        channel::{Receiver, Sender, channel},
        oneshot,
    },
    try_gather,
};

/// Questions that may be on their way at once. More of them wait.
const IN_FLIGHT: usize = 64;

type Answer = Promise<Result<String, String>>;

/// Clones share the connection. It closes when the last of them is gone.
#[derive(Clone)]
struct Client {
    questions: Sender<(String, Answer)>,
}

impl Client {
    /// The client, and the task that serves the connection.
    fn new(reader: StreamReader, writer: StreamWriter) -> (Self, Task<io::Result<()>>) {
        let (questions, asked) = channel(IN_FLIGHT);
        (Self { questions }, spawn(converse(reader, writer, asked)))
    }

    /// A task that stops to wait loses its answer only: the others keep their places.
    async fn ask(&self, line: String) -> Result<String, String> {
        let (promise, answer) = oneshot();
        let gone = || "the connection is gone".to_owned();
        self.questions.send((line, promise)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

async fn converse(
    mut reader: StreamReader,
    mut writer: StreamWriter,
    asked: Receiver<(String, Answer)>,
) -> io::Result<()> {
    let (waiting, answered) = channel::<Answer>(IN_FLIGHT);
    let questions = async move {
        while let Ok((line, answer)) = asked.recv().await {
            // In line before it is sent, so that no answer finds nobody.
            if waiting.send(answer).await.is_err() {
                break;
            }
            writer.write_all(format!("{line}\n").as_bytes()).await?;
        }
        writer.close().await
    };
    let answers = async move {
        while let Ok(answer) = answered.recv().await {
            let line = reader.read_line().await?;
            let text = match line.trim_end().split_at_checked(1) {
                Some(("+", text)) => Ok(text.to_owned()),
                Some((_, text)) => Err(text.to_owned()),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            };
            // A task that is gone does not want it.
            let _ = answer.set(text);
        }
        io::Result::Ok(())
    };
    try_gather!(questions, answers).await.map(drop)
}

/// The database: `SET key value` and `GET key`.
async fn database(
    table: Arc<Mutex<HashMap<String, String>>>,
    mut reader: StreamReader,
    mut writer: StreamWriter,
) -> io::Result<()> {
    let mut lines = reader.lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<_> = line.splitn(3, ' ').collect();
        let answer = {
            let mut table = table.lock().expect("no holder panics");
            match words[..] {
                ["SET", key, value] => {
                    table.insert(key.to_owned(), value.to_owned());
                    "+set\n".to_owned()
                }
                ["GET", key] => match table.get(key) {
                    Some(value) => format!("+{value}\n"),
                    None => format!("-no such key: {key}\n"),
                },
                _ => "-say SET key value, or GET key\n".to_owned(),
            }
        };
        writer.write_all(answer.as_bytes()).await?;
    }
    writer.close().await
}

#[ringloop::main]
pub async fn main() -> io::Result<()> {
    let table = Arc::default();
    let serve = move |reader, writer| database(Arc::clone(&table), reader, writer);
    let server = streams::serve("127.0.0.1:0", serve).await?;
    let (reader, writer) = streams::connect(server.local_addrs()).await?;
    let (client, connection) = Client::new(reader, writer);

    let sets = (0..10).map(|n| client.ask(format!("SET {n} {}", n * n)));
    ringloop::try_gather(sets).await.expect("SET knows no error");
    let gets = (0..10).map(|n| client.ask(format!("GET {n}")));
    println!("{:?}", ringloop::try_gather(gets).await.expect("they were set"));
    if let Err(error) = client.ask("GET pi".to_owned()).await {
        println!("error: {error}");
    }
    drop(client);
    connection.await.map_err(io::Error::other)??;
    server.drain(Duration::from_secs(1)).await;
    Ok(())
}
