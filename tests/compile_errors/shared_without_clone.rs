use ringloop::sync::SharedFuture;

struct Receipt;

fn main() {
    let (promise, future) = SharedFuture::<Receipt>::new();
}
