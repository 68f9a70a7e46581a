//! Names: the system's, those of a resolver that the program brings, and what can be connected or bound to.

use std::future::{Future, pending};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringloop::Builder;
use ringloop::net::{Resolver, TcpListener, TcpStream, UdpSocket, lookup_addr, lookup_host};
use ringloop::spawn;
use ringloop::time::timeout;

use crate::harness::on_every;
use crate::tools::Count;

type Answer<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Knows a few names, and notes what it was asked.
#[derive(Clone, Default)]
struct Own {
    asked: Arc<Mutex<Vec<String>>>,
    dropped: Arc<Mutex<Option<Count>>>,
}

impl Resolver for Own {
    fn resolve<'a>(&'a self, host: &'a str) -> Answer<'a> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(host.to_owned());
            match host {
                "here" => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
                "empty" => Ok(Vec::new()),
                "silent" => {
                    let count = self.dropped.lock().unwrap().clone();
                    let _guard = count.as_ref().map(Count::on_drop);
                    pending().await
                }
                _ => Err(io::Error::new(ErrorKind::PermissionDenied, "the table is closed")),
            }
        })
    }
}

impl Own {
    fn builder(&self, builder: Builder) -> Builder {
        builder.resolver(self.clone())
    }
}

#[test]
fn own_resolver_is_asked_wherever_a_name_goes() {
    on_every(|cfg| {
        let own = Own::default();
        let body = async {
            let listener = TcpListener::bind("here:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            drop(TcpStream::connect(("here", port)).await.unwrap());
            let found = lookup_host(("here", 9)).await.unwrap();
            assert_eq!(found, [SocketAddr::from((Ipv4Addr::LOCALHOST, 9))]);
            UdpSocket::bind("here:0").await.unwrap();
        };
        own.builder(cfg.builder()).run(body).unwrap();
        assert_eq!(*own.asked.lock().unwrap(), ["here"; 4]);
    });
}

#[test]
fn own_resolver_is_not_asked_for_numbers() {
    on_every(|cfg| {
        let own = Own::default();
        let body = async {
            for numeric in ["127.0.0.1:80", "[::1]:80", "[fe80::1%1]:80"] {
                assert_eq!(lookup_host(numeric).await.unwrap().len(), 1);
            }
            lookup_host(("::1", 80)).await.unwrap();
            lookup_host((Ipv4Addr::LOCALHOST, 80)).await.unwrap();
            lookup_host((Ipv6Addr::LOCALHOST, 80)).await.unwrap();
        };
        own.builder(cfg.builder()).run(body).unwrap();
        assert!(own.asked.lock().unwrap().is_empty());
    });
}

#[test]
fn numbers_need_no_thread_for_names() {
    on_every(|cfg| {
        cfg.once(async {
            lookup_host("127.0.0.1:80").await.unwrap();
            lookup_host("[::1]:80").await.unwrap();
            let lanes = ringloop::Handle::current().metrics().lanes;
            assert!(lanes.iter().all(|lane| lane.threads == 0), "{lanes:?}");
        });
    });
}

#[test]
fn failure_of_an_own_resolver_is_passed_on_and_not_kept() {
    on_every(|cfg| {
        let own = Own::default();
        let body = async {
            for _ in 0..2 {
                let error = TcpStream::connect("secret:80").await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::PermissionDenied);
                let text = error.to_string();
                assert!(text.contains("\"secret\"") && text.contains("table is closed"), "{text}");
            }
            let error = lookup_host("empty:80").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(error.to_string().contains("\"empty\""), "{error}");
        };
        own.builder(cfg.builder()).run(body).unwrap();
        assert_eq!(*own.asked.lock().unwrap(), ["secret", "secret", "empty"]);
    });
}

#[test]
fn resolver_that_never_answers_is_dropped_with_what_waits_for_it() {
    on_every(|cfg| {
        let own = Own::default();
        let drops = Count::new();
        *own.dropped.lock().unwrap() = Some(drops.clone());
        let body = async {
            let soon = Duration::from_secs(30);
            assert!(timeout(soon, TcpStream::connect("silent:80")).await.is_err());
            assert_eq!(drops.get(), 1);
            let waits = spawn(async { TcpListener::bind("silent:0").await });
            while own.asked.lock().unwrap().len() < 2 {
                ringloop::yield_now().await;
            }
            waits.cancel();
            assert!(waits.await.unwrap_err().is_cancelled());
            assert_eq!(drops.get(), 2);
        };
        own.builder(cfg.builder()).mock_clock().run(body).unwrap();
    });
}

#[test]
fn addresses_have_names_or_numbers() {
    // Of the loopback alone: any other address is asked of servers elsewhere.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (host, service) = lookup_addr((Ipv4Addr::LOCALHOST, 1).into()).await.unwrap();
            assert!(!host.is_empty() && !service.is_empty());
        });
    });
}

#[test]
fn every_form_of_an_address_is_taken() {
    on_every(|cfg| {
        cfg.once(async {
            let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let taken = holder.local_addr().unwrap();
            let free: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
            let list = vec![taken, free];
            TcpListener::bind(&list).await.unwrap();
            TcpListener::bind(&list[..]).await.unwrap();
            TcpListener::bind([taken, free]).await.unwrap();
            TcpListener::bind(&[taken, free]).await.unwrap();
            TcpListener::bind(list).await.unwrap();
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            TcpListener::bind(String::from("127.0.0.1:0")).await.unwrap();
            TcpListener::bind(&String::from("127.0.0.1:0")).await.unwrap();
            TcpListener::bind((String::from("127.0.0.1"), 0)).await.unwrap();
            TcpListener::bind(&("127.0.0.1", 0)).await.unwrap();
            let error = TcpListener::bind("localhost").await.unwrap_err();
            assert!(error.to_string().contains("write host:port"), "{error}");
        });
    });
}
