//! Declarative pipelines: a YAML file in, partitioned Parquet and CSV out.

pub mod plan;
pub mod transform;
