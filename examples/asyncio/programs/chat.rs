//! A chat by lines. The server ends in order: clients that are there get a last line, and have a moment to leave.
//!
//! ```python
//! import asyncio
//!
//! rooms = set()
//!
//! def tell(text, but=None):
//!     for writer in rooms - {but}:
//!         writer.write(f"{text}\n".encode())
//!
//! async def chat(reader, writer):
//!     name = (await reader.readline()).decode().strip()
//!     tell(f"{name} is here")
//!     rooms.add(writer)
//!     try:
//!         async for line in reader:
//!             tell(f"{name}: {line.decode().strip()}", but=writer)
//!     finally:
//!         rooms.discard(writer)
//!         writer.close()
//!
//! async def enter(port, name):
//!     reader, writer = await asyncio.open_connection("127.0.0.1", port)
//!     writer.write(f"{name}\n".encode())
//!     return reader, writer
//!
//! async def hear(name, reader):
//!     print(f"{name} hears:", (await reader.readline()).decode().strip())
//!
//! async def main():
//!     server = await asyncio.start_server(chat, "127.0.0.1", 0)
//!     port = server.sockets[0].getsockname()[1]
//!     ada, ada_writer = await enter(port, "Ada")
//!     while len(rooms) < 1:
//!         await asyncio.sleep(0)
//!     bob, bob_writer = await enter(port, "Bob")
//!     await hear("Ada", ada)
//!     bob_writer.write(b"hello\n")
//!     await hear("Ada", ada)
//!     ada_writer.write(b"hello Bob\n")
//!     await hear("Bob", bob)
//!     server.close()
//!     tell("the server ends")
//!     for name, reader, writer in ("Ada", ada, ada_writer), ("Bob", bob, bob_writer):
//!         await hear(name, reader)
//!         writer.close()
//!     await asyncio.wait_for(server.wait_closed(), 1)
//!     print("closed, 0 cancelled")
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
    streams::{self, StreamReader, StreamWriter},
    sync::Queue,
    yield_now,
};

/// The lines on their way to each client. One that reads too slowly misses some, and holds up nobody.
#[derive(Clone, Default)]
struct Room(Arc<Mutex<HashMap<u64, Arc<Queue<String>>>>>);

impl Room {
    fn enter(&self) -> (u64, Arc<Queue<String>>) {
        let mut clients = self.0.lock().expect("nobody panics with it");
        let number = clients.keys().max().map_or(0, |last| last + 1);
        let lines = Arc::new(Queue::bounded(16));
        clients.insert(number, lines.clone());
        (number, lines)
    }

    fn leave(&self, number: u64) {
        self.0.lock().expect("nobody panics with it").remove(&number);
    }

    fn len(&self) -> usize {
        self.0.lock().expect("nobody panics with it").len()
    }

    fn tell(&self, text: &str, but: Option<u64>) {
        let clients = self.0.lock().expect("nobody panics with it");
        for (_, lines) in clients.iter().filter(|(number, _)| but != Some(**number)) {
            let _ = lines.try_put(format!("{text}\n"));
        }
    }
}

async fn chat(room: Room, mut reader: StreamReader, mut writer: StreamWriter) -> io::Result<()> {
    let name = reader.read_line().await?.trim_end().to_owned();
    room.tell(&format!("{name} is here"), None);
    let (number, lines) = room.enter();
    let speaking = async {
        let mut said = reader.lines();
        while let Some(line) = said.next_line().await? {
            room.tell(&format!("{name}: {line}"), Some(number));
        }
        io::Result::Ok(())
    };
    let hearing = async {
        loop {
            let line = lines.get().await.map_err(io::Error::other)?;
            writer.write_all(line.as_bytes()).await?;
        }
    };
    // The one that ends first ends the other, too.
    let ended = ringloop::race!(speaking, hearing).await;
    room.leave(number);
    ended
}

async fn enter(server: &streams::Server, name: &str) -> io::Result<(StreamReader, StreamWriter)> {
    let (reader, mut writer) = streams::connect(server.local_addrs()).await?;
    writer.write_all(format!("{name}\n").as_bytes()).await?;
    Ok((reader, writer))
}

async fn hear(name: &str, reader: &mut StreamReader) -> io::Result<()> {
    println!("{name} hears: {}", reader.read_line().await?.trim_end());
    Ok(())
}

pub fn main() -> io::Result<()> {
    ringloop::run(async {
        let room = Room::default();
        let served = room.clone();
        let handler = move |reader, writer| chat(served.clone(), reader, writer);
        let server = streams::serve("127.0.0.1:0", handler).await?;
        let (mut ada, mut ada_writer) = enter(&server, "Ada").await?;
        while room.len() < 1 {
            yield_now().await;
        }
        let (mut bob, mut bob_writer) = enter(&server, "Bob").await?;
        hear("Ada", &mut ada).await?;
        bob_writer.write_all(b"hello\n").await?;
        hear("Ada", &mut ada).await?;
        ada_writer.write_all(b"hello Bob\n").await?;
        hear("Bob", &mut bob).await?;

        server.stop_accepting();
        room.tell("the server ends", None);
        for (name, reader, writer) in [("Ada", &mut ada, ada_writer), ("Bob", &mut bob, bob_writer)]
        {
            hear(name, reader).await?;
            writer.close().await?;
        }
        let drained = server.drain(Duration::from_secs(1)).await;
        println!("closed, {} cancelled", drained.cancelled);
        Ok(())
    })
}
