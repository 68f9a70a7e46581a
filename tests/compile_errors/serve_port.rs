use ringloop::streams;

async fn serve() {
    streams::serve(8080, |_reader, _writer| async {}).await.unwrap();
}

fn main() {}
