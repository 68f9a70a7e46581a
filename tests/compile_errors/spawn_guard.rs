use std::sync::Mutex;

static TOTAL: Mutex<u32> = Mutex::new(0);

async fn add() {
    let mut total = TOTAL.lock().unwrap();
    ringloop::yield_now().await;
    *total += 1;
}

fn main() {
    ringloop::run(async {
        ringloop::spawn(add());
    });
}
