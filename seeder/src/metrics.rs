//! What Prometheus sees of the seeder.
