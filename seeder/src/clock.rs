//! Time, the only place where the seeder asks for it.
