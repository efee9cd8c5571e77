//! Declarative pipelines: a YAML file in, partitioned Parquet and CSV out.

pub mod load;
pub mod plan;
