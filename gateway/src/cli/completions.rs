//! `casement completions`: what a shell needs to complete commands and options.

use super::{Arguments, Done, out};
use clap::{Args, CommandFactory};

#[derive(Args)]
pub(super) struct Completions {
    /// The shell: put the output where it looks for completions, for example `casement completions bash
    /// >/etc/bash_completion.d/casement`
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub(super) fn run(command: Completions) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(command.shell, &mut Arguments::command(), "casement", &mut script);
    out(&String::from_utf8_lossy(&script))
}
