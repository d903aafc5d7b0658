//! The request handlers, one file per resource.

pub(crate) mod admin;
pub(crate) mod data;
pub(crate) mod status;
