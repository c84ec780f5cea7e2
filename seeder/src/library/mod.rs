//! From folders to torrents and back: walking, leaving junk out, ordering, hashing on all cores, verifying.
//!
//! The rules ([`order`], [`junk`], [`filter`], [`piece_length`], [`parts`]) are pure; [`walk`], [`hash`], [`create`] and
//! [`verify`] touch the disk, through [`os`]. Nothing here ever writes: what is shared is opened for reading only.

pub mod create;
pub mod digest;
pub mod filter;
pub mod hash;
pub mod junk;
pub mod order;
pub mod os;
pub mod parts;
pub mod piece_length;
pub mod progress;
pub mod reader;
pub mod torrent_file;
pub mod verify;
pub mod walk;
