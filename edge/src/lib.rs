//! What the programs do alike where they meet the world: settings in layers, a folder with one owner, an API over HTTP with
//! bounds, a control socket with its client, words on a terminal. Knows neither program.

pub mod bearer;
pub mod body;
pub mod client;
pub mod command;
pub mod control;
pub mod exposition;
pub mod folder;
pub mod guesses;
pub mod human;
pub mod listen;
pub mod log;
pub mod openapi;
mod os;
pub mod output;
pub mod problem;
mod rewound;
pub mod settings;
pub mod site;
pub mod slots;

pub use rewound::Rewound;
