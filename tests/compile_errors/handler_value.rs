use ringloop::streams;

async fn first_lines() {
    let server = streams::serve("127.0.0.1:0", |mut reader, _writer| async move {
        reader.read_line().await
    });
    server.await.unwrap();
}

fn main() {}
