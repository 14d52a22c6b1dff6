//! Every socket: TCP, UDP, binding, name resolution; the only way out.
