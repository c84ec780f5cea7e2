//! The whole tracker as one value: started, asked for its addresses, stopped. `main` and `seeder share` use it.
