//! Defines the options of `probe watch`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use service::args::{ProcessArgs, SettingError};
use store::credentials::Credentials;
use store::urls::StoreUrls;

use crate::switch::Switch;

/// Longest password file in bytes.
const MAX_PASSWORD: u64 = 4_096;

/// Options of `probe watch`.
#[derive(Clone, Debug, clap::Args)]
pub struct WatchArgs {
    /// The store, redis://host:port. One node of a cluster suffices. Several nodes are separated by commas; without a
    /// cluster each is a shard. User and password come from STORE_USER and STORE_PASSWORD
    #[arg(env = "STORE_URLS", value_name = "URLS")]
    pub urls: String,
    /// File with the password, in place of STORE_PASSWORD
    #[arg(long, env = "STORE_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Count for some seconds, print the answer, and end. Exit code 0 balanced, 1 hot, 3 no answer possible
    #[arg(long)]
    pub once: bool,
    /// Seconds to count with --once
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub seconds: u64,
    /// Print the answer of --once as JSON
    #[arg(long, requires = "once")]
    pub json: bool,
    /// Port to listen on; 0 takes any free one
    #[arg(long, env = "PORT", default_value_t = 9010, value_name = "PORT")]
    pub port: u16,
    /// The cgroup whose sockets are watched; it must contain all nodes [default: the root cgroup]
    #[arg(long, env = "CGROUP", value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// Whether the kernel counts the programs' runs, for /status and /metrics
    #[arg(long, env = "PROGRAM_STATS", default_value = "off", value_name = "SWITCH")]
    pub program_stats: Switch,
    /// Options of every process
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// Validated settings of `probe watch`.
#[derive(Clone, Debug)]
pub struct WatchConfig {
    pub(crate) addr: SocketAddr,
    pub(crate) workers: NonZeroUsize,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) urls: StoreUrls,
    pub(crate) login: Option<Credentials>,
    pub(crate) cgroup: Option<PathBuf>,
    pub(crate) program_stats: bool,
    pub(crate) seconds: Duration,
    pub(crate) json: bool,
}

impl TryFrom<WatchArgs> for WatchConfig {
    type Error = SettingError;

    fn try_from(args: WatchArgs) -> Result<Self, SettingError> {
        let urls = StoreUrls::parse(&args.urls).map_err(|error| {
            // The list may hold a password.
            let shown = if args.urls.contains('@') { "(not shown)" } else { &args.urls };
            SettingError::new("STORE_URLS", shown, error.to_string())
        })?;
        Ok(Self {
            addr: SocketAddr::new(args.process.bind_address, args.port),
            workers: args.process.workers.unwrap_or(NonZeroUsize::MIN),
            memory_limit: args.process.memory_limit(),
            urls,
            login: login(args.password_file.as_deref())?,
            cgroup: args.cgroup,
            program_stats: args.program_stats == Switch::On,
            seconds: Duration::from_secs(args.seconds),
            json: args.json,
        })
    }
}

/// User and password. They are no options, because every user of the machine can read a process's arguments.
#[expect(
    clippy::disallowed_methods,
    reason = "a password must not be an option, and clap reads only options"
)]
fn login(file: Option<&Path>) -> Result<Option<Credentials>, SettingError> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (user, password) = (variable("STORE_USER"), variable("STORE_PASSWORD"));
    let password = match file {
        Some(path) => Some(read(path)?),
        None => password,
    };
    let login = password.and_then(|password| Credentials::new(user.as_deref(), &password));
    match (user, &login) {
        (Some(user), None) => {
            let allowed = "a user needs a password: set STORE_PASSWORD or STORE_PASSWORD_FILE";
            Err(SettingError::new("STORE_USER", user, allowed))
        }
        _ => Ok(login),
    }
}

/// The first line of a password file.
fn read(path: &Path) -> Result<String, SettingError> {
    let refused = |why: String| SettingError::new("STORE_PASSWORD_FILE", path.display().to_string(), why);
    let size =
        std::fs::metadata(path).map_err(|error| refused(format!("it cannot be read ({error})")))?.len();
    if size > MAX_PASSWORD {
        return Err(refused(format!("it has {size} bytes; a password has at most {MAX_PASSWORD}")));
    }
    let text =
        std::fs::read_to_string(path).map_err(|error| refused(format!("it cannot be read ({error})")))?;
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(line.to_owned()),
        None => Err(refused("its first line is empty; write the password there".to_owned())),
    }
}
