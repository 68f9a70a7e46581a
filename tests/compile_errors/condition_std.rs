use std::sync::Mutex;

use ringloop::sync::Condition;

async fn wait(changed: &Condition, value: &Mutex<u32>) {
    let guard = value.lock().unwrap();
    drop(changed.wait(guard).await);
}

fn main() {}
