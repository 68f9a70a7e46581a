use bytes::BytesMut;
use ringloop::net::TcpStream;

async fn receive(stream: &mut TcpStream, bytes: &mut BytesMut) {
    stream.read(bytes).await;
}

fn main() {}
