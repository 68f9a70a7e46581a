use ringloop::try_gather;

async fn both() -> Result<(i32, i32), std::io::Error> {
    try_gather!(async { 1 }, async { Ok(2) }).await
}

fn main() {}
