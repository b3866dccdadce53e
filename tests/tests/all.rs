//! The one integration binary. `hermetic` needs nothing but the checkout; `real_servers` needs
//! `services/stack up` and `eval "$(services/stack env)"`. `./test quick` runs only the first: it tells
//! the two apart by these module names.

mod hermetic;
mod real_servers;
