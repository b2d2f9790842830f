//! The `hoga` program; see [`hoga::cli`].

use std::process::ExitCode;

/// Answers and batches are many small allocations on many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hoga::cli::main()
}
