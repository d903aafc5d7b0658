//! Runs a Redis Cluster and its probe for a test.

use ::lab::Probe;
use ::lab::generator::Generator;
use ::lab::http::Client;
use ::lab::process::Log;
use ::lab::programs;
use serde_json::Value;
use std::ops::{Deref, DerefMut};
use std::process::Command;
use tokio::sync::MutexGuard;

use crate::lab::{self, Load};
use crate::{build, skip};

/// A running store. Dropping it ends all its processes and removes their files.
pub struct StoreLab {
    lab: ::lab::StoreLab,
    client: reqwest::Client,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for StoreLab {
    type Target = ::lab::StoreLab;

    fn deref(&self) -> &::lab::StoreLab {
        &self.lab
    }
}

impl DerefMut for StoreLab {
    fn deref_mut(&mut self) -> &mut ::lab::StoreLab {
        &mut self.lab
    }
}

impl StoreLab {
    /// Whether a store is installed. If not, reports the test `name` as skipped.
    #[must_use]
    pub fn available(name: &str) -> bool {
        let server = programs::find("redis-server").ok_or_else(|| ::lab::store_lab::REMEDY.to_owned());
        skip::unless(name, server).is_some()
    }

    /// Starts a cluster with a probe, and waits until the probe is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(probe: Probe) -> Self {
        let options =
            ::lab::Options { programs: build::folder(), probe: Some(probe), ..::lab::Options::default() };
        let turn = lab::turn().await;
        let mut lab = ::lab::StoreLab::start(options).unwrap_or_else(|err| panic!("{err:#}"));
        lab.wait_ready(&Client::default()).unwrap_or_else(|err| panic!("{err:#}"));
        Self { lab, client: lab::client(), _turn: turn }
    }

    /// Starts the load generator against the cluster.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn load_started(&self, args: &[&str]) -> Load {
        let url = self.lab.url().expect("it runs");
        let mut command = Command::new(build::binary("load"));
        command.args(args).args(["--store", &url]).env_clear();
        Load::of(Log::unnamed().and_then(|log| Generator::start(command, log)).expect("the load generator"))
    }

    /// The probe's answer about the store.
    ///
    /// # Panics
    /// When the probe does not answer.
    pub async fn answer(&self) -> Value {
        serde_json::from_str(&self.probe("/api/store").await).expect("JSON")
    }

    /// The probe's metrics.
    ///
    /// # Panics
    /// When the probe does not answer.
    pub async fn metrics(&self) -> String {
        self.probe("/metrics").await
    }

    /// The URL of the live page.
    ///
    /// # Panics
    /// When no probe runs.
    #[must_use]
    pub fn probe_url(&self) -> String {
        let probe = self.lab.probe.as_ref().expect("a probe runs");
        format!("http://{}", probe.address().expect("it is ready"))
    }

    async fn probe(&self, path: &str) -> String {
        let url = format!("{}{path}", self.probe_url());
        let answer = async { self.client.get(url).send().await?.text().await };
        answer.await.unwrap_or_else(|err: reqwest::Error| panic!("{path}: {err:?}"))
    }
}
