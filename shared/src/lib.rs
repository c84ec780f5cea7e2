//! What both programs must agree on: the wire and the `.torrent` file. Pure: no socket, no file, no clock, no dice of
//! its own. Everything here may be fed by strangers, so every number is bounded before it is used.

pub mod announce;
pub mod bencode;
pub mod bitfield;
pub mod compact;
pub mod extension;
pub mod geometry;
pub mod hash_span;
pub mod hash_tree;
pub mod id;
pub mod magnet;
pub mod merkle;
pub mod metainfo;
pub mod moment;
pub mod peer_wire;
pub mod scrape;
pub mod selection;
