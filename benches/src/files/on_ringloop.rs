//! ringloop's files.

use std::path::{Path, PathBuf};

use ringloop::fs::{self, AlignedBuf, File, OpenOptions};
use ringloop::io::AsyncWriteExt as _;

use super::{Files, How, PAGE};
use crate::peers::Ringloop;

/// Memory of its own, or a buffer for direct access.
pub enum Buffer {
    Plain(Vec<u8>),
    Aligned(AlignedBuf),
}

impl Files for Ringloop {
    type File = File;
    type Buffer = Buffer;

    async fn open(path: PathBuf, how: How) -> File {
        let mut options = OpenOptions::new();
        match how {
            How::Read => options.read(true),
            How::Write => options.write(true),
            How::Append => options.append(true).create(true),
            How::Direct => options.read(true).custom_flags(libc::O_DIRECT),
        };
        options.open(path).await.expect("it can be opened")
    }

    fn buffer(len: usize, how: How) -> Buffer {
        match how {
            How::Direct => Buffer::Aligned(AlignedBuf::new(len, PAGE)),
            _ => Buffer::Plain(vec![7; len]),
        }
    }

    async fn read(file: &mut File, buffer: Buffer, offset: u64, _: How) -> Buffer {
        match buffer {
            Buffer::Plain(bytes) => {
                let (result, bytes) = file.read_at(bytes, offset).await;
                assert_eq!(result.expect("it can be read"), bytes.len());
                Buffer::Plain(bytes)
            }
            Buffer::Aligned(bytes) => {
                let (result, bytes) = file.read_at(bytes, offset).await;
                assert_eq!(result.expect("it can be read"), bytes.len());
                Buffer::Aligned(bytes)
            }
        }
    }

    async fn read_on(file: &mut File, buffer: Buffer, at: u64) -> (usize, Buffer) {
        let Buffer::Plain(bytes) = buffer else { unreachable!("it is not direct") };
        let (result, bytes) = file.read_at(bytes, at).await;
        (result.expect("it can be read"), Buffer::Plain(bytes))
    }

    async fn write(file: &mut File, buffer: Buffer, offset: u64) -> Buffer {
        let Buffer::Plain(bytes) = buffer else { unreachable!("it is not direct") };
        let (result, bytes) = file.write_all_at(bytes, offset).await;
        result.expect("it can be written");
        Buffer::Plain(bytes)
    }

    async fn append(file: &mut File, bytes: Vec<u8>) {
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
        let (mut entries, mut names) = (fs::read_dir(folder).await.expect("it is there"), 0);
        while entries.next_entry().await.expect("it can be read").is_some() {
            names += 1;
        }
        names
    }

    async fn copy(from: &Path, to: &Path) -> u64 {
        fs::copy(from, to).await.expect("it can be copied")
    }
}
