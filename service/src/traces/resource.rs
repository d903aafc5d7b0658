//! Describes this process in its spans.

use opentelemetry::{Key, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

/// The attributes of this process. `OTEL_RESOURCE_ATTRIBUTES` has priority, except over a service name that is set.
/// Without an instance id there a random one tells two processes of one service apart.
pub(super) fn resource(name: Option<String>, default_name: String) -> Resource {
    let given = Resource::builder().build();
    // Without a name the library makes one up.
    let has_name = given
        .get(&Key::new("service.name"))
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let name = name.or_else(|| (!has_name).then_some(default_name));
    let mut more = Vec::from_iter(name.map(|name| KeyValue::new("service.name", name)));
    let absent = |key: &'static str| given.get(&Key::new(key)).is_none();
    if absent("service.version") {
        more.push(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    }
    if absent("service.instance.id") {
        more.push(KeyValue::new(
            "service.instance.id",
            RandomIdGenerator::default().new_trace_id().to_string(),
        ));
    }
    Resource::builder().with_attributes(more).build()
}
