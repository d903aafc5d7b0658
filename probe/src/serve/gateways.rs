//! Serves `/api/gateways`: the hottest keys of all gateways together.

use axum::Json;
use axum::extract::State;
use futures_util::future::join_all;
use hotspot::counter::Count;
use hotspot::merge::Summary;
use protocol::ErrorKind;
use protocol::body::TopKey;
use protocol::limits::GATEWAY_TOP_KEYS;
use protocol::probe_api::{GatewayReadout, Gateways};
use protocol::shard_urls::ShardUrl;
use service::problem::Problem;

use crate::compare::stats_client::GatewayKeys;
use crate::serve::state::ApiState;
use service::clock::unix_seconds;

/// Reads all gateways and merges their counts. 503 when the gateways' name has no address.
pub(crate) async fn gateways(State(state): State<ApiState>) -> Result<Json<Gateways>, Problem> {
    let taken_at = unix_seconds();
    let urls = state
        .gateways
        .resolve(state.stats.names())
        .await
        .map_err(|why| Problem::new(ErrorKind::NotReady, why))?;
    let read = join_all(urls.iter().map(|url| state.stats.hot_keys(url))).await;
    Ok(Json(body(taken_at, urls.iter().zip(read))))
}

pub(crate) fn body<'a>(
    taken_at: f64,
    read: impl Iterator<Item = (&'a ShardUrl, Result<GatewayKeys, String>)>,
) -> Gateways {
    let (mut gateways, mut parts) = (Vec::new(), Vec::new());
    for (url, keys) in read {
        let keys = keys.map(|keys| {
            parts.push(keys.summary);
            (keys.started_at, keys.requests)
        });
        let problem = keys.as_ref().err().cloned();
        let (started_at, requests) = keys.ok().unzip();
        gateways.push(GatewayReadout { url: url.to_string(), started_at, requests, problem });
    }
    let whole = Summary::merged(&parts);
    let top = whole.top(GATEWAY_TOP_KEYS);
    Gateways {
        taken_at,
        requests: gateways.iter().filter_map(|gateway| gateway.requests).fold(0, u64::saturating_add),
        top_keys: top
            .keys
            .into_iter()
            .map(|Count { key, count, error }| TopKey { key, count, error })
            .collect(),
        others_at_most: whole.others_at_most,
        // The counts of a gateway that did not answer could change the whole list.
        exact: top.exact && !gateways.is_empty() && parts.len() == gateways.len(),
        gateways,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotspot::judge::Observation;
    use protocol::Key;
    use protocol::shard_urls::ShardUrls;

    fn keys(keys: &[(&str, u64)]) -> GatewayKeys {
        let count =
            |(key, count): &(&str, u64)| Count { key: Key::new(key).unwrap(), count: *count, error: 0 };
        let summary = Summary { keys: keys.iter().map(count).collect(), others_at_most: 0 };
        let (second, ten) = (Observation::new(4), Observation::new(4));
        GatewayKeys { started_at: 1.0, requests: keys.iter().map(|(_, n)| n).sum(), summary, second, ten }
    }

    #[test]
    fn one_that_does_not_answer_is_named_and_nothing_is_called_exact() {
        let urls = ShardUrls::parse("http://a:1,http://b:1").unwrap();
        let both = |second| {
            let read = [Ok(keys(&[("x", 3), ("y", 2)])), second];
            serde_json::to_value(body(5.0, urls.iter().zip(read))).unwrap()
        };
        let found = both(Ok(keys(&[("y", 4)])));
        assert_eq!(found["top_keys"][0], serde_json::json!({"key": "y", "count": 6, "error": 0}));
        // The list has room for twenty keys, and there is no third.
        assert_eq!((&found["exact"], &found["requests"]), (&true.into(), &9.into()), "{found}");
        let found = both(Err("no connection".to_owned()));
        assert_eq!(found["gateways"][1]["problem"], "no connection");
        assert_eq!((&found["exact"], &found["requests"]), (&false.into(), &5.into()), "{found}");
    }

    #[test]
    fn requests_of_faulty_gateways_saturate() {
        let urls = ShardUrls::parse("http://a:1,http://b:1").unwrap();
        let read = [Ok(keys(&[("x", u64::MAX)])), Ok(keys(&[("x", 1)]))];
        let found = body(5.0, urls.iter().zip(read));
        assert_eq!((found.requests, found.top_keys[0].count), (u64::MAX, u64::MAX));
    }
}
