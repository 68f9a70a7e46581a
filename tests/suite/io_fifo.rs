//! Named pipes: opening them from either side, ends, and what is refused.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::join;
use ringloop::io::{AsyncReadExt, AsyncWriteExt, PipeOptions, PipeReader, PipeWriter, mkfifo};
use ringloop::{spawn, yield_now};

use crate::harness::on_every;
use crate::tools::{GiveUpAfter, check_pattern, fill_pattern};

/// A path for a pipe, which is removed at the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringloop-fifo-{}-{number}", std::process::id());
        Place(std::env::temp_dir().join(name))
    }

    async fn with_pipe() -> Place {
        let place = Place::new();
        mkfifo(&place.0, 0o600).await.unwrap();
        place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn either_side_waits_for_the_other() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for writer_first in [false, true] {
                let place = Place::with_pipe().await;
                let (of_reader, of_writer) = (place.0.clone(), place.0.clone());
                let read = async {
                    if writer_first {
                        ringloop::time::sleep(std::time::Duration::from_millis(3)).await;
                    }
                    let mut got = Vec::new();
                    let mut reader = PipeReader::open(&of_reader).await.unwrap();
                    reader.read_to_end(&mut got).await.unwrap();
                    got
                };
                let write = async {
                    if !writer_first {
                        ringloop::time::sleep(std::time::Duration::from_millis(3)).await;
                    }
                    let mut bytes = vec![0; 300_000];
                    fill_pattern(&mut bytes, 0);
                    let mut writer = PipeWriter::open(&of_writer).await.unwrap();
                    writer.write_all(&bytes).await.unwrap();
                };
                let (got, ()) = join(read, write).await;
                assert_eq!(got.len(), 300_000);
                check_pattern(&got, 0);
            }
        });
    });
}

#[test]
fn other_side_may_be_a_program_that_blocks() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let place = Place::with_pipe().await;
            let path = place.0.clone();
            let other = std::thread::spawn(move || {
                // This open(2) waits for the writer.
                let mut got = Vec::new();
                fs::File::open(&path).unwrap().read_to_end(&mut got).unwrap();
                let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
                writer.write_all(&got).unwrap();
            });
            let mut writer = PipeWriter::open(&place.0).await.unwrap();
            writer.write_all(b"to and fro").await.unwrap();
            drop(writer);
            let mut reader = PipeReader::open(&place.0).await.unwrap();
            let mut got = String::new();
            reader.read_to_string(&mut got).await.unwrap();
            assert_eq!(got, "to and fro");
            other.join().unwrap();
        });
    });
}

#[test]
fn writers_that_come_later_are_read_from() {
    // Goal: the end of a named pipe is not for good; method: one reader, several writers after each other, each by one
    // that waits for its bytes.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let place = Place::with_pipe().await;
            let mut reader = PipeOptions::new().open_reader(&place.0).await.unwrap();
            for round in 0..6_u8 {
                let path = place.0.clone();
                let writing = spawn(async move {
                    let mut writer = PipeOptions::new().open_writer(&path).await.unwrap();
                    for _ in 0..20 {
                        yield_now().await;
                    }
                    writer.write_all(&[round; 5]).await.unwrap();
                    writer
                });
                let mut buf = [0; 5];
                let mut got = 0;
                while got < 5 {
                    match reader.read(&mut buf[got..]).await.unwrap() {
                        // The end of the writer before, or none has come yet.
                        0 => yield_now().await,
                        read => got += read,
                    }
                }
                assert_eq!(buf, [round; 5]);
                drop(writing.await.unwrap());
                assert_eq!(reader.read(&mut buf).await.unwrap(), 0);
            }
        });
    });
}

#[test]
fn pipe_for_both_directions_has_no_end() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let place = Place::with_pipe().await;
            let mut options = PipeOptions::new();
            options.read_write(true);
            // It finds a reader in itself.
            let mut first = options.open_writer(&place.0).await.unwrap();
            first.write_all(b"first").await.unwrap();
            let mut reader = options.open_reader(&place.0).await.unwrap();
            drop(first);
            let mut got = [0; 5];
            reader.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"first");
            assert!(GiveUpAfter::new(20, reader.read(&mut got)).await.is_none(), "no end");
            let mut second = PipeOptions::new().open_writer(&place.0).await.unwrap();
            let (read, wrote) = join(reader.read_exact(&mut got), second.write_all(b"again")).await;
            read.unwrap();
            wrote.unwrap();
            assert_eq!(&got, b"again");
        });
    });
}

#[test]
fn what_is_wrong_is_said() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let place = Place::with_pipe().await;
            let error = mkfifo(&place.0, 0o600).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists);
            let error = PipeOptions::new().open_writer(&place.0).await.unwrap_err();
            assert!(error.to_string().contains("PipeWriter::open waits"), "{error}");
            // Given up, it has left nothing.
            assert!(GiveUpAfter::new(20, PipeWriter::open(&place.0)).await.is_none());
            assert!(GiveUpAfter::new(20, PipeReader::open(&place.0)).await.is_none());

            let file = Place::new();
            fs::write(&file.0, "text").unwrap();
            let error = PipeReader::open(&file.0).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("mkfifo"), "{error}");
            let mut unchecked = PipeOptions::new();
            let mut reader = unchecked.unchecked(true).open_reader(&file.0).await.unwrap();
            let mut got = [0; 10];
            assert_eq!(reader.read(&mut got).await.unwrap(), 4);
            assert_eq!(&got[..4], b"text");
            let nothing = Place::new();
            let error = PipeWriter::open(&nothing.0).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
        });
    });
}
