//! Reads and writes at a place, with buffers that the operation owns.

use std::io;

use super::{File, access};
use crate::buf::{IoBuf, IoBufMut};

impl File {
    /// Reads at an offset, in bytes, into the front of a buffer, up to its capacity. The buffer comes back with
    /// the number of bytes; a `Vec` has that length then.
    ///
    /// It is less than the capacity only at the end of the file, or after an error in the middle, which the next read
    /// tells. 0 is the end. The [cursor](File#cursor) is not moved. Any number of reads may be in flight at
    /// once.
    ///
    /// Bytes that the system has in memory are copied at once; others are waited for in the ring. See
    /// [`fs`](crate::fs#how-a-call-goes).
    ///
    /// # Cancel safety
    ///
    /// The buffer is lost. It is dropped when the kernel is done with it.
    ///
    /// # Errors
    ///
    /// Those of pread(2), with the buffer.
    ///
    /// ```
    /// use ringloop::fs::File;
    ///
    /// ringloop::run(async {
    ///     let file = File::open("Cargo.toml").await.unwrap();
    ///     let (result, bytes) = file.read_at(Vec::with_capacity(8), 1).await;
    ///     assert_eq!(result.unwrap(), 8);
    ///     assert_eq!(bytes, b"workspac");
    /// });
    /// ```
    #[doc(alias = "pread")]
    pub async fn read_at<B: IoBufMut>(&self, buf: B, offset: u64) -> (io::Result<usize>, B) {
        match place(offset) {
            Ok(()) => {
                let room = 0..buf.capacity();
                access::read(&self.access, buf, room, offset).await
            }
            Err(error) => (Err(error), buf),
        }
    }

    /// Reads as many bytes as the buffer is long, at an offset. Give it `vec![0; n]` or a boxed slice.
    ///
    /// # Cancel safety
    ///
    /// As [`read_at`](Self::read_at).
    ///
    /// # Errors
    ///
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the file ends before; a `Vec` has what was read. And
    /// those of [`read_at`](Self::read_at).
    ///
    /// ```
    /// use ringloop::fs::File;
    ///
    /// ringloop::run(async {
    ///     let file = File::open("Cargo.toml").await.unwrap();
    ///     let (result, bytes) = file.read_exact_at(vec![0; 8], 1).await;
    ///     result.unwrap();
    ///     assert_eq!(bytes, b"workspac");
    /// });
    /// ```
    pub async fn read_exact_at<B: IoBufMut>(&self, buf: B, offset: u64) -> (io::Result<()>, B) {
        if let Err(error) = place(offset) {
            return (Err(error), buf);
        }
        let (wanted, mut buf) = (buf.len(), buf);
        let mut filled = 0;
        while filled < wanted {
            let result;
            // Once is enough, but for an end that moves, an error in the middle, or a pipe.
            (result, buf) = access::read(&self.access, buf, filled..wanted, offset).await;
            match result {
                Ok(0) => return (Err(ended_early(wanted, filled)), buf),
                Ok(read) => filled += read,
                Err(error) => return (Err(error), buf),
            }
        }
        (Ok(()), buf)
    }

    /// Writes the buffer's bytes at an offset, in bytes, in one call, and gives the buffer back with the number of
    /// bytes. It is less than asked only where the disk is full or a limit is reached.
    ///
    /// The [cursor](File#cursor) is not moved. A file opened to
    /// [append](super::OpenOptions::append) is written at its end, whatever the offset.
    ///
    /// # Cancel safety
    ///
    /// The write is made as a whole, or not at all. The buffer is lost; it is dropped when the kernel is done
    /// with it.
    ///
    /// # Errors
    ///
    /// Those of pwrite(2), with the buffer.
    ///
    /// ```
    /// use ringloop::fs::OpenOptions;
    ///
    /// # let path = std::env::temp_dir().join(format!("ringloop-write_at-{}", std::process::id()));
    /// ringloop::run(async {
    ///     let file = OpenOptions::new().read(true).write(true).create(true).open(&path).await.unwrap();
    ///     let (result, buf) = file.write_at(b"hello".to_vec(), 3).await;
    ///     assert_eq!(result.unwrap(), 5);
    ///     let (result, buf) = file.read_at(buf, 0).await;
    ///     assert_eq!(result.unwrap(), 5);
    ///     assert_eq!(buf, b"\0\0\0he");
    /// });
    /// # std::fs::remove_file(path).unwrap();
    /// ```
    #[doc(alias = "pwrite")]
    pub async fn write_at<B: IoBuf>(&self, buf: B, offset: u64) -> (io::Result<usize>, B) {
        match place(offset) {
            Ok(()) => access::write(&self.access, buf, 0, offset).await,
            Err(error) => (Err(error), buf),
        }
    }

    /// Reads at an offset into several buffers, one behind the other, in one call. The buffers come back with the number of
    /// bytes; vectors have as many as were read into them.
    ///
    /// It is less than their room also in the middle of a file: where a part is not in the system's memory. 0 is the end. Of
    /// more than 1024 buffers the first ones are used.
    ///
    /// # Cancel safety
    ///
    /// As [`read_at`](Self::read_at).
    ///
    /// # Errors
    ///
    /// Those of preadv(2), with the buffers.
    ///
    /// ```
    /// use ringloop::fs::File;
    ///
    /// ringloop::run(async {
    ///     let file = File::open("Cargo.toml").await.unwrap();
    ///     let bufs = vec![vec![0; 1], vec![0; 9]];
    ///     let (result, bufs) = file.read_vectored_at(bufs, 0).await;
    ///     assert_eq!(result.unwrap(), 10);
    ///     assert_eq!(bufs[1], b"workspace");
    /// });
    /// ```
    #[doc(alias = "preadv")]
    pub async fn read_vectored_at<B: IoBufMut>(
        &self,
        bufs: Vec<B>,
        offset: u64,
    ) -> (io::Result<usize>, Vec<B>) {
        match place(offset) {
            Ok(()) => access::read_vectored(&self.access, bufs, offset).await,
            Err(error) => (Err(error), bufs),
        }
    }

    /// Writes the bytes of several buffers at an offset, one behind the other, in one call, and gives the buffers back with the
    /// number of bytes. Of more than 1024 buffers the first ones are written.
    ///
    /// # Cancel safety
    ///
    /// As [`write_at`](Self::write_at).
    ///
    /// # Errors
    ///
    /// Those of pwritev(2), with the buffers.
    ///
    /// ```
    /// use ringloop::fs::File;
    ///
    /// # let path = std::env::temp_dir().join(format!("ringloop-write_vectored-{}", std::process::id()));
    /// ringloop::run(async {
    ///     let file = File::create(&path).await.unwrap();
    ///     let (result, _) = file.write_vectored_at(vec![b"head".to_vec(), b"body".to_vec()], 0).await;
    ///     assert_eq!(result.unwrap(), 8);
    ///     assert_eq!(std::fs::read(&path).unwrap(), b"headbody");
    /// });
    /// # std::fs::remove_file(path).unwrap();
    /// ```
    #[doc(alias = "pwritev")]
    pub async fn write_vectored_at<B: IoBuf>(
        &self,
        bufs: Vec<B>,
        offset: u64,
    ) -> (io::Result<usize>, Vec<B>) {
        match place(offset) {
            Ok(()) => access::write_vectored(&self.access, bufs, offset).await,
            Err(error) => (Err(error), bufs),
        }
    }

    /// Writes all of the buffer at an offset.
    ///
    /// # Cancel safety
    ///
    /// A front part of the bytes may be written. The buffer is lost.
    ///
    /// # Errors
    ///
    /// As [`write_at`](Self::write_at); a front part of the bytes may be written.
    /// [`WriteZero`](io::ErrorKind::WriteZero) if the file takes no more.
    ///
    /// ```
    /// use ringloop::fs::File;
    ///
    /// # let path = std::env::temp_dir().join(format!("ringloop-write_all_at-{}", std::process::id()));
    /// ringloop::run(async {
    ///     let file = File::create(&path).await.unwrap();
    ///     let (result, _) = file.write_all_at(vec![1; 1 << 20], 0).await;
    ///     result.unwrap();
    ///     assert_eq!(file.metadata().await.unwrap().len(), 1 << 20);
    /// });
    /// # std::fs::remove_file(path).unwrap();
    /// ```
    pub async fn write_all_at<B: IoBuf>(&self, mut buf: B, offset: u64) -> (io::Result<()>, B) {
        let mut written = 0;
        while written < buf.len() {
            let at = offset.saturating_add(written as u64);
            let result;
            (result, buf) = match place(at) {
                Ok(()) => access::write(&self.access, buf, written, at).await,
                Err(error) => (Err(error), buf),
            };
            match result {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), buf),
                Ok(more) => written += more,
                Err(error) => return (Err(error), buf),
            }
        }
        (Ok(()), buf)
    }
}

/// [`File::read_at`] that has a share of the file.
pub(super) async fn read<B: IoBufMut>(file: File, buf: B, offset: u64) -> (io::Result<usize>, B) {
    file.read_at(buf, offset).await
}

/// [`File::write_all_at`] that has a share of the file.
pub(super) async fn write_all<B: IoBuf>(file: File, buf: B, offset: u64) -> (io::Result<()>, B) {
    file.write_all_at(buf, offset).await
}

/// The kernel's offsets are signed.
fn place(offset: u64) -> io::Result<()> {
    match i64::try_from(offset) {
        Ok(_) => Ok(()),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("no file has an offset of {offset}: the largest is {}", i64::MAX),
        )),
    }
}

fn ended_early(wanted: usize, read: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("the file ended after {read} of {wanted} bytes"),
    )
}
