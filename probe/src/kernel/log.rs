//! Forwards the kernel programs' log lines to the probe's log.

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

/// aya-log's levels: nothing, or everything. The programs log little.
const LEVEL_OFF: u8 = 0;
const LEVEL_ON: u8 = 5;

/// The level for the kernel object.
pub(crate) fn level(on: bool) -> u8 {
    if on { LEVEL_ON } else { LEVEL_OFF }
}

/// Forwards log lines from the kernel.
pub(crate) struct KernelLog(EbpfLogger<ToTracing>);

impl KernelLog {
    /// Takes the log's ring buffer. Call it before the programs are loaded.
    pub(crate) fn take(ebpf: &mut Ebpf) -> Result<Self, aya_log::Error> {
        EbpfLogger::init_with_logger(ebpf, ToTracing).map(Self)
    }

    /// Forwards lines until `stopping`.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        let mut ring = match readable(self.0) {
            Ok(ring) => ring,
            Err(error) => return tracing::error!(%error, "cannot wait for the kernel's log lines"),
        };
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                ready = ring.readable_mut() => match ready {
                    Ok(mut ready) => {
                        ready.get_inner_mut().flush();
                        ready.clear_ready();
                    }
                    Err(error) => return tracing::error!(%error, "the kernel's log lines cannot be read"),
                },
            }
        }
    }
}

#[expect(unsafe_code, reason = "tokio does not own the descriptor that it registers")]
fn readable(log: EbpfLogger<ToTracing>) -> std::io::Result<AsyncFd<EbpfLogger<ToTracing>>> {
    // SAFETY: the logger owns the ring buffer's descriptor and returns the same one until it is dropped.
    unsafe { AsyncFd::register_with_interest(log, Interest::READABLE) }.map_err(std::io::Error::from)
}

/// Adapts aya-log, which uses the `log` crate, to `tracing`.
struct ToTracing;

impl log::Log for ToTracing {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        match record.level() {
            log::Level::Error => tracing::error!(target: "kernel", "{}", record.args()),
            log::Level::Warn => tracing::warn!(target: "kernel", "{}", record.args()),
            _ => tracing::info!(target: "kernel", "{}", record.args()),
        }
    }

    fn flush(&self) {}
}
