//! Reading into memory on loan, and sending it back.

use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::spawn;

use crate::harness::{on_every, scaled};

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (client, server)
}

#[test]
fn leases_are_echoed_in_order() {
    // Goal: every byte comes back once, in order; method: a numbered stream through an echo by
    // leases, written and read by the poll face.
    on_every(|cfg| {
        let len = scaled(4 << 20);
        let data: Vec<u8> = (0..len).map(|i| (i / 7 % 251) as u8).collect();
        cfg.everywhere(|| {
            let data = data.clone();
            async move {
                let (client, mut server) = pair().await;
                let echo = spawn(async move {
                    loop {
                        let lease = server.read_lease().await.unwrap();
                        if lease.is_empty() {
                            return server.close().await.unwrap();
                        }
                        server.write_lease(lease).await.unwrap();
                    }
                });
                let (mut reader, mut writer) = client.into_split();
                let expected = data.clone();
                let sender = spawn(async move {
                    writer.write_all(&data).await.unwrap();
                    writer.close().await.unwrap();
                });
                let mut back = Vec::new();
                reader.read_to_end(&mut back).await.unwrap();
                assert!(back == expected, "{} of {} bytes", back.len(), expected.len());
                sender.await.unwrap();
                echo.await.unwrap();
            }
        });
    });
}
