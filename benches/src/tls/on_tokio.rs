//! tokio, with tokio-rustls.

use std::io;
use std::net::SocketAddr;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

use super::{Configs, MESSAGE, SESSIONS, Work, check, message};

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

pub(super) struct Echoes {
    sessions: Vec<client::TlsStream<TcpStream>>,
    message: Vec<u8>,
    reply: Vec<u8>,
}

impl Work for Echoes {
    async fn new(configs: Configs) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let acceptor = TlsAcceptor::from(configs.server);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let acceptor = acceptor.clone();
                tokio::spawn(async move { echo(acceptor.accept(stream).await?).await });
            }
        });
        let connector = TlsConnector::from(configs.client);
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            sessions.push(connector.connect(name(), stream).await?);
        }
        Ok(Self { sessions, message: message(), reply: vec![0; MESSAGE] })
    }

    async fn batch(&mut self) -> io::Result<u64> {
        exchange(&mut self.sessions, &self.message, &mut self.reply).await
    }
}

/// Serves one session.
pub(super) async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
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

/// One message of each session.
pub(super) async fn exchange(
    sessions: &mut [impl AsyncRead + AsyncWrite + Unpin],
    message: &[u8],
    reply: &mut [u8],
) -> io::Result<u64> {
    for session in &mut *sessions {
        session.write_all(message).await?;
        session.flush().await?;
    }
    for session in &mut *sessions {
        session.read_exact(reply).await?;
        check(reply, message)?;
    }
    Ok(sessions.len() as u64)
}

pub(super) struct Handshakes {
    addr: SocketAddr,
    connector: TlsConnector,
}

impl Work for Handshakes {
    async fn new(configs: Configs) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let acceptor = TlsAcceptor::from(configs.server);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move { echo(acceptor.accept(stream).await?).await });
            }
        });
        Ok(Self { addr, connector: TlsConnector::from(configs.client) })
    }

    async fn batch(&mut self) -> io::Result<u64> {
        let stream = TcpStream::connect(self.addr).await?;
        stream.set_nodelay(true)?;
        let mut session = self.connector.connect(name(), stream).await?;
        session.write_all(b"?").await?;
        session.flush().await?;
        session.read_exact(&mut [0]).await?;
        session.shutdown().await?;
        Ok(1)
    }
}
