//! The two sides of a connection, each for a task of its own.

use std::{net::Shutdown, sync::Arc};

use super::Connection;
use crate::util::fork;

/// The reading half.
#[derive(Debug)]
pub(crate) struct ReadHalf {
    connection: Arc<Connection>,
}

/// The writing half. Dropping it shuts the write side down, unless it belongs to the parent of a
/// forked child, or was set not to.
#[derive(Debug)]
pub(crate) struct WriteHalf {
    connection: Arc<Connection>,
    shut_on_drop: bool,
    /// The process that made it: in a forked child the connection is still the parent's.
    process: fork::Generation,
}

pub(crate) fn split(connection: Connection) -> (ReadHalf, WriteHalf) {
    let connection = Arc::new(connection);
    let process = fork::generation();
    let write = WriteHalf { connection: connection.clone(), shut_on_drop: true, process };
    (ReadHalf { connection }, write)
}

impl ReadHalf {
    pub(crate) fn get(&self) -> &Connection {
        &self.connection
    }

    /// Makes one connection of the two halves again, if they are of one.
    pub(crate) fn reunite(self, write: WriteHalf) -> Result<Connection, (ReadHalf, WriteHalf)> {
        if !Arc::ptr_eq(&self.connection, &write.connection) {
            return Err((self, write));
        }
        write.forget();
        Ok(Arc::into_inner(self.connection).expect("the other half is gone, and there are two"))
    }
}

impl WriteHalf {
    pub(crate) fn get(&self) -> &Connection {
        &self.connection
    }

    /// Drops it without shutting its side down.
    pub(crate) fn forget(mut self) {
        self.shut_on_drop = false;
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        if self.shut_on_drop && self.process == fork::generation() {
            // A connection that is gone needs no shutting.
            let _ = self.connection.shutdown(Shutdown::Write);
        }
    }
}
