//! The tracker's HTTP edge. A connection is accepted by a [`lane`], which answers announces and scrapes by itself; anything
//! else goes on to a [`site`] with its [`pages`]. Both ask the same [`desk`]. Nothing here decides who gets which peers: that is `swarm`.

pub(crate) mod admin;
pub(crate) mod conversation;
pub(crate) mod counter;
pub(crate) mod desk;
pub(crate) mod doors;
pub(crate) mod forwarded;
pub(crate) mod head;
pub(crate) mod lane;
pub(crate) mod outside;
pub(crate) mod pages;
pub(crate) mod porter;
pub(crate) mod prober;
mod reply;
pub(crate) mod site;
pub(crate) mod tls;
pub mod trace;

#[cfg(test)]
mod conversation_tests;
#[cfg(test)]
mod edge_tests;
#[cfg(test)]
mod tests;
