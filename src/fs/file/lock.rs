//! Locks of whole files, between processes.

use std::{io, time::Duration};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::File;
use crate::time::sleep;

/// How long the first and the longest pause between two tries are.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

impl File {
    /// Waits for the lock of the file that nobody else has, in whatever process: flock(2).
    ///
    /// It belongs to the open file, which clones share. It is given up by [`unlock`](Self::unlock), or when the last
    /// of them is closed. Programs that do not ask for it are not stopped.
    ///
    /// The system has no way to wait for it without a thread that blocks, and cannot be interrupted. So it is tried again
    /// after a pause, of 1 ms at first and 50 ms at most. Waiters come in no order.
    ///
    /// # Cancel safety
    ///
    /// The lock is not taken.
    ///
    /// # Errors
    ///
    /// Those of flock(2).
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("ringloop-lock-{}", std::process::id()));
    /// ringloop::run(async {
    ///     let file = ringloop::fs::File::create(&path).await.unwrap();
    ///     let other = ringloop::fs::File::open(&path).await.unwrap();
    ///     file.lock().await.unwrap();
    ///     assert!(!other.try_lock().unwrap());
    ///     file.unlock().unwrap();
    ///     assert!(other.try_lock().unwrap());
    /// });
    /// # std::fs::remove_file(path).unwrap();
    /// ```
    #[doc(alias = "flock")]
    pub async fn lock(&self) -> io::Result<()> {
        self.wait_for(FlockOperation::NonBlockingLockExclusive).await
    }

    /// Waits for the lock of the file that any number of others may have as well, if they share it, too. See
    /// [`lock`](Self::lock).
    ///
    /// # Cancel safety
    ///
    /// The lock is not taken.
    ///
    /// # Errors
    ///
    /// Those of flock(2).
    pub async fn lock_shared(&self) -> io::Result<()> {
        self.wait_for(FlockOperation::NonBlockingLockShared).await
    }

    /// Takes the lock if nobody else has it, and says whether it did.
    ///
    /// # Errors
    ///
    /// Those of flock(2).
    pub fn try_lock(&self) -> io::Result<bool> {
        self.try_once(FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes the shared lock if nobody has the other one, and says whether it did.
    ///
    /// # Errors
    ///
    /// Those of flock(2).
    pub fn try_lock_shared(&self) -> io::Result<bool> {
        self.try_once(FlockOperation::NonBlockingLockShared)
    }

    /// Gives the lock up.
    ///
    /// # Errors
    ///
    /// Those of flock(2).
    pub fn unlock(&self) -> io::Result<()> {
        Ok(flock(&*self.access, FlockOperation::NonBlockingUnlock)?)
    }

    fn try_once(&self, operation: FlockOperation) -> io::Result<bool> {
        loop {
            match flock(&*self.access, operation) {
                Ok(()) => return Ok(true),
                Err(Errno::WOULDBLOCK) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn wait_for(&self, operation: FlockOperation) -> io::Result<()> {
        let (mut pause, longest) = PAUSES;
        while !self.try_once(operation)? {
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
        Ok(())
    }
}
