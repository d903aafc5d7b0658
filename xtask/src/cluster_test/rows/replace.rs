//! Replaces shards' pods under load.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::{listed, seconds};
use crate::cluster_test::events::Events;
use crate::cluster_test::lab::{LAB, Lab};
use crate::cluster_test::outage;
use crate::cluster_test::wait::pass;
use crate::verdicts::Verdicts;

const TIMES: usize = 10;

/// The shard to delete.
const SHARD: usize = 1;
const POD: &str = "shard-1";

/// Bounds of the issue, from the moment when the pod is ready.
const MEDIAN: Duration = Duration::from_secs(2);
const LARGEST: Duration = Duration::from_secs(5);

pub(crate) fn run(lab: &mut Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    deleted(lab, verdicts)?;
    rolling(lab, verdicts)
}

fn deleted(lab: &Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    let (mut after, mut outages) = (Vec::new(), Vec::new());
    for time in 1..=TIMES {
        let old = lab.shards()?[SHARD].uid.clone();
        let events = Events::start(&lab.cluster, LAB, "app.kubernetes.io/component=shard")?;
        let watch = lab.watch_keys()?;
        pass(&format!("deleting {POD}, {time} of {TIMES}"), Duration::from_secs(1))?;
        lab.cluster.kubectl(&["-n", LAB, "delete", "pod", POD, "--wait=false"])?;
        let ready = events.ready(POD, &old)?;
        pass("waiting for late failures", Duration::from_secs(6))?;
        let keys = watch.stop()?;
        let key = &keys[SHARD];
        let end = key.outages.last().map(|outage| outage.end);
        after.push(end.map_or(Duration::ZERO, |end| end.saturating_duration_since(ready)));
        outages.push(key.outages.iter().map(|outage| outage.end - outage.start).sum::<Duration>());
    }
    after.sort_unstable();
    outages.sort_unstable();
    let (median, largest) = (after[TIMES / 2], after[TIMES - 1]);
    let figure = format!(
        "keys answer {} after the pod is ready (median), at most {}; away for {} to {} in all",
        seconds(median),
        seconds(largest),
        seconds(outages[0]),
        seconds(outages[TIMES - 1]),
    );
    verdicts.report("a shard's pod deleted ten times", median <= MEDIAN && largest <= LARGEST, &figure);
    let problems = lab.disagreements()?;
    verdicts.report("difference 0 afterwards", problems.is_empty(), &format!("at rest{}", listed(&problems)));
    Ok(())
}

fn rolling(lab: &Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    let watch = lab.watch_keys()?;
    let started = Instant::now();
    lab.cluster.kubectl(&["-n", LAB, "rollout", "restart", "statefulset/shard"])?;
    pass("the restart begins", Duration::from_secs(2))?;
    lab.cluster.rolled_out(LAB, "statefulset/shard")?;
    let took = started.elapsed();
    pass("waiting for late failures", Duration::from_secs(3))?;
    let keys = watch.stop()?;
    let at_once = outage::at_once(&keys);
    let longest = keys.iter().flat_map(|key| &key.outages).map(|outage| outage.end - outage.start).max();
    let figure = format!(
        "{at_once} away at once, each for at most {}, in {}; {} of {} requests failed",
        seconds(longest.context("no shard was away")?),
        seconds(took),
        keys.iter().map(|key| key.failed).sum::<u64>(),
        keys.iter().map(|key| key.requests).sum::<u64>(),
    );
    verdicts.report("a rolling restart of all shards", at_once <= 1, &figure);
    let problems = lab.disagreements()?;
    verdicts.report("difference 0 afterwards", problems.is_empty(), &format!("at rest{}", listed(&problems)));
    Ok(())
}
