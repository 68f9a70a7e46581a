//! Two jobs by callbacks: one downloads, and the other counts meanwhile.
//!
//! ```python
//! import asyncio, urllib.request
//!
//! def get_async(url, callback):
//!     loop = asyncio.get_running_loop()
//!     page = loop.run_in_executor(None, lambda: urllib.request.urlopen(url).read().decode())
//!     page.add_done_callback(lambda page: callback(page.result()))
//!
//! def count(number):
//!     print(number)
//!     if number < 9:
//!         asyncio.get_running_loop().call_soon(count, number + 1)
//!
//! async def main():
//!     url = await serve("a page")   # a server that takes its time
//!     done = asyncio.get_running_loop().create_future()
//!
//!     def downloaded(page):
//!         print("downloaded:", page)
//!         done.set_result(None)
//!
//!     get_async(url, downloaded)
//!     asyncio.get_running_loop().call_soon(count, 0)
//!     await done
//!
//! asyncio.run(main())
//! ```

use std::{io, net::SocketAddr, time::Duration};

use ringloop::{
    Handle,
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    spawn,
    sync::oneshot,
    time::sleep,
};

/// Calls `callback` with the page, once it is there.
fn get_async(url: String, callback: impl FnOnce(io::Result<String>) + Send + 'static) {
    let handle = Handle::current();
    let download = async move {
        let page = get(&url).await;
        handle.call_soon(|| callback(page));
    };
    spawn(download).detach();
}

fn count(number: u32) {
    println!("{number}");
    if number < 9 {
        Handle::current().call_soon(move || count(number + 1));
    }
}

#[ringloop::main]
pub async fn main() -> io::Result<()> {
    let url = serve("a page").await?;
    let (done, downloaded) = oneshot();
    get_async(url, |page| {
        if let Ok(page) = &page {
            println!("downloaded: {page}");
        }
        done.set(page.map(drop)).expect("main waits for it");
    });
    Handle::current().call_soon(|| count(0));
    downloaded.await.expect("the callback sets it")
}

/// The body of a page: HTTP in its simplest form.
async fn get(url: &str) -> io::Result<String> {
    let (host, path) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no URL"))?;
    let mut stream = TcpStream::connect(host).await?;
    let request = format!("GET /{path} HTTP/1.0\r\nhost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    let (_head, body) = response
        .split_once("\r\n\r\n")
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no response"))?;
    Ok(body.to_owned())
}

/// Starts a server for one request, which it answers after half a second.
async fn serve(page: &'static str) -> io::Result<String> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let addr = listener.local_addr()?;
    let answer = async move {
        let (mut stream, _) = listener.accept().await?;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).await?;
            request.extend(byte);
        }
        sleep(Duration::from_millis(500)).await;
        let response = format!("HTTP/1.0 200 OK\r\n\r\n{page}");
        stream.write_all(response.as_bytes()).await?;
        stream.close().await
    };
    spawn(answer).detach();
    Ok(format!("http://{addr}/"))
}
