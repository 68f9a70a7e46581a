//! A router for HTTP, as the frameworks on asyncio have one: paths with parameters, and functions that answer.
//!
//! ```python
//! from sanic import Sanic, text
//!
//! app = Sanic("greeter")
//!
//! @app.get("/")
//! async def index(request):
//!     return text("say a name")
//!
//! @app.get("/hello/<name>")
//! async def hello(request, name):
//!     return text(f"hello, {name}")
//!
//! @app.post("/add/<a>/<b>")
//! async def add(request, a, b):
//!     try:
//!         return text(str(int(a) + int(b)))
//!     except ValueError:
//!         return text("two numbers are needed", status=422)
//!
//! app.run()
//! ```

use std::{collections::HashMap, io, pin::Pin, sync::Arc, time::Duration};

use ringloop::{
    net::Server,
    streams::{self, StreamReader, StreamWriter},
    time::timeout,
};

/// Bytes that the head of a request may have.
const HEAD: usize = 8 * 1024;
/// How long a client may take for one.
const PATIENCE: Duration = Duration::from_secs(10);

type Response = (u16, String);
type Parameters = HashMap<String, String>;
type Handler =
    Box<dyn Fn(Parameters) -> Pin<Box<dyn Future<Output = Response> + Send>> + Send + Sync>;

/// Methods, patterns of paths, and what answers them. The first that fits is taken.
#[derive(Default)]
struct Router {
    routes: Vec<(&'static str, &'static str, Handler)>,
}

impl Router {
    /// A part of the pattern such as `{name}` takes any part of a path.
    fn route<F, Fut>(mut self, method: &'static str, pattern: &'static str, handler: F) -> Self
    where
        F: Fn(Parameters) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        let handler = Box::new(move |parameters| Box::pin(handler(parameters)) as Pin<Box<_>>);
        self.routes.push((method, pattern, handler));
        self
    }

    async fn answer(&self, method: &str, path: &str) -> Response {
        let mut path_is_known = false;
        for (of, pattern, handler) in &self.routes {
            let Some(parameters) = fits(pattern, path) else { continue };
            if method == *of {
                return handler(parameters).await;
            }
            path_is_known = true;
        }
        if path_is_known {
            (405, "not by this method".into())
        } else {
            (404, "no such page".into())
        }
    }
}

fn fits(pattern: &str, path: &str) -> Option<Parameters> {
    let mut parameters = Parameters::new();
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(parameters),
            (Some(part), Some(value)) => {
                let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
                match name {
                    Some(name) => drop(parameters.insert(name.into(), value.into())),
                    None if part == value => {}
                    None => return None,
                }
            }
            _ => return None,
        }
    }
}

/// Answers the requests of a connection until it ends.
async fn serve(
    router: Arc<Router>,
    mut reader: StreamReader,
    mut writer: StreamWriter,
) -> io::Result<()> {
    reader.set_limit(HEAD);
    loop {
        let head = match timeout(PATIENCE, reader.read_until(b"\r\n\r\n")).await {
            Ok(Ok(head)) => head,
            Ok(Err(error)) if error.is_incomplete() => return writer.close().await,
            Ok(Err(error)) => return Err(error.into()),
            Err(elapsed) => return Err(elapsed.into()),
        };
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        let parsed = request.parse(&head).ok().and(request.method.zip(request.path));
        let (status, body) = match parsed {
            Some((method, path)) => router.answer(method, path).await,
            None => (400, "that is no request".into()),
        };
        let len = body.len();
        let head = format!("HTTP/1.1 {status} -\r\ncontent-length: {len}\r\n\r\n");
        writer.write_all_vectored(&[head.as_bytes(), body.as_bytes()]).await?;
        if status == 400 {
            return writer.close().await;
        }
    }
}

/// One request over a connection that stays.
async fn ask(
    (reader, writer): &mut (StreamReader, StreamWriter),
    method: &str,
    path: &str,
) -> io::Result<()> {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    writer.write_all(request.as_bytes()).await?;
    let head = reader.read_until(b"\r\n\r\n").await?;
    let head = String::from_utf8_lossy(&head).into_owned();
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; len.and_then(|len| len.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).await?;
    let status = head.split(' ').nth(1).unwrap_or("none");
    println!("{method} {path}: {status} {}", String::from_utf8_lossy(&body));
    Ok(())
}

async fn add(numbers: Parameters) -> Response {
    let number = |name: &str| numbers[name].parse::<i64>().ok();
    match number("a").zip(number("b")) {
        Some((a, b)) => (200, a.saturating_add(b).to_string()),
        None => (422, "two numbers are needed".into()),
    }
}

#[ringloop::main]
pub async fn main() -> io::Result<()> {
    let router = Router::default()
        .route("GET", "/", async |_| (200, "say a name".into()))
        .route("GET", "/hello/{name}", async |of| (200, format!("hello, {}", of["name"])))
        .route("POST", "/add/{a}/{b}", add);
    let router = Arc::new(router);
    let builder = Server::builder().max_connections(100).listen("127.0.0.1:0").await?;
    let server =
        streams::serve_on(builder, move |reader, writer| serve(router.clone(), reader, writer))?;

    let mut client = streams::connect(server.local_addrs()).await?;
    ask(&mut client, "GET", "/").await?;
    ask(&mut client, "GET", "/hello/Ada").await?;
    ask(&mut client, "POST", "/add/1/2").await?;
    ask(&mut client, "POST", "/add/1/two").await?;
    ask(&mut client, "GET", "/add/1/2").await?;
    ask(&mut client, "GET", "/missing").await?;
    client.1.close().await?;
    server.drain(Duration::from_secs(1)).await;
    Ok(())
}
