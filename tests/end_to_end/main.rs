//! The shipped pipelines against the simulator, compared with tables that share no code with them.
//!
//! ```text
//!   World ──expected──▶ Table ──┐
//!     │                         ├── served: what the simulator answers says the same
//!     │                         ├── spot:   what a person works out by hand says the same
//!   Simulator ──run──▶ files ───┴── shipped: the export is exactly this, in Parquet and in CSV
//! ```

#[path = "../support/mod.rs"]
mod support;
mod expected;
mod tables;
mod spot;
mod served;
mod shipped;
mod pulled;
mod nightly;
mod auth;
