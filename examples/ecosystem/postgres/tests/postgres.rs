//! tokio-postgres over ringloop's streams, against a real server.

use std::{
    fs,
    future::poll_fn,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex, Weak},
    thread,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, pin_mut};
use harness::{Service, free_port, has, on_every, path_of};
use postgres_on_ringloop::{connect, connect_unix};
use ringloop::{
    gather,
    net::{TcpStream, UnixStream},
    spawn, time,
};
use tokio_postgres::{AsyncMessage, Config, NoTls, error::SqlState};

/// A server with an empty database; its files are removed with it.
struct Server {
    _service: Service,
    folder: PathBuf,
    port: u16,
}

/// It does not run as root: a command of the user that the package has made for it.
fn command(program: &str) -> Command {
    let program = path_of(program).expect("it was looked for");
    let is_root =
        fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0);
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

impl Server {
    /// The server of the tests that run; `None` if there is no PostgreSQL here.
    fn get() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        if !has("initdb") || !has("postgres") || !has("pg_ctl") {
            return None;
        }
        let mut shared = SHARED.lock().unwrap();
        Some(shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        }))
    }

    fn start() -> Self {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("ringloop-postgres-{port}"));
        let mut init = command("initdb");
        init.arg("--pgdata").arg(&folder);
        let made =
            init.args(["--username=ringloop", "--auth=trust", "--no-sync"]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut run = command("postgres");
        run.arg("-D").arg(&folder).arg("-k").arg(&folder).args(["-p", &port.to_string()]);
        let service = Service::start(run.args(["-h", "127.0.0.1", "-F"]), port);
        let begun = Instant::now();
        let status = || fs::read_to_string(folder.join("postmaster.pid")).unwrap_or_default();
        while !status().contains("ready") {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not ready: {}", status());
            thread::sleep(Duration::from_millis(10));
        }
        Self { _service: service, folder, port }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join(format!(".s.PGSQL.{}", self.port))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has processes and memory of its own to end.
        let _ = command("pg_ctl")
            .arg("-D")
            .arg(&self.folder)
            .args(["-m", "immediate", "stop"])
            .output();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config.user("ringloop").dbname("postgres");
    config
}

#[test]
fn queries_by_tcp_and_by_a_unix_socket() {
    let Some(server) = Server::get() else { return };
    on_every(|| async {
        let by_tcp = connect(&config(), ("127.0.0.1", server.port)).await.unwrap();
        let by_unix = connect_unix(&config(), server.socket()).await.unwrap();
        for (client, connection) in [by_tcp, by_unix] {
            client.batch_execute("create temp table t (id int, name text)").await.unwrap();
            let insert = client.prepare("insert into t values ($1, $2)").await.unwrap();
            // Pipelined: no query waits for the answer to another.
            gather((0..200).map(|id: i32| {
                let (client, insert) = (&client, &insert);
                async move {
                    let name = format!("name {id}");
                    client.execute(insert, &[&id, &name]).await.unwrap();
                }
            }))
            .await;
            let rows = client.query("select name from t where id >= $1 order by id", &[&190]).await;
            let names: Vec<String> = rows.unwrap().iter().map(|row| row.get(0)).collect();
            assert_eq!(names.len(), 10);
            assert_eq!(names[0], "name 190");

            // Rows that come one by one, more than fit into a buffer.
            let many = "select repeat('x', 1000) from generate_series(1, $1)";
            let rows = client.query_raw(many, [&2000]).await.unwrap();
            pin_mut!(rows);
            let mut count = 0;
            while let Some(row) = rows.next().await {
                assert_eq!(row.unwrap().get::<_, &str>(0).len(), 1000);
                count += 1;
            }
            assert_eq!(count, 2000);

            let error = client.query("select no_such_thing", &[]).await.unwrap_err();
            assert_eq!(error.code(), Some(&SqlState::UNDEFINED_COLUMN));
            drop(client);
            connection.await.unwrap().unwrap();
        }
    });
}

#[test]
fn a_transaction_that_is_dropped_is_rolled_back() {
    let Some(server) = Server::get() else { return };
    on_every(|| async {
        let (mut client, _task) = connect_unix(&config(), server.socket()).await.unwrap();
        client.batch_execute("create temp table t (id int)").await.unwrap();
        let transaction = client.transaction().await.unwrap();
        transaction.execute("insert into t values (1)", &[]).await.unwrap();
        drop(transaction);
        let transaction = client.transaction().await.unwrap();
        transaction.execute("insert into t values (2)", &[]).await.unwrap();
        transaction.commit().await.unwrap();
        let row = client.query_one("select array_agg(id) from t", &[]).await.unwrap();
        assert_eq!(row.get::<_, Vec<i32>>(0), [2]);
    });
}

#[test]
fn a_query_that_takes_too_long_is_cancelled() {
    let Some(server) = Server::get() else { return };
    on_every(|| async {
        let (client, _task) = connect_unix(&config(), server.socket()).await.unwrap();
        let sleep = client.query("select pg_sleep(3600)", &[]);
        pin_mut!(sleep);
        assert!(time::timeout(Duration::from_millis(50), &mut sleep).await.is_err());
        // Nothing tells the server that the future was dropped: this does.
        let stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        client.cancel_token().cancel_query_raw(stream, NoTls).await.unwrap();
        assert_eq!(sleep.await.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
        assert_eq!(client.query_one("select 7", &[]).await.unwrap().get::<_, i32>(0), 7);
    });
}

#[test]
fn notifications_come_to_the_one_that_drives_the_connection() {
    let Some(server) = Server::get() else { return };
    on_every(|| async {
        let stream = UnixStream::connect(server.socket()).await.unwrap();
        let (hears, mut connection) = config().connect_raw(stream, NoTls).await.unwrap();
        let heard = spawn(async move {
            let mut payloads = Vec::new();
            while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(note) = message.unwrap() {
                    payloads.push(note.payload().to_owned());
                }
            }
            payloads
        });
        hears.batch_execute("listen news").await.unwrap();
        let (says, _task) = connect_unix(&config(), server.socket()).await.unwrap();
        for number in 0..10 {
            says.batch_execute(&format!("notify news, '{number}'")).await.unwrap();
        }
        // Behind the answer to a query nothing is on its way any more.
        hears.batch_execute("select 1").await.unwrap();
        drop(hears);
        let expected: Vec<_> = (0..10).map(|number| number.to_string()).collect();
        assert_eq!(heard.await.unwrap(), expected);
    });
}
