//! Private mode: who may announce, which torrents are registered, and who gave and took how much. Rules are pure (`ids`,
//! `rules`, `ledger`, `refusal`, `keys`, `clients`); files and the database stand at the edge (`store`, `journal`, `books`, `office`).
//!
//! ```text
//! announce ── Directory (whose key?) ── Register (which torrent?) ── PrivateSwarms ── Journal (one write) ── answer
//!                                                                        └ Ledger ── Books (every few seconds) ── Store
//! API, command line ── Office ── Store, then Directory and Register
//! ```

pub mod books;
pub mod clients;
pub mod directory;
pub mod ids;
pub mod journal;
pub mod keys;
pub mod ledger;
pub mod office;
pub mod refusal;
pub mod register;
pub mod rules;
pub mod store;
pub mod torrent_file;
