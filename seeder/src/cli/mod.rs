//! The commands: what was typed, and what each one does with the engine and the library.
