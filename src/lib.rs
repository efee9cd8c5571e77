//! Declarative pipelines: a YAML file in, partitioned Parquet and CSV out.

pub mod plan;
pub mod config;
pub mod extract;
pub mod transform;
pub mod load;
pub mod state;
pub mod run;
pub mod error;
pub mod sim;
pub mod cli;

pub use error::Error;
