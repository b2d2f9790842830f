//! Everything that the servers of this process log, kept for tests that search it.

use std::{
    io,
    sync::{Mutex, Once},
};

use tracing_subscriber::EnvFilter;

static KEPT: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static ONCE: Once = Once::new();

struct Keep;

impl io::Write for Keep {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        KEPT.lock().expect("nobody panics while writing a log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From now on every line is kept, the chattiest ones of Hoga too.
pub fn keep() {
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_env_filter(EnvFilter::new("hoga=trace,info"))
            .with_writer(|| Keep)
            .init();
    });
}

/// What was logged so far.
pub fn kept() -> String {
    let bytes = KEPT.lock().expect("nobody panics while writing a log").clone();
    String::from_utf8(bytes).expect("logs are UTF-8")
}
