//! Processes that ask, and mean no good. The service goes on, and others get their answers.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    thread,
};

use crate::roles::{Service, ringloop, told, within_a_minute};

/// The pipe of a process, as anybody of the same user may open it.
fn pipe_of(service: &Service) -> File {
    let threads = std::fs::read_dir(format!("/proc/{}/task", service.pid())).expect("/proc");
    let door = threads.flatten().find_map(|thread| {
        let name = std::fs::read_to_string(thread.path().join("comm")).ok()?;
        Some(name.trim_end().strip_prefix("ring-ask-")?.to_owned())
    });
    let path = format!("/proc/{}/fd/{}", service.pid(), door.expect("a door"));
    OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path).expect("it opens")
}

fn answers(service: &mut Service) {
    assert_eq!(service.tell("ping"), "pong", "the service goes on");
    told(&["ps", &service.pid().to_string(), "--timeout", "30s"]);
}

#[test]
fn garbage_is_skipped() {
    within_a_minute("garbage", || {
        let mut service = Service::start("service");
        let mut pipe = pipe_of(&service);
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for round in 0..200 {
            let mut random = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            };
            let len = (random() % 4000) as usize;
            let mut bytes: Vec<u8> = (0..len).map(|_| random() as u8).collect();
            // Lines that nearly are questions.
            if round % 2 == 0 {
                let lines = [
                    "ringloop 1 0000000000000001\n",
                    "ringloop 99999999999999999999 0000000000000001 dump\n",
                    "ringloop 1 0000000000000001 dump -1 \u{fffd}\n",
                    "ringloop 2 0000000000000002 hello\n",
                    "ringloop 1 0000000000000003 nothing\n",
                    "ringloop 1 0000000000000004 done\n",
                    "ringloop 1 0000000000000005 dump",
                ];
                bytes.extend(lines[(random() % 7) as usize].bytes());
            }
            // Full: the service has not read yet.
            let _ = pipe.write(&bytes);
        }
        answers(&mut service);
    });
}

#[test]
fn line_without_an_end_takes_no_memory() {
    within_a_minute("huge", || {
        let mut service = Service::start("service");
        let mut pipe = pipe_of(&service);
        let mut written = 0;
        while written < 16 << 20 {
            match pipe.write(&[b'x'; 4096]) {
                Ok(len) => written += len,
                Err(_) => thread::yield_now(),
            }
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmData:")).unwrap();
        let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(resident < 1 << 20, "{resident} kB of data");
        answers(&mut service);
    });
}

#[test]
fn answers_that_nobody_fetches_are_forgotten() {
    within_a_minute("unfetched", || {
        let mut service = Service::start("service");
        let mut pipe = pipe_of(&service);
        let before: usize = service.tell("fds").parse().unwrap();
        for id in 0..2000 {
            let line = format!("\nringloop 1 {id:016x} hello\n");
            while pipe.write(line.as_bytes()).is_err() {
                thread::yield_now();
            }
            if id % 100 == 0 {
                let fds: usize = service.tell("fds").parse().unwrap();
                assert!(fds <= before + 8, "{fds} descriptors, {before} before");
            }
        }
        answers(&mut service);
    });
}

#[test]
fn many_may_ask_at_once_and_some_leave() {
    within_a_minute("many", || {
        let mut service = Service::start("service");
        let pid = service.pid().to_string();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for round in 0..8 {
                        if round % 4 == 3 {
                            // It asks, and has gone before the answer.
                            let _ = ringloop(&["ps", &pid, "--timeout", "0s"]);
                        } else {
                            told(&["ps", &pid, "--timeout", "50s"]);
                        }
                    }
                });
            }
        });
        answers(&mut service);
    });
}

#[test]
fn thousand_pipes_do_not_harm() {
    within_a_minute("thousand", || {
        let mut service = Service::start("service");
        let mut pipes: Vec<_> = (0..1000).map(|_| pipe_of(&service)).collect();
        // Each writes half a question; half of them then close.
        for (id, pipe) in pipes.iter_mut().enumerate() {
            let _ = pipe.write(format!("\nringloop 1 {id:016x} du").as_bytes());
        }
        pipes.truncate(500);
        answers(&mut service);
        for (id, pipe) in pipes.iter_mut().enumerate() {
            let _ = pipe.write(format!("\nringloop 1 {id:016x} hello\n").as_bytes());
        }
        drop(pipes);
        answers(&mut service);
    });
}
