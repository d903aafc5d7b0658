//! The handlers, one file a resource.

pub(crate) mod admin;
pub(crate) mod data;
pub(crate) mod status;
