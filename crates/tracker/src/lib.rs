//! Trackers: announce and scrape over HTTP and UDP, tiers and schedules.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
