//! `init`: a pipeline file to start from.

use std::io::Write;

use super::{
    args::{GlobalArgs, InitArgs},
    infer::propose,
    report,
};
use crate::{
    config::{self, ConfigError, Inputs},
    error::Error,
    infer::{self, Endpoint, InvalidUrl},
    load,
};

pub(super) fn init(
    args: &InitArgs,
    global: &GlobalArgs,
    stdout: &mut dyn Write,
) -> Result<u8, Error> {
    let InitArgs { name, url, from, wishes, force } = args;
    let endpoint = url.as_ref().map(|text| {
        // It may hold a password: of what it says only names are shown.
        Endpoint::parse(text).map_err(|err| match err {
            InvalidUrl::SeveralCredentials { names } => Error::Argument {
                option: "--url",
                value: format!("…?{}=…", names.join("=…&")),
                expected: "one parameter that may be a credential, since `auth: { api_key: … }` adds one: leave out the others; headers may have more",
            },
            _ => Error::Argument {
                option: "--url",
                value: "…".to_owned(),
                expected: "an `https:` URL without a user, a password and braces (`http:` for this machine only)",
            },
        })
    });
    let endpoint = endpoint.transpose()?;
    let file = format!("{name}.yaml");
    let path = global.pipelines_dir.join(&file);
    if path.exists() && !force {
        return Err(Error::PipelineExists { path });
    }
    let proposal = if from.is_empty() {
        None
    } else {
        Some(propose(from, wishes, endpoint.as_ref().and_then(Endpoint::stream))?)
    };
    let text = infer::pipeline(name, endpoint.as_ref(), proposal.as_ref());
    // What is written is what `check` accepts: anything else is a bug of ours.
    if let Err(ConfigError::Invalid { problems, .. }) =
        config::load_text(&path, &text, &Inputs::default())
    {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        return Err(Error::Internal(format!(
            "the new pipeline file is not valid: {}",
            problems.join("; ")
        )));
    }
    load::write_text(&global.pipelines_dir, &file, &text).map_err(Error::Write)?;
    report::line(stdout, format_args!("wrote {}", path.display()));
    report::line(
        stdout,
        format_args!(
            "next: read its lines with DECIDE, then `tracklake check {name}` and `tracklake run {name}`"
        ),
    );
    Ok(0)
}
