//! Quelea against real clients: hosts, clients, comparisons.
