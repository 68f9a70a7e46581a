//! Shared by the models of workers.

use std::sync::Arc;

use ringloop::model::{kernel, scheduler::Hub};

/// A hub whose doorbells are open; worker `n` sleeps at `n`.
pub fn opened(workers: usize) -> Arc<Hub> {
    let hub = Hub::new(workers);
    for worker in 0..workers {
        kernel::open(worker as i32);
        hub.open_doorbell(worker, worker as i32);
    }
    Arc::new(hub)
}
