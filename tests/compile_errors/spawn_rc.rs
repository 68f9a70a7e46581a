use std::rc::Rc;

async fn count(shared: Rc<u32>) {
    ringloop::yield_now().await;
    println!("{shared}");
}

fn main() {
    ringloop::run(async {
        ringloop::spawn(count(Rc::new(1)));
    });
}
