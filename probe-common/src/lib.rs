#![no_std]
//! In progress.
