//! Walks the swarms shard by shard and forgets silent peers.
