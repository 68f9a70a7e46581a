//! tokio's files, which are std's on its blocking pool.

use std::io::SeekFrom;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringloop::fs::AlignedBuf;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use super::{Files, How, PAGE};
use crate::peers::{CurrentThread, MultiThread};

/// A file; for direct access, std's, since tokio's reads into memory of its own, which is not aligned.
pub enum Handle {
    Tokio(File),
    Direct(Arc<std::fs::File>),
}

impl Handle {
    fn tokio(&mut self) -> &mut File {
        match self {
            Handle::Tokio(file) => file,
            Handle::Direct(_) => unreachable!("only read"),
        }
    }
}

pub enum Buffer {
    Plain(Vec<u8>),
    Aligned(AlignedBuf),
}

impl Buffer {
    fn plain(self) -> Vec<u8> {
        match self {
            Buffer::Plain(bytes) => bytes,
            Buffer::Aligned(_) => unreachable!("it is not direct"),
        }
    }
}

macro_rules! files {
    ($peer:ty) => {
        impl Files for $peer {
            type File = Handle;
            type Buffer = Buffer;

            async fn open(path: PathBuf, how: How) -> Handle {
                let mut options = OpenOptions::new();
                match how {
                    How::Read => options.read(true),
                    How::Write => options.write(true),
                    How::Append => options.append(true).create(true),
                    How::Direct => options.read(true).custom_flags(libc::O_DIRECT),
                };
                let file = options.open(path).await.expect("it can be opened");
                match how {
                    How::Direct => Handle::Direct(Arc::new(file.into_std().await)),
                    _ => Handle::Tokio(file),
                }
            }

            fn buffer(len: usize, how: How) -> Buffer {
                match how {
                    How::Direct => Buffer::Aligned(AlignedBuf::new(len, PAGE)),
                    _ => Buffer::Plain(vec![7; len]),
                }
            }

            async fn read(file: &mut Handle, buffer: Buffer, offset: u64, _: How) -> Buffer {
                match (file, buffer) {
                    (Handle::Tokio(file), Buffer::Plain(mut bytes)) => {
                        file.seek(SeekFrom::Start(offset)).await.expect("there is such a place");
                        file.read_exact(&mut bytes).await.expect("it can be read");
                        Buffer::Plain(bytes)
                    }
                    (Handle::Direct(file), Buffer::Aligned(mut bytes)) => {
                        let file = file.clone();
                        let read = move || {
                            file.read_exact_at(&mut bytes, offset).expect("it can be read");
                            bytes
                        };
                        let read = tokio::task::spawn_blocking(read).await;
                        Buffer::Aligned(read.expect("no job panics"))
                    }
                    _ => unreachable!("file and buffer are of one kind"),
                }
            }

            async fn read_on(file: &mut Handle, buffer: Buffer, _: u64) -> (usize, Buffer) {
                let (file, mut bytes) = (file.tokio(), buffer.plain());
                let read = file.read(&mut bytes).await.expect("it can be read");
                if read == 0 {
                    file.rewind().await.expect("there is a front");
                }
                (read, Buffer::Plain(bytes))
            }

            async fn write(file: &mut Handle, buffer: Buffer, offset: u64) -> Buffer {
                let (file, bytes) = (file.tokio(), buffer.plain());
                file.seek(SeekFrom::Start(offset)).await.expect("there is such a place");
                file.write_all(&bytes).await.expect("it can be written");
                // It has only been copied.
                file.flush().await.expect("it can be written");
                Buffer::Plain(bytes)
            }

            async fn append(file: &mut Handle, bytes: Vec<u8>) {
                let file = file.tokio();
                file.write_all(&bytes).await.expect("it can be written");
                file.sync_data().await.expect("it can be synced");
            }

            async fn read_whole(path: &Path) -> Vec<u8> {
                fs::read(path).await.expect("it can be read")
            }

            async fn length_of(path: &Path) -> u64 {
                fs::metadata(path).await.expect("it is there").len()
            }

            async fn names_in(folder: &Path) -> u64 {
                let mut entries = fs::read_dir(folder).await.expect("it is there");
                let mut names = 0;
                while entries.next_entry().await.expect("it can be read").is_some() {
                    names += 1;
                }
                names
            }

            async fn copy(from: &Path, to: &Path) -> u64 {
                fs::copy(from, to).await.expect("it can be copied")
            }
        }
    };
}

files!(MultiThread);
files!(CurrentThread);
