//! Every socket of the program is made here: TCP and UDP, listening and connecting, bound where the user said.
//!
//! Owns: socket options, binding, the choice of a local address for a remote one, looking up names. Does not own:
//! what is said over a socket, or whom to talk to.
#![forbid(unsafe_code)]

mod binding;
mod multicast;
mod resolve;
mod tcp;
mod udp;

pub use binding::Binding;
pub use multicast::{GroupListener, Link, links, tell_group};
pub use resolve::resolve;
pub use tcp::{connect, listen};
pub use udp::udp_socket;
