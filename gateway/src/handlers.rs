//! The request handlers, one file per resource.

pub(crate) mod admin;
pub(crate) mod data;
pub(crate) mod hot_keys;
pub(crate) mod mitigation;
pub(crate) mod origin;
pub(crate) mod peers;
pub(crate) mod status;
pub(crate) mod what_if;
