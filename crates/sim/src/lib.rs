//! A deterministic world for the machines: clock, links, disks, one seed.
