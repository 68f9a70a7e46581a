//! Look-ups of names that are under way. Tasks that ask for the same name at the same time share one: it takes one
//! thread, though a server that is silent holds it for ten seconds. Nothing is kept beyond its end.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Weak},
};

use crate::{loom::Mutex, sync::SharedFuture, task::Task};

/// Errors are for all that wait, and an `io::Error` cannot be cloned.
type Answer = Result<Vec<SocketAddr>, (io::ErrorKind, String)>;

/// Those of one runtime, by name.
#[derive(Default)]
pub(crate) struct Lookups(Mutex<HashMap<String, Weak<Lookup>>>);

/// One of them. With the last task that waits it is given up: a job that is queued ends, and one that runs is left to
/// itself.
pub(crate) struct Lookup {
    lookups: Arc<Lookups>,
    host: String,
    job: Mutex<Option<Task<()>>>,
    answer: SharedFuture<Answer>,
}

impl Lookups {
    /// The look-up of `host` that is under way, or a new one. `start` gives a job to the threads for names, which
    /// calls `resolve`.
    pub(crate) fn join(
        self: &Arc<Self>,
        host: &str,
        resolve: impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static,
        start: impl FnOnce(Box<dyn FnOnce() + Send>) -> Task<()>,
    ) -> Arc<Lookup> {
        let (promise, answer) = SharedFuture::new();
        let lookup = {
            let mut under_way = self.0.lock();
            if let Some(lookup) = under_way.get(host).and_then(Weak::upgrade) {
                return lookup;
            }
            let job = Mutex::new(None);
            let lookup = Lookup { lookups: self.clone(), host: host.to_owned(), job, answer };
            let lookup = Arc::new(lookup);
            under_way.insert(host.to_owned(), Arc::downgrade(&lookup));
            lookup
        };
        let (lookups, own, name) = (self.clone(), Arc::downgrade(&lookup), host.to_owned());
        let job = start(Box::new(move || {
            let answer = resolve(&name).map_err(|error| (error.kind(), error.to_string()));
            // First: a task that asks from here on looks again.
            lookups.remove(&name, |other| other.ptr_eq(&own));
            // All that waited may have given up.
            let _ = promise.set(answer);
        }));
        *lookup.job.lock() = Some(job);
        lookup
    }

    fn remove(&self, host: &str, is_over: impl FnOnce(&Weak<Lookup>) -> bool) {
        let mut under_way = self.0.lock();
        if under_way.get(host).is_some_and(is_over) {
            under_way.remove(host);
        }
    }
}

impl Lookup {
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn answer(&self) -> io::Result<Vec<SocketAddr>> {
        match self.answer.clone().await {
            Ok(Ok(addrs)) => Ok(addrs),
            Ok(Err((kind, text))) => Err(io::Error::new(kind, text)),
            Err(broken) => {
                // Its task knows why the job did not run.
                let job = self.job.lock().take();
                Err(match job {
                    Some(job) => {
                        job.await.map_or_else(io::Error::other, |()| io::Error::other(broken))
                    }
                    None => io::Error::other(broken),
                })
            }
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        // There may be a new one of the same name.
        self.lookups.remove(&self.host, |other| other.strong_count() == 0);
        let job = self.job.lock().take();
        if let Some(job) = job {
            job.cancel();
        }
    }
}
