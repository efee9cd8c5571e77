//! What to try after an error.

use super::Error;
use crate::{
    config::ConfigError,
    extract::{ExtractError, LogInError, RequestError, SendError, StuckPaging},
    infer::InferError,
    load::WriteError,
    state::StateError,
    transform::BodyError,
};

impl Error {
    /// What to try, when there is one thing to try.
    pub fn hint(&self) -> Option<String> {
        if let Self::Write(err) | Self::Inspect(err) = self
            && let Some(hint) = err.bucket_hint()
        {
            return Some(hint.to_owned());
        }
        match self {
            Self::UnknownPipeline { suggestion: Some(name), .. }
            | Self::UnknownStream { suggestion: Some(name), .. }
            | Self::UnknownColumn { suggestion: Some(name), .. } => Some(format!("did you mean `{name}`?")),
            Self::Config(ConfigError::Read { .. }) | Self::UnknownPipeline { suggestion: None, .. } => Some("`tracklake list` shows the pipelines found here".into()),
            Self::UnknownStream { suggestion: None, known, .. }
            | Self::UnknownColumn { suggestion: None, known, .. } => Some(format!("it has `{}`", known.join("`, `"))),
            Self::Source(source)
            | Self::Slices { source, .. }
            | Self::SomeSlices { source, .. }
            | Self::Pull { source, .. } => extract_hint(source),
            Self::PullRejected { pipeline, stream, .. } => Some(format!("`tracklake preview {pipeline} {stream}` shows the records and the reasons; fix the column's type or raise `max_rejected`")),
            Self::Budget { published: true, .. } | Self::Parent { left: true, .. } => Some("run again to read the rest".into()),
            Self::Budget { published: false, .. } => Some("run again to read the rest; if that never ends, allow more with `limits.max_requests` and `limits.deadline`, or cut the stream into smaller slices".into()),
            Self::OtherSelection { .. } => Some("export it to an `--output` of its own, or make the dataset what is asked for now with `--full-refresh`".into()),
            Self::TooManyDeletes { .. } => Some("if the source really lost them, set `max_delete_ratio: 100%` for one run".into()),
            Self::WouldBeEmpty { .. } | Self::UnknownWouldGo { .. } => Some("if this is normal, set `expect: { empty: ok }` for the stream".into()),
            Self::Unexpected { .. } => Some("if the source is right, change what the pipeline file expects there, also for one run by a variable: `min_rows: \"{{ vars.min_rows }}\"`".into()),
            Self::NoDestination { .. } => Some("set them, or say where the files are with `--output DIR`".into()),
            Self::SameView { .. } => Some("rename one of the streams, or keep the views of their pipelines in databases of their own".into()),
            Self::NothingExported { .. } => Some("if it was written elsewhere, say where with `--output DIR`".into()),
            Self::UnknownRun { known, earlier: 0, .. } | Self::NotQuarantined { known, earlier: 0, .. } => Some(format!("there are `{}`", known.join("`, `"))),
            Self::UnknownRun { known, earlier, .. } | Self::NotQuarantined { known, earlier, .. } => Some(format!("the last are `{}`; there are {earlier} before these", known.join("`, `"))),
            Self::State { source: StateError::Version { .. }, .. } => Some("use the version of tracklake that wrote it, or a later one".into()),
            Self::TooManyRejected { quarantine: Some(path), .. } => {
                Some(format!("see the records and the reasons in `{}`, then fix the column's type or raise `max_rejected`", path.display()))
            }
            Self::PartWouldReplace { .. } => Some("write the part to a destination of its own with `--output DIR`".into()),
            Self::Inspect(WriteError::Overtaken { .. }) => Some("run `tracklake verify` again".into()),
            Self::Write(WriteError::Locked { .. }) | Self::Inspect(WriteError::Locked { .. }) => Some("wait for the other run to end; where it was killed, do nothing: the lock goes with its process, in a bucket when its lease ends, and the next run takes over".into()),
            Self::Write(WriteError::Unknown { .. }) => Some("bring `_tracklake` back from where it was copied to; or make the dataset what can be read today with `--full-refresh`, without `--since` and `--until`, which removes all other rows; or write to another `--output`".into()),
            Self::Write(WriteError::Standing { .. }) => Some("bring it back from a copy; without one, remove `_tracklake/PIPELINE/manifests/STREAM.json` of this stream and run with `--stream STREAM --full-refresh`, which makes the dataset what can be read today; `tracklake verify` says what else is not as it was".into()),
            Self::Write(WriteError::Damaged { path, .. }) if path.parent().is_some_and(|it| it.ends_with("manifests")) => Some("bring it back from a copy; without one, remove it and run with `--full-refresh`, which makes the dataset what can be read today; `tracklake verify` says what else is not as it was".into()),
            Self::Write(WriteError::Quarantined { .. }) | Self::Inspect(WriteError::Quarantined { .. }) => Some("mend the line or remove it, then try again".into()),
            Self::Write(WriteError::Io { .. }) => Some("check that the directory is writable and the disk has space, then run again".into()),
            Self::ReadSample { .. } => Some("save a response first, such as by `curl -o page.json URL`; `-` reads the standard input".into()),
            Self::Sample { source: BodyError::Empty, .. } => Some("save the body of a response that has records".into()),
            Self::Sample { .. } => Some("save the body alone, as JSON: without headers (`curl -i` prints them) and whole".into()),
            Self::SampleOfChild { .. } => Some("save a response of it, and give that with `--from`".into()),
            Self::Infer(InferError::NoArray { known, .. }) if !known.is_empty() => Some(format!("there are `{}`", known.join("`, `"))),
            Self::Infer(InferError::NoRecords { .. } | InferError::NoFields) => Some("save a page that has records, and say where with `--records` if they are not in an array".into()),
            Self::Infer(_) => Some("leave the option out to see what is found".into()),
            Self::UnknownSlice { stream, .. } => Some(format!("`tracklake plan` with `--slices {stream}` prints those that it has")),
            Self::OtherPlan { .. } => Some("give every process the same pipeline file, the same variables and the same version of tracklake".into()),
            Self::PipelineExists { .. } => Some("choose another name, or replace it with `--force`".into()),
            Self::Interrupted => Some("run again to export the rest".into()),
            Self::NotStarted { .. } => Some("give the command these pipelines again".into()),
            Self::Internal(_) => Some("this is a bug of tracklake: please report it with the command and the log of `-vv`".into()),
            Self::EmptyPart { .. } => Some("a length of time, such as `7d`, counts back from now".into()),
            Self::Config(ConfigError::Invalid { .. })
            | Self::Argument { .. }
            | Self::NamedTwice { .. }
            | Self::Parent { left: false, .. }
            | Self::State { .. }
            | Self::TooManyRejected { quarantine: None, .. }
            | Self::Write(_)
            | Self::Inspect(_)
            | Self::Listen { .. }
            | Self::RehearsalInterrupted
            | Self::PullInterrupted
            | Self::ReadSlices { .. }
            | Self::Rows { .. }
            | Self::Output(_) => None,
        }
    }
}

fn extract_hint(err: &ExtractError) -> Option<String> {
    let hint = match err {
        ExtractError::Unauthorized { detail, .. } if detail.contains("CAPTCHA") => {
            "log in once in a browser, which asks for the CAPTCHA, and check the password that the pipeline is given"
        }
        ExtractError::Unauthorized { .. } => {
            "check the token, password or key that the pipeline is given; `tracklake list` shows its variables"
        }
        ExtractError::Send { source: SendError::LogIn(source), .. } => match source {
            LogInError::Unanswered { .. } => {
                "check the URL of the log-in, the network and the proxy settings"
            }
            LogInError::Status { .. } if source.may_pass() => "run again later",
            LogInError::Status { .. } | LogInError::Unusable { .. } => {
                "check the user, password, token or key for the log-in, and its URL; `tracklake list` shows the variables"
            }
            LogInError::NoToken { .. } => {
                "check the URL of the log-in, and where `auth` in the pipeline file looks for the token"
            }
        },
        ExtractError::Forbidden => {
            "check what the token or user may read; if all of this is rightly closed to it, leave it out with `responses: [{ when: { status: 403 }, then: skip }]`"
        }
        ExtractError::WebPage { .. } => {
            "this is how a log-in page or a wrong base URL looks: check both"
        }
        ExtractError::Redirected { .. }
        | ExtractError::Request(RequestError::OtherOrigin { .. }) => {
            "set the base URL to where the API really is"
        }
        ExtractError::Send { source: SendError::Connect { .. }, .. } => {
            "check the base URL, the network and the proxy settings"
        }
        ExtractError::Send { source: SendError::Timeout { .. }, .. } => {
            "raise `limits.timeout_secs`, or ask for smaller pages"
        }
        ExtractError::Send { source: SendError::TooLarge { .. }, .. } => {
            "ask for smaller pages, or raise `limits.max_response_mb`"
        }
        ExtractError::Send { source: SendError::Encoding { .. }, .. } => {
            "the API, or a proxy before it, has to answer with `zstd`, `gzip` or no encoding; a header `Accept-Encoding: identity` in the pipeline file may make it"
        }
        ExtractError::NoRecords { .. } => {
            "correct `records` in the pipeline file; if the source reports a failure so, let `responses` say what to do, such as `{ when: { body: { path: error } }, then: retry }`"
        }
        ExtractError::Capped { .. } => {
            "cut the stream into smaller slices, such as shorter windows or one slice a project"
        }
        ExtractError::TooMuchHeld { .. } => {
            "make the windows of the stream shorter, give its `write` a key, so that rows need not be kept, or allow more with `--memory-mb`"
        }
        ExtractError::SameTotal { .. } | ExtractError::Endless { .. } => {
            "the total may not follow the window: check that the window's parameters and `total` are those that the API documents, or leave `total` out"
        }
        ExtractError::Short { .. } | ExtractError::Moved { .. } => {
            "records moved while they were read: run again, or cut the stream into smaller slices"
        }
        ExtractError::Paging(StuckPaging::LargestPage { .. }) => {
            "the API ignores where a page starts: check the name of its parameter in `paginate`, or cut the stream into smaller slices"
        }
        ExtractError::Paging(_) => {
            "check `paginate` in the pipeline file against the API's documentation"
        }
        ExtractError::Request(RequestError::Render(_)) => {
            "check the template and the values that the slice gives it"
        }
        ExtractError::Status { status: 429 | 503, .. } => {
            "lower `requests_per_second`, or run at another time"
        }
        ExtractError::Status { status: 413 | 504, .. } => {
            "ask for smaller pages, or for shorter windows"
        }
        ExtractError::Exhausted(_) => {
            "run again after that time, or raise `retry.max_delay_secs` so that the run waits for it"
        }
        ExtractError::Status { .. }
        | ExtractError::Body { .. }
        | ExtractError::Send { .. }
        | ExtractError::Request(_)
        | ExtractError::Stopped => return None,
    };
    Some(hint.to_owned())
}
