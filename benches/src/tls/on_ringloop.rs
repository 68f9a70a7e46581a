//! ringloop, with its own sessions, and with tokio-rustls over its streams.

use std::io;
use std::net::SocketAddr;

use ringloop::io::{AsyncReadExt as _, AsyncWriteExt as _};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::tls::{TlsAcceptor, TlsConnector, TlsStream};
use rustls::pki_types::ServerName;
use tokio_rustls::client;

use super::{Configs, MESSAGE, SESSIONS, Work, check, message, on_tokio};

pub(super) struct Echoes {
    sessions: Vec<TlsStream<TcpStream>>,
    message: Vec<u8>,
    reply: Vec<u8>,
}

impl Work for Echoes {
    async fn new(configs: Configs) -> io::Result<Self> {
        let addr = serve(configs.server.into()).await?;
        let connector = TlsConnector::from(configs.client);
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            sessions.push(connector.connect("localhost", stream).await?);
        }
        Ok(Self { sessions, message: message(), reply: vec![0; MESSAGE] })
    }

    async fn batch(&mut self) -> io::Result<u64> {
        for session in &mut self.sessions {
            session.write_all(&self.message).await?;
            session.flush().await?;
        }
        for session in &mut self.sessions {
            session.read_exact(&mut self.reply).await?;
            check(&self.reply, &self.message)?;
        }
        Ok(SESSIONS as u64)
    }
}

async fn serve(acceptor: TlsAcceptor) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    ringloop::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let acceptor = acceptor.clone();
            ringloop::spawn(async move { echo(acceptor.accept(stream).await?).await }).detach();
        }
    })
    .detach();
    Ok(addr)
}

async fn echo(mut stream: TlsStream<TcpStream>) -> io::Result<()> {
    let mut buffer = vec![0; MESSAGE];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            len => {
                stream.write_all(&buffer[..len]).await?;
                stream.flush().await?;
            }
        }
    }
}

/// The adapter of tokio's users, over ringloop's streams.
pub(super) struct Adapted {
    sessions: Vec<client::TlsStream<TcpStream>>,
    message: Vec<u8>,
    reply: Vec<u8>,
}

impl Work for Adapted {
    async fn new(configs: Configs) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let acceptor = tokio_rustls::TlsAcceptor::from(configs.server);
        ringloop::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let acceptor = acceptor.clone();
                ringloop::spawn(
                    async move { on_tokio::echo(acceptor.accept(stream).await?).await },
                )
                .detach();
            }
        })
        .detach();
        let connector = tokio_rustls::TlsConnector::from(configs.client);
        let name = ServerName::try_from("localhost").expect("a name");
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            sessions.push(connector.connect(name.clone(), stream).await?);
        }
        Ok(Self { sessions, message: message(), reply: vec![0; MESSAGE] })
    }

    async fn batch(&mut self) -> io::Result<u64> {
        on_tokio::exchange(&mut self.sessions, &self.message, &mut self.reply).await
    }
}

pub(super) struct Handshakes {
    addr: SocketAddr,
    connector: TlsConnector,
}

impl Work for Handshakes {
    async fn new(configs: Configs) -> io::Result<Self> {
        let addr = serve(configs.server.into()).await?;
        Ok(Self { addr, connector: configs.client.into() })
    }

    async fn batch(&mut self) -> io::Result<u64> {
        let stream = TcpStream::connect(self.addr).await?;
        stream.set_nodelay(true)?;
        let mut session = self.connector.connect("localhost", stream).await?;
        session.write_all(b"?").await?;
        session.flush().await?;
        session.read_exact(&mut [0]).await?;
        futures_util::future::poll_fn(|cx| {
            // As tokio-rustls' shutdown: close_notify is sent, the peer's is not waited for.
            ringloop::io::AsyncWrite::poll_close(std::pin::Pin::new(&mut session), cx)
        })
        .await?;
        Ok(1)
    }
}
