use ringloop::net::TcpStream;

async fn greet(stream: &mut TcpStream) {
    stream.write("hi").await;
}

fn main() {}
