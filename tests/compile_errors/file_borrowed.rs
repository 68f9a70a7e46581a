use ringloop::fs::File;

async fn header(file: &File) {
    let mut bytes = [0; 16];
    file.read_at(&mut bytes, 0).await;
}

fn main() {}
