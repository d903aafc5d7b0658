//! Compares `docs/openapi/` with the routes of the services and with the bodies of a running lab.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, header};
use clap::Parser;
use lab_tests::kernel;
use lab_tests::lab::{Lab, Options};
use probe::compare::gateway::GATEWAYS;
use probe::compare::stats_client::StatsClient;
use probe::compare::watch::Watch;
use probe::kernel::cgroup::Cgroup;
use probe::kernel::object::Switches;
use probe::metrics::ProbeMetrics;
use probe::probe::Probe;
use probe::serve::state::ApiState;
use probe::source::ReplaySource;
use protocol::shard_urls::ShardUrls;
use serde_json::{Value, json};
use service::health::Health;
use service::members::Members;
use service::metrics::Metrics;
use service::server::Worker;
use service::tasks::Tasks;
use tower::ServiceExt as _;

const GATEWAY: &str = include_str!("../../../docs/openapi/gateway.json");
const SHARD: &str = include_str!("../../../docs/openapi/shard.json");
const PROBE: &str = include_str!("../../../docs/openapi/probe.json");
const PAGE: &str = include_str!("../../../docs/http.md");

/// A method that no route has.
const NO_METHOD: &str = "PURGE";

/// The methods of each path.
type Routes = BTreeMap<String, BTreeSet<Method>>;

fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The routes that a document names.
fn documented(text: &str) -> Routes {
    let document = document(text);
    let paths = document["paths"].as_object().unwrap().iter();
    let methods = |of_path: &Value| {
        let names = of_path.as_object().unwrap().keys();
        names.map(|name| Method::from_bytes(name.to_uppercase().as_bytes()).unwrap()).collect()
    };
    paths.map(|(path, of_path)| (path.clone(), methods(of_path))).collect()
}

/// The routes that a router has: the paths are in its debug output, and the methods in the answer to another method.
async fn routed(router: Router) -> Routes {
    let shown = format!("{router:?}");
    let (shown, _) = shown.split_once("fallback_router: ").unwrap();
    let paths = shown.split("RouteId(").filter_map(|part| part.split_once("): \"")?.1.split_once('"'));
    let mut routes = Routes::new();
    for (path, _) in paths {
        let target = path.replace("{key}", "k");
        let request = Request::builder().method(NO_METHOD).uri(target).body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let allowed = answer.headers().get(header::ALLOW).map(|allow| allow.to_str().unwrap().to_owned());
        let allowed = allowed.unwrap_or_else(|| panic!("{path}: {} without Allow", answer.status()));
        let methods = allowed.split(',').filter(|name| *name != "HEAD");
        let methods = methods.map(|name| Method::from_bytes(name.as_bytes()).unwrap()).collect();
        routes.insert(path.to_owned(), methods);
    }
    assert!(routes.len() >= 8, "{routes:?}");
    routes
}

#[tokio::test]
async fn the_document_of_the_gateway_names_its_routes() {
    let args = ["gateway", "--bind-address=127.0.0.1", "--port=0", "--shard-urls=http://127.0.0.1:1"];
    let config = gateway::config::Config::try_from(gateway::config::Args::parse_from(args)).unwrap();
    let router = config.build().unwrap().router(&Worker { index: 1, tasks: Tasks::default() });
    assert_eq!(routed(router).await, documented(GATEWAY));
}

#[tokio::test]
async fn the_document_of_the_shard_names_its_routes() {
    let args = ["shard", "--bind-address=127.0.0.1", "--port=0", "--shard-id=0"];
    let config = shard::config::Config::try_from(shard::config::Args::parse_from(args)).unwrap();
    assert_eq!(routed(config.build().unwrap().router()).await, documented(SHARD));
}

#[tokio::test]
async fn the_document_of_the_probe_names_its_routes() {
    let urls = ShardUrls::parse("http://127.0.0.1:1").unwrap();
    let metrics = Arc::new(Metrics::default());
    let probe = Arc::new(Probe::new(
        urls.clone(),
        Cgroup::at("/cgroup".into()),
        Vec::new(),
        Switches::default(),
        ProbeMetrics::register(&metrics, 1).unwrap(),
        Box::new(ReplaySource::default()),
    ));
    let (_watch, comparisons) = Watch::new(Arc::clone(&probe), urls, StatsClient::default());
    let state = ApiState {
        probe,
        comparisons,
        stats: StatsClient::default(),
        gateways: Arc::new(Members::parse(GATEWAYS, None).unwrap()),
    };
    let router = probe::routes::router(state, Health::default(), metrics);
    assert_eq!(routed(router).await, documented(PROBE));
}

#[test]
fn the_http_page_names_every_path() {
    for text in [GATEWAY, SHARD, PROBE] {
        for path in documented(text).into_keys().filter(|path| !path.starts_with("/page/")) {
            assert!(PAGE.contains(&format!("{path}`")), "docs/http.md lacks {path}");
        }
    }
}

/// The first field of `body` that `schema` does not name, or that it requires and `body` lacks.
fn unnamed(document: &Value, schema: &Value, body: &Value, at: &str) -> Option<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = document.pointer(name.trim_start_matches('#')).unwrap();
        return unnamed(document, schema, body, at);
    }
    if let Some(variants) = schema["anyOf"].as_array() {
        let mut found = variants.iter().map(|variant| unnamed(document, variant, body, at));
        return if body.is_null() { None } else { found.next().flatten() };
    }
    match body {
        Value::Object(fields) => {
            let properties = schema["properties"].as_object();
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let lacks = required
                .filter(|name| !fields.contains_key(*name))
                .map(|name| format!("{at}.{name} is missing"));
            let more = fields.iter().filter_map(|(name, value)| {
                let at = format!("{at}.{name}");
                match properties {
                    Some(properties) => match properties.get(name) {
                        Some(schema) => unnamed(document, schema, value, &at),
                        None => Some(format!("{at} is not in the document")),
                    },
                    None => unnamed(document, &schema["additionalProperties"], value, &at),
                }
            });
            lacks.chain(more).next()
        }
        Value::Array(items) => {
            items.iter().find_map(|item| unnamed(document, &schema["items"], item, &format!("{at}[]")))
        }
        _ => None,
    }
}

#[test]
fn a_field_that_is_not_in_the_document_is_found() {
    let document = document(SHARD);
    let schema = json!({"$ref": "#/components/schemas/ShardHealth"});
    let found = |body| unnamed(&document, &schema, &body, "health");
    assert_eq!(found(json!({"status": "ok", "shard_id": 0})), None);
    assert_eq!(found(json!({"status": "ok"})).unwrap(), "health.shard_id is missing");
    let more = found(json!({"status": "ok", "shard_id": 0, "more": 1}));
    assert_eq!(more.unwrap(), "health.more is not in the document");
}

/// Every JSON body of a running lab has the fields that the documents name. The types are checked by
/// `cargo xtask openapi`.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_the_documented_fields() {
    let name = "bodies_have_the_documented_fields";
    let with_probe = kernel::available(name);
    let lab = Lab::start(Options { probe: with_probe, ..Options::default() }).await;
    lab.load(&["run", "celebrity", "--duration", "3"]).await;
    let shard = lab.shard_addrs()[0];
    let mut services = vec![("gateway", GATEWAY, lab.gateway_addr()), ("shard", SHARD, shard)];
    services.extend(with_probe.then(|| ("probe", PROBE, lab.probe_addr())));
    for (service, text, address) in services {
        assert!(check_bodies(&lab, text, address).await >= 4, "few bodies of the {service}");
    }
}

/// Requests all JSON bodies and returns their number.
async fn check_bodies(lab: &Lab, text: &str, address: SocketAddr) -> usize {
    let document = document(text);
    let mut bodies = 0;
    for (path, of_path) in document["paths"].as_object().unwrap() {
        for (method, operation) in of_path.as_object().unwrap() {
            let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
            // A reset removes what the other bodies show.
            if schema.is_null() || path == "/openapi.json" || path == "/admin/reset" {
                continue;
            }
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let url = format!("http://{address}{}", path.replace("{key}", "celebrity-user-kardashian"));
            let sent = match path.as_str() {
                "/data" => json!({"key": "k", "value": {}}),
                "/admin/peers" => json!({"gateway": 7, "settings": {}}),
                "/admin/mitigation" => json!({"replication": 2, "cache": "hot_only"}),
                _ => json!({}),
            };
            let answer = lab.client.request(method, &url).body(sent.to_string()).send().await.unwrap();
            if answer.status() == 404 && path == "/api/store" {
                continue;
            }
            assert_eq!(answer.status(), 200, "{url}");
            let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            let found = unnamed(&document, schema, &body, path);
            assert!(found.is_none(), "{}: {body}", found.unwrap());
            bodies += 1;
        }
    }
    bodies
}
