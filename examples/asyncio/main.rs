//! Programs that asyncio's readers know, each as it is written with ringloop.
//!
//! ```text
//! cargo run --example asyncio -- print_sum
//! ```

use std::process::ExitCode;

mod programs;

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1);
    let program = programs::ALL.iter().find(|(name, _)| wanted.as_deref() == Some(*name));
    if let Some((_, run)) = program {
        run();
        return ExitCode::SUCCESS;
    }
    eprintln!("say which program:");
    for (name, _) in programs::ALL {
        eprintln!("    cargo run --example asyncio -- {name}");
    }
    ExitCode::FAILURE
}
